"""Calls of a long run: how many steps each makes, on one thread or many."""

import numpy as np
import pytest

import fastbp
from fastbp._base import pace as _pace


class TestPace:
    """Which of one thread and many a long run goes on with, by a clock that the test sets."""

    @pytest.fixture
    def clock(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(_pace.time, "perf_counter", lambda: now[0])
        return now

    def used(self, clock, seconds, calls=4000):
        """Return the tasks of each call of one step, and when they began.

        A step takes ``seconds[serial]``, or what a function of the time returns.
        """
        pace, tasks, began = _pace.Pace(8, 4), [], []
        for _ in range(calls):
            n, _ = pace.choose(1)
            began.append(clock[0])
            step = (seconds(clock[0]) if callable(seconds) else seconds)[n == 1]
            clock[0] += step
            pace.note(n, 1, step)
            tasks.append(n)
        return np.array(tasks), np.array(began)

    def test_many_threads_are_kept_while_they_are_faster(self, clock):
        tasks, _ = self.used(clock, {False: 1e-3, True: 2e-3})
        assert set(tasks) == {1, 4}
        assert (tasks == 1).mean() < 0.01

    def test_one_thread_is_kept_while_it_is_faster(self, clock):
        tasks, _ = self.used(clock, {False: 5e-3, True: 2e-3})
        assert set(tasks[:4]) == {4}
        assert (tasks[400:] == 4).mean() < 0.01

    def test_one_thread_is_tried_soon_and_then_every_second(self, clock):
        tasks, began = self.used(clock, {False: 1e-4, True: 1e-4}, calls=40_000)
        trials = began[1:][(tasks[1:] == 1) & (tasks[:-1] == 4)]
        assert 0.01 < trials[0] < 0.011
        assert ((np.diff(trials) > 1) & (np.diff(trials) < 1.02)).all()

    def test_the_first_trial_waits_for_no_more_than_it_may_cost(self, clock):
        tasks, began = self.used(clock, {False: 2e-3, True: 1e-3}, calls=300)  # at most 16 ms on one thread
        assert began[tasks == 1][0] > 25 * 16e-3
        tasks, began = self.used(clock, {False: 6e-4, True: 1e-4}, calls=100)
        assert 0.01 < began[tasks == 1][0] - began[0] < 0.011

    def test_many_threads_are_tried_soon_after_one_was_found_faster_and_then_less_and_less(self, clock):
        tasks, began = self.used(clock, {False: 2e-4, True: 1e-4}, calls=40_000)
        trials = began[1:][(tasks[1:] == 4) & (tasks[:-1] == 1)]
        np.testing.assert_allclose(trials[0], 0.015 + 0.1, atol=0.002)
        np.testing.assert_allclose(np.diff(trials)[:4], [0.305, 0.905, 1.005, 1.005], atol=0.003)

    def test_a_trial_of_long_steps_is_seldom(self, clock):
        tasks, _ = self.used(clock, {False: 1.0, True: 2.0}, calls=1000)
        assert set(tasks[:90]) == {4}
        assert (tasks == 1).mean() < 0.025

    def test_a_small_difference_changes_nothing(self, clock):
        tasks, _ = self.used(clock, {False: 1e-3, True: 0.96e-3})
        assert (tasks == 1).mean() < 0.01

    def test_others_that_want_the_cores_are_noticed_when_they_have_cost_as_much_as_a_trial(self, clock):
        tasks, began = self.used(clock, lambda now: {False: 1e-3 if now > 0.5 else 1e-4, True: 2e-4}, calls=20_000)
        assert set(tasks[(began > 0.45) & (began < 0.5)]) == {4}
        assert (tasks[began > 0.51] == 4).mean() < 0.01

    def test_after_a_step_that_was_held_up_many_threads_are_soon_in_use_again(self, clock):
        held = iter([0.1])
        tasks, began = self.used(
            clock, lambda now: {False: next(held, 1e-4) if now > 0.5 else 1e-4, True: 2e-4}, calls=9000
        )
        assert 0 < (tasks[began > 0.5] == 1).sum() * 2e-4 < 0.125

    def test_work_for_one_thread_is_never_tried_on_more(self, clock):
        pace = _pace.Pace(8, 1)
        for _ in range(30):
            assert pace.choose(1) == (1, 1)
            pace.note(1, 1, 0.1)
            clock[0] += 0.1

    def test_calls_grow_to_their_time_and_no_further(self, clock):
        pace, made = _pace.Pace(8, 1), []
        for _ in range(9):
            _, steps = pace.choose(30)
            pace.note(1, steps, steps * _pace.CALL_SECONDS / 20)
            made.append(steps)
        assert made == [1, 2, 4, 8, 16, 20, 20, 20, 20]
        assert pace.choose(3) == (1, 3)

    def test_what_a_trial_costs_at_first_does_not_count(self, clock):
        """Where one thread follows many, the data are in the other core's cache."""
        pace, tasks = _pace.Pace(8, 4), []
        for i in range(3000):
            n, _ = pace.choose(1)
            cold = i and tasks[-1] != n
            tasks.append(n)
            seconds = 1e-3 if cold else 1e-4 if n == 4 else 5e-5
            pace.note(n, 1, seconds)
            clock[0] += seconds
        assert tasks[-1] == 1

    def test_a_trial_that_is_interrupted_goes_on(self, clock):
        pace = _pace.Pace(8, 4)
        while (n := pace.choose(1)[0]) == 4:
            pace.note(n, 1, 1e-4)
            clock[0] += 1e-3
        for _ in range(3):  # calls that do not end
            assert pace.choose(1)[0] == 1
            clock[0] += 1
        pace.note(1, 1, 2e-4)
        assert pace.choose(1)[0] == 1
        pace.note(1, 1, 2e-4)
        clock[0] += 0.006
        assert pace.choose(1)[0] == 4

    def test_a_trial_is_short(self, clock):
        pace = _pace.Pace(8, 4)
        for _ in range(8):
            n, steps = pace.choose(10**9)
            pace.note(n, steps, steps * _pace.CALL_SECONDS / 120)
        assert pace.choose(10**9) == (4, 120)
        clock[0] += 5
        assert pace.choose(10**9) == (1, 3)


def test_runs_of_another_batch_size_or_on_other_threads_begin_anew(monkeypatch):
    trainer = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0))
    x, y = np.zeros((512, 64), np.float32), np.zeros(512, np.int64)
    paces = []
    for rows, tasks in ((512, 2), (512, 2), (512, 2), (256, 2), (256, 3)):
        monkeypatch.setattr("fastbp.train.steps.tasks_for", lambda work, tasks=tasks: tasks)
        trainer.fit(x, y, batch_size=rows, progress=False)
        paces.append(trainer._pace)
    assert paces[1] is paces[2]
    assert len(set(paces[2:])) == 3
    assert (paces[4].rows, paces[4].tasks) == (256, 3)
