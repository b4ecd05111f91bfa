"""One thread at a time in a `Trainer`: another gets an error, and changes nothing."""

import copy
import pickle
import threading

import numpy as np
import pytest

import fastbp

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 5)).astype(np.float32), RNG.integers(0, 3, 64)


def trainer():
    return fastbp.Trainer(fastbp.mlp([5, 8, 3], rng=0))


class Pause(fastbp.Callback):
    """Holds `fit` between two steps until it is released."""

    def __init__(self):
        self.inside, self.released = threading.Event(), threading.Event()

    def on_steps_end(self, trainer):
        self.inside.set()
        assert self.released.wait(60)


@pytest.mark.parametrize(
    "use",
    [
        lambda t, path: t.step(X, Y),
        lambda t, path: t.step(X.tolist(), Y.tolist()),
        lambda t, path: t.fit(X, Y, progress=False),
        lambda t, path: t.save_checkpoint(path),
    ],
    ids=["step", "step on lists", "fit", "save_checkpoint"],
)
def test_a_second_thread_gets_an_error_and_changes_nothing(use, tmp_path):
    shared, alone, pause = trainer(), trainer(), Pause()
    thread = threading.Thread(
        target=shared.fit, args=(X, Y), kwargs={"batch_size": 8, "rng": 0, "callbacks": [pause], "progress": False}
    )
    thread.start()
    try:
        assert pause.inside.wait(60)
        with pytest.raises(RuntimeError, match="in use by another thread"):
            use(shared, tmp_path / "checkpoint")
    finally:
        pause.released.set()
        thread.join()
    alone.fit(X, Y, batch_size=8, rng=0, progress=False)
    assert shared.model._params.tobytes() == alone.model._params.tobytes()
    assert shared.steps == alone.steps == 8
    assert not list(tmp_path.iterdir())
    use(shared, tmp_path / "checkpoint")  # now it may


def test_a_callback_may_use_the_trainer_that_calls_it():
    class Step(fastbp.Callback):
        def on_epoch_end(self, trainer, epoch, figures):
            trainer.step(X, Y)

    one = trainer()
    one.fit(X, Y, epochs=2, progress=False, callbacks=[Step()])
    assert one.steps == 4


class Copy(fastbp.Callback):
    """Copies the trainer from inside `fit`."""

    def on_epoch_end(self, trainer, epoch, figures):
        self.copies = [copy.deepcopy(trainer), pickle.loads(pickle.dumps(trainer))]


def test_a_copy_made_inside_is_free():
    callback = Copy()
    trainer().fit(X, Y, progress=False, callbacks=[callback])
    for one in callback.copies:
        losses = []
        thread = threading.Thread(target=lambda one=one, losses=losses: losses.append(one.step(X, Y)))
        thread.start()
        thread.join()
        assert len(losses) == 1


def test_after_an_error_the_trainer_is_free():
    one = trainer()
    with pytest.raises(ValueError, match="shape"):
        one.step(X[:, :2], Y)
    losses = []
    thread = threading.Thread(target=lambda: losses.append(one.step(X, Y)))
    thread.start()
    thread.join()
    assert len(losses) == 1
