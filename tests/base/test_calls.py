"""Calls that are made again and again: on one thread or many, by the clock."""

import copy
import threading

import numpy as np
import pytest

import fastbp
from fastbp._base import calls as _calls
from fastbp._base import threads
from fastbp._base.inputs import numbers_input


class TestOneOrMany:
    """By a clock that the test sets. A call takes ``seconds[serial]``, or what a function of its number returns."""

    @pytest.fixture
    def clock(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(_calls, "perf_counter", lambda: now[0])
        return now

    def made(self, clock, seconds, calls=4000, most=2):
        """Return of each call into how many tasks it was cut, and its seconds."""
        kind, found = _calls.OneOrMany(most), []
        for number in range(calls):
            tasks, began = kind.tasks, clock[0]
            clock[0] += (seconds(number) if callable(seconds) else seconds)[tasks == 1]
            kind.end(tasks, began, 10)
            found.append((tasks, clock[0] - began))
        tasks, times = np.array(found).T
        return tasks, times

    def test_many_threads_are_kept_while_they_are_faster(self, clock):
        tasks, times = self.made(clock, {False: 1e-4, True: 2e-4})
        assert set(tasks[:20]) == {1, 2}
        assert times[20:].mean() < 1.005e-4

    @pytest.mark.parametrize("many", [1.1e-4, 1.43e-4, 2e-4, 1.6e-3, 3e-3, 1.6e-2])
    def test_from_the_twentieth_call_on_it_takes_what_one_thread_takes(self, clock, many):
        _, times = self.made(clock, {False: many, True: 1e-4})
        for last in (120, 1000, 4000):
            assert times[20:last].mean() < 1.05e-4

    def test_a_trial_that_is_lost_early_is_cut_short(self, clock):
        tasks, times = self.made(clock, {False: 3e-3, True: 3e-4}, calls=10_000)
        trials = np.flatnonzero(tasks == 2)[5:]  # at first there is nothing to compare with
        assert len(trials) > 4
        assert (np.diff(trials)[::2] == 1).all()
        assert (np.diff(trials)[1::2] > 500).all()
        assert times[1000:].mean() < 1.05 * 3e-4

    def test_the_first_trial_waits_where_one_thread_may_take_long(self, clock):
        tasks, times = self.made(clock, {False: 1e-2, True: 0.64}, calls=20_000, most=64)
        assert set(tasks[:2500]) == {64}
        assert times.mean() < 1.05e-2

    def test_one_long_call_is_enough_to_see_that_one_thread_is_slower(self, clock):
        tasks, times = self.made(clock, {False: 1e-2, True: 2e-2})
        assert np.flatnonzero(tasks == 1)[:2].tolist() == [5, 406]
        assert times.mean() < 1.005e-2

    def test_others_that_want_the_cores_are_noticed_in_a_few_calls_and_their_end_within_a_second(self, clock):
        busy = range(1000, 3000)
        tasks, times = self.made(clock, lambda i: {False: 2e-3 if i in busy else 1e-4, True: 2e-4}, calls=20_000)
        assert set(tasks[950:1000]) == {2}
        assert (tasks[1000:1030] == 2).sum() < 6
        again = np.flatnonzero(tasks[3000:] == 2)[5]
        assert times[3000 : 3000 + again].sum() < 1
        assert (tasks[3000 + again :] == 2).mean() > 0.99

    def test_calls_that_wait_for_a_thread_without_a_core_are_soon_made_by_one(self, clock):
        """Threads of another library may have it for a tenth of a second: the system lets them wait for its tick."""
        tasks, times = self.made(clock, lambda i: {False: 8e-3 if i >= 20 else 15e-6, True: 19e-6}, calls=40_000)
        assert tasks[10:21].tolist() == [2] * 11
        assert (tasks[21:] == 2).sum() <= 4
        assert times[21:].sum() < 1.05 * len(times[21:]) * 19e-6

    @pytest.mark.parametrize("slow", [{1}, {0, 2}, {0, 1, 2, 3, 5, 6}])
    def test_where_some_calls_wait_for_it_the_others_have_to_make_up_for_that(self, clock, slow):
        _, times = self.made(clock, lambda i: {False: 6e-3 if i % 8 in slow else 1.1e-3, True: 2.1e-3})
        best = min(2.1e-3, (6e-3 * len(slow) + 1.1e-3 * (8 - len(slow))) / 8)
        assert times[20:].mean() < 1.1 * best

    def test_a_call_that_was_held_up_for_less_than_a_trial_takes_is_no_reason_for_one(self, clock):
        tasks, _ = self.made(clock, lambda i: {False: 1.1e-3 if i % 100 == 0 else 1e-4, True: 2e-4}, calls=1000)
        assert set(tasks[20:]) == {2}

    def test_many_threads_stay_in_use_where_one_call_was_held_up_for_long(self, clock):
        tasks, _ = self.made(clock, lambda i: {False: 1e-2 if i == 500 else 1e-4, True: 2e-4}, calls=1000)
        assert np.flatnonzero(tasks[20:] == 1).tolist() == [481, 482, 483, 484]  # a trial

    def test_a_small_difference_changes_nothing(self, clock):
        tasks, _ = self.made(clock, {False: 1e-4, True: 0.98e-4})
        assert (tasks == 2).mean() > 0.8

    def test_the_first_call_does_not_count(self, clock):
        """It may have compiled."""
        tasks, _ = self.made(clock, lambda i: {False: 10.0 if i == 0 else 1e-4, True: 2e-4}, calls=1000)
        assert (tasks == 2).mean() > 0.99

    def test_what_a_change_costs_at_first_does_not_count(self, clock):
        """Where one thread follows many, the data are in the other core's cache."""
        kind, tasks = _calls.OneOrMany(4), []
        for _ in range(100):
            cold = tasks and tasks[-1] != kind.tasks
            tasks.append(kind.tasks)
            began = clock[0]
            clock[0] += 1e-3 if cold else 1e-4 if kind.tasks == 4 else 5e-5
            kind.end(tasks[-1], began, 1)
        assert set(tasks[20:]) == {1}

    def test_calls_of_other_rows_are_compared_by_the_row(self, clock):
        rng = np.random.default_rng(0)
        kind, tasks = _calls.OneOrMany(2), []
        for rows in rng.integers(64, 128, 2000):
            tasks.append(kind.tasks)
            began = clock[0]
            clock[0] += rows * (1.1e-6 if kind.tasks == 2 else 1e-6)
            kind.end(tasks[-1], began, rows)
        assert np.mean(np.array(tasks[20:]) == 1) > 0.8

    def test_a_call_that_another_thread_has_overtaken_changes_nothing(self, clock):
        kind = _calls.OneOrMany(2)
        while kind.tasks == 2:
            clock[0] += 1e-4
            kind.end(2, clock[0] - 1e-4, 1)
        before = [getattr(kind, name) for name in kind.__slots__]
        kind.end(2, clock[0] - 10, 1)
        assert [getattr(kind, name) for name in kind.__slots__] == before


def test_small_work_is_not_timed(monkeypatch):
    monkeypatch.setattr(_calls, "perf_counter", None)
    assert _calls.Calls().begin(1, threads.SERIAL_WORK - 1) == (1, 0.0, None)
    assert _calls.Calls(lambda work: 1).begin(1, 1e12) == (1, 0.0, None)


def test_calls_of_about_a_size_on_so_many_threads_belong_together():
    most = [2]
    calls = _calls.Calls(lambda work: most[0])
    kinds = [calls.begin(rows, 1e9)[2] for rows in (64, 127, 128)]
    most[0] = 3
    kinds.append(calls.begin(64, 1e9)[2])
    assert kinds[0] is kinds[1]
    assert len(set(kinds)) == 3
    assert kinds[3].tasks == 3


def dense():
    layer = fastbp.Dense(6, 5, "tanh", rng=0)
    return lambda: layer.backward(layer.forward(X))


def by_layers():
    model = fastbp.mlp([6, 5, 3], rng=0)
    return lambda: model.backward(model.forward(X))


def by_plan():
    model = fastbp.Sequential(fastbp.Dense(6, 5, rng=0), fastbp.LayerNorm(5), fastbp.Dense(5, 3, rng=1))
    return lambda: model.backward(model.forward(X))


def prediction():
    model = fastbp.mlp([6, 5, 3], rng=0)
    return lambda: model.predict(X)


def conversions():
    rows = numbers_input(X.astype("float64"), np.dtype("float32"))
    return lambda: rows[2:]


def fits():
    from fastbp.sklearn import MLPRegressor

    model, y = MLPRegressor(hidden_layer_sizes=(5,), dropout=0.5, random_state=0), np.ones(len(X))  # by hand
    return lambda: model.partial_fit(X, y)


def prediction_in_parts():
    model = fastbp.mlp([6, 5, 3], rng=0)
    return lambda: model.predict(X, batch_size=8)


def trainer(loss="softmax_cross_entropy"):
    return fastbp.Trainer(fastbp.mlp([6, 5, 3], "tanh", rng=0), loss, fastbp.SGD(0.1))


def steps():
    it = trainer()
    return lambda: it.step(X, Y)


def weighted_steps():
    it = trainer()
    return lambda: it.step(X, Y, sample_weight=np.ones(len(X)))


def steps_in_three_calls():
    it = trainer()

    def step():
        it.backward(it.forward(X) / len(X))
        it.update()

    return step


def updates():
    it = trainer()

    def step():
        it.model.backward(it.model.forward(X) / len(X))
        it.update()

    return step


def losses():
    z = X.copy()
    return lambda: fastbp.softmax_cross_entropy(z, Y, out=np.empty_like(z))


X = np.random.default_rng(0).standard_normal((20, 6)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 20)
# What is called again and again, with the numbers of paces that a call of it has.
CALLERS = {
    dense: 2, by_layers: 4, by_plan: 2, prediction: 1, conversions: 1, prediction_in_parts: 3,
    steps: 1, weighted_steps: 1, steps_in_three_calls: 1, updates: 5, losses: 1, fits: 5,
}  # fmt: skip


@pytest.fixture
def two_threads_for_all(monkeypatch):
    """Cut everything into two tasks, however small it is."""
    monkeypatch.setattr(threads, "SERIAL_WORK", 0)
    monkeypatch.setattr(_calls, "SERIAL_WORK", 0)
    monkeypatch.setattr(threads, "_threads", 2)


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.__name__)
def test_whatever_is_called_again_and_again_goes_by_the_clock(two_threads_for_all, monkeypatch, caller):
    ended = []
    monkeypatch.setattr(_calls.OneOrMany, "end", lambda self, tasks, began, rows: ended.append((tasks, began, rows)))
    call = caller()
    call()
    assert len(ended) == CALLERS[caller]
    assert all(tasks == 2 and began > 0 and rows > 0 for tasks, began, rows in ended)


