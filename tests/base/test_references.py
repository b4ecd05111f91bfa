"""Memory is given back as soon as nobody holds it: nothing of fastbp's waits for the cyclic collector."""

import contextlib
import gc
import io
import pickle
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp.train.progress import EpochBar


class Holds(fastbp.Callback):
    """Keeps the trainer, as a callback that plots or logs does."""

    def __init__(self, error=None):
        self.error = error

    def on_fit_begin(self, trainer):
        self.trainer = trainer

    def on_epoch_end(self, trainer, epoch, figures):
        self.figures = figures
        if self.error is not None:
            raise self.error("raised here")


def by_hand(model, x, y, path):
    _, d = fastbp.softmax_cross_entropy(model(x), y)
    model.backward(d)
    for layer in model:
        layer.weight -= 0.1 * layer.weight_grad


def one_layer(model, x, y, path):
    model[0].backward(model[0].forward(x))


def predicts(model, x, y, path):
    model.predict(x, batch_size=5)


def predicts_in_a_thread(model, x, y, path):
    thread = threading.Thread(target=model.predict, args=(x,))
    thread.start()
    thread.join()


def reads_what_is_read_only(model, x, y, path):
    x.flags.writeable = y.flags.writeable = False
    model.predict(x)
    fastbp.Trainer(model).step(x, y)


def steps(model, x, y, path):
    trainer = fastbp.Trainer(model)
    for _ in range(3):
        trainer.step(x, y)
    return trainer


def fits(model, x, y, path):
    trainer = fastbp.Trainer(model)
    callbacks = [Holds(), fastbp.EarlyStopping("loss", patience=1), fastbp.Checkpoint(path, every_seconds=0.0)]
    history = trainer.fit(x, y, epochs=3, batch_size=4, validation_data=(x, y), callbacks=callbacks, progress=False)
    return trainer, history


def shows_a_bar(model, x, y, path):
    import rich.console

    bar = EpochBar(rich.console.Console(file=io.StringIO(), force_terminal=True))
    return fastbp.Trainer(model), fastbp.Trainer(model).fit(x, y, epochs=2, progress=bar)


def fails_in_a_callback(model, x, y, path):
    trainer = fastbp.Trainer(model)
    for error in (OSError, KeyboardInterrupt):
        with contextlib.suppress(OSError, KeyboardInterrupt):
            trainer.fit(x, y, epochs=2, callbacks=[Holds(error)], progress=False)
    return trainer


def is_refused(model, x, y, path):
    trainer = fastbp.Trainer(model)
    for call in (
        lambda: trainer.fit(x[:, :2], y),
        lambda: trainer.fit(x, y, callbacks=[object()]),
        lambda: trainer.step(x, y + 100),
        lambda: model.predict(x[:0]),
        lambda: model.load_state_dict({}),
        lambda: fastbp.Sequential(model[0]),
        lambda: setattr(trainer, "lr", 1.0),
        lambda: model.save("/nowhere/at/all"),
    ):
        with contextlib.suppress(TypeError, ValueError, KeyError, AttributeError, OSError):
            call()
    return trainer


def is_saved_and_loaded(model, x, y, path):
    model.save(path)
    return fastbp.load(path)


def is_resumed(model, x, y, path):
    trainer = fastbp.Trainer(model)
    trainer.fit(x, y, epochs=1, callbacks=[Holds()], progress=False)
    trainer.save_checkpoint(path)
    twin = fastbp.Trainer.load_checkpoint(path)
    twin.fit(x, y, epochs=2, callbacks=[Holds()], progress=False, resume=True)
    return trainer, twin


def is_pickled(model, x, y, path):
    return pickle.loads(pickle.dumps(fastbp.Trainer(model)))


def is_checked(model, x, y, path):
    fastbp.gradcheck(model, "softmax_cross_entropy", x, y, most=3)


USES = [
    by_hand,
    one_layer,
    predicts,
    predicts_in_a_thread,
    reads_what_is_read_only,
    steps,
    fits,
    shows_a_bar,
    fails_in_a_callback,
    is_refused,
    is_saved_and_loaded,
    is_resumed,
    is_pickled,
    is_checked,
]


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held(thing):
    """Yield a result and what belongs to it."""
    for one in thing if isinstance(thing, tuple) else (thing,):
        if one is not None:
            yield one
        if isinstance(one, fastbp.Trainer):
            yield one.model


def test_all_is_freed_whatever_it_was_used_for(without_collector, tmp_path):
    @settings(max_examples=60)
    @given(st.lists(st.sampled_from(USES), min_size=1, max_size=4), st.integers(1, 3), st.booleans())
    def check(uses, layers, as_parts):
        def use():
            rng = np.random.default_rng(0)
            x = rng.standard_normal((11, 4)).astype(np.float32)
            y = rng.integers(0, 3, 11)
            model = fastbp.mlp([4, *[5] * (layers - 1), 3], "tanh", rng=0)
            left = [model, x, y, *model.layers]
            if as_parts:
                left.append(fastbp.Trainer(model))
            for one in uses:
                left += held(one(model, x, y, tmp_path / "file"))
            return [weakref.ref(thing) for thing in left]

        for reference in use():
            assert reference() is None, [one.__name__ for one in uses]

    for one in USES:  # each at least once, and what it imports or compiles is there
        check.hypothesis.inner_test([one], 2, False)
    check()


def test_many_models_take_the_memory_of_one(without_collector):
    tracemalloc.start()
    try:
        for seed in range(25):
            model = fastbp.mlp([256, 1024, 256], rng=seed)
            size = 2 * model._params.nbytes  # with its gradients
            fastbp.Trainer(model, "mse", fastbp.SGD(0.1)).step(np.zeros((2, 256)), np.zeros((2, 256)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * size


def test_the_owner_of_a_layer_is_its_model_as_long_as_there_is_one():
    layer = fastbp.Dense(3, 2, rng=0)
    assert layer.owner is None
    model = fastbp.Sequential(layer)
    assert layer.owner is model
    before = layer.weight.copy()
    del model
    assert layer.owner is None
    np.testing.assert_array_equal(layer.weight, before)  # and can be used on by hand
    layer.backward(layer.forward(np.ones((2, 3))))
    layer.weight -= layer.weight_grad
    with pytest.raises(ValueError, match="layers that belong to no model"):
        fastbp.Sequential(layer)