@pytest.mark.parametrize("caller", [prediction, steps, steps_in_three_calls], ids=lambda caller: caller.__name__)
def test_one_thread_makes_the_calls_where_many_are_slow(two_threads_for_all, monkeypatch, caller):
    used = []
    end = _calls.OneOrMany.end

    def slower_on_many(self, tasks, began, rows):
        used.append(tasks)
        end(self, tasks, began - 100.0 * (tasks > 1), rows)

    monkeypatch.setattr(_calls, "FREE", np.inf)
    monkeypatch.setattr(_calls.OneOrMany, "end", slower_on_many)
    call = caller()
    for _ in range(40):
        call()
    assert set(used[20:]) == {1}


def test_results_have_the_same_bits_in_trials(two_threads_for_all):
    """They come on one thread and on many by turns."""
    model, x = fastbp.mlp([6, 50, 3], rng=0), np.random.default_rng(0).standard_normal((40, 6)).astype("float32")
    assert len({model.predict(x).tobytes() for _ in range(40)}) == 1
    it, twin = trainer(), trainer()
    for _ in range(40):
        it.step(X, Y)
    with threads.at_most(1):
        for _ in range(40):
            twin.step(X, Y)
    np.testing.assert_array_equal(it.model._params, twin.model._params)


def test_threads_of_the_user_may_predict_with_one_model(two_threads_for_all, monkeypatch):
    monkeypatch.setattr(_calls, "FEWEST", 0)
    monkeypatch.setattr(_calls, "OF_MANY", 0)
    monkeypatch.setattr(_calls, "OF_ONE", 0)  # a trial follows another
    model = fastbp.mlp([6, 50, 3], rng=0)
    expected, found = model.predict(X), []

    def predict():
        found.extend(model.predict(X) for _ in range(300))

    workers = [threading.Thread(target=predict) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 1200
    assert all((each == expected).all() for each in found)


def test_a_step_that_was_refused_is_not_timed(two_threads_for_all, monkeypatch):
    ended, y = [], Y.copy()
    monkeypatch.setattr(_calls.OneOrMany, "end", lambda *arguments: ended.append(arguments))
    it = trainer()
    for _ in range(3):
        it.step(X, y)
    y[-1] = 10
    with pytest.raises(ValueError, match="10"):
        it.step(X, y)
    assert len(ended) == 3


def test_a_copy_finds_out_for_itself(two_threads_for_all):
    it = trainer()
    it.step(X, Y)
    assert it._calls._kinds
    assert not copy.deepcopy(it)._calls._kinds
    assert not copy.deepcopy(it.model)._predict_calls._kinds
