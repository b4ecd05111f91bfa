"""Arrays as they come: every public function that takes one gives what a clean copy gives, or says what is wrong."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_array_equal

import fastbp
from fastbp.data.preprocessing import Scaler


def misaligned(x, offset):
    """Return a copy that begins `offset` bytes past a cache line."""
    room = np.empty(x.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    copy = np.ndarray(x.shape, x.dtype, room, start)
    copy[...] = x
    return copy


def strided(x, step):
    """Return a copy whose numbers stand `step` apart, along every axis."""
    room = np.zeros([n * step for n in x.shape], x.dtype)
    copy = room[tuple(slice(None, None, step) for _ in x.shape)]
    copy[...] = x
    return copy


def reversed_copy(x):
    turned = tuple(slice(None, None, -1) for _ in x.shape)
    return x[turned].copy()[turned]


def overlapping_rows(x):
    """Return the first row again and again, all in one place."""
    return as_strided(x, x.shape, (0, *x.strides[1:]))


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def mapped(x, folder):
    path = folder / "array"
    path.write_bytes(x.tobytes())
    return np.memmap(path, x.dtype, "r", shape=x.shape)


class Subclass(np.ndarray):
    pass


# The same numbers, laid out oddly
LAYOUTS = {
    **{f"{offset} bytes off": lambda x, _, offset=offset: misaligned(x, offset) for offset in (1, 2, 4, 8, 31, 32, 63)},
    "every 2nd": lambda x, _: strided(x, 2),
    "every 999th": lambda x, _: strided(x, 999),
    "reversed": lambda x, _: reversed_copy(x),
    "fortran": lambda x, _: np.asfortranarray(x),
    "stride 0": lambda x, _: overlapping_rows(x),
    "read-only": lambda x, _: read_only(x),
    "big-endian": lambda x, _: x.astype(x.dtype.newbyteorder(">")),
    "subclass": lambda x, _: x.view(Subclass),
    "memory map": mapped,
    "bool": lambda x, _: x > 0,
    "float16": lambda x, _: x.astype(np.float16),
}
# What no clean copy of numbers can be made of
REFUSED = {
    "masked": lambda x: np.ma.masked_array(x, False),
    "object": lambda x: x.astype(object),
    "complex": lambda x: x.astype(complex),
    "text": lambda x: x.astype(str),
    "times": lambda x: x.astype("i8").astype("M8[s]"),
    "records": lambda x: np.zeros(x.shape, [("a", "f4")]),
    "no dimension": lambda x: x.ravel()[0],
    "too many dimensions": lambda x: x[..., None, None],
    "None": lambda x: None,
    "a dictionary": lambda x: {},
}

rng = np.random.default_rng(0)
X = np.rint(4 * rng.standard_normal((6, 5))).astype(np.float32)
OUTPUTS = np.rint(2 * rng.standard_normal((6, 3))).astype(np.float32)
LABELS = np.arange(6) % 3
P = np.tile(np.float32([0.5, 0.25, 0.25]), (6, 1))
WEIGHT = np.float32([1, 2, 3, 0, 1, 2])


def trained(loss, x, y, sample_weight=None):
    """Whatever a checked step, a quick step, `fit` and `evaluate` give."""
    trainer = fastbp.Trainer(fastbp.mlp([5, 4, 3], rng=0), loss, fastbp.SGD(1e-3))
    found = [trainer.step(x, y, sample_weight), trainer.step(x, y, sample_weight)]
    history = trainer.fit(
        x, y, sample_weight=sample_weight, epochs=2, batch_size=4, rng=0, validation_data=(x, y), progress=False
    )
    figures = trainer.evaluate(x, y)
    return [*found, *history["loss"], *history["val_loss"], *figures.values(), trainer.model._params]


def by_hand(layers, x, da):
    a = layers.forward(x)
    return [a, layers.backward(da), layers._grads]


def loaded(weight, bias):
    model = fastbp.mlp([5, 6], rng=0)
    model.load_state_dict({"0.weight": weight, "0.bias": bias})
    return [model._params]


FUNCTIONS = {
    "Dense": (lambda x, da: by_hand(fastbp.Dense(5, 3, "tanh", rng=0), x, da), X, OUTPUTS),
    "Sequential": (lambda x, da: by_hand(fastbp.mlp([5, 4, 3], rng=0), x, da), X, OUTPUTS),
    "predict": (fastbp.mlp([5, 4, 3], rng=0).predict, X),
    "Trainer, labels": (lambda *args: trained("softmax_cross_entropy", *args), X, LABELS, WEIGHT),
    "Trainer, probabilities": (lambda *args: trained("softmax_cross_entropy", *args), X, P),
    "Trainer, mse": (lambda *args: trained("mse", *args), X, OUTPUTS, WEIGHT),
    "cross-entropy, labels": (
        lambda z, y, w: fastbp.softmax_cross_entropy(z, y, weight=w), OUTPUTS.astype(float), LABELS, WEIGHT[:3],
    ),
    "cross-entropy, probabilities": (fastbp.softmax_cross_entropy, OUTPUTS.astype(float), P),
    "mse": (fastbp.mse_loss, OUTPUTS.astype(float), P),
    "bce": (fastbp.binary_cross_entropy_with_logits, OUTPUTS.astype(float), P),
    "gaussian_nll": (fastbp.gaussian_nll_loss, OUTPUTS.astype(float), P, P),
    "entropy": (fastbp.entropy, P),
    "cross_entropy": (fastbp.cross_entropy, P, P),
    "kl_divergence": (fastbp.kl_divergence, P, P),
    "Scaler.fit": (lambda x: [Scaler.fit(x, "standardize").shift, Scaler.fit(x, "standardize").scale], X),
    "Scaler.transform": (Scaler.fit(X, "standardize").transform, X),
    "load_state_dict": (loaded, np.tile(X[:, :1], (1, 5)), WEIGHT),
}  # fmt: skip


def results(call, arguments):
    found = call(*arguments)
    return [np.array(each) for each in (found if isinstance(found, (list, tuple)) else [found])]


def each_argument(change):
    """Yield, for every argument of every function, what is called, with what, and where the changed one stands."""
    for name, (call, *arguments) in FUNCTIONS.items():
        for place, argument in enumerate(arguments):
            yield (
                f"{name}, argument {place}",
                call,
                [*arguments[:place], change(argument), *arguments[place + 1 :]],
                place,
            )


# Labels are integers, loaded parameters of the model's dtype and byte order, and rows of a distribution sum to 1.
CHOOSY = ("bool", "float16", "big-endian", "stride 0")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_no_bit(layout, tmp_path):
    for what, call, arguments, place in each_argument(lambda x: LAYOUTS[layout](x, tmp_path)):
        odd = arguments[place]
        before = odd.tobytes()
        # bool counts as int64, and float16 as float32
        dtype = {"?": np.int64, "e": np.float32}.get(odd.dtype.char, odd.dtype)
        clean = np.array(odd.astype(np.dtype(dtype).newbyteorder("=")), order="C", subok=False)
        try:
            found = results(call, arguments)
        except (TypeError, ValueError) as problem:
            if layout in CHOOSY and "expects" in str(problem):
                continue
            raise
        arguments[place] = clean
        for ours, exact in zip(found, results(call, arguments), strict=True):
            assert_array_equal(ours, exact, err_msg=what)
        assert odd.tobytes() == before, what


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_array_of_numbers_is_refused_by_name(kind):
    optional = {"Trainer, labels, argument 2", "Trainer, mse, argument 2", "cross-entropy, labels, argument 2"}
    fine = {"None": optional, "no dimension": {"gaussian_nll, argument 2"}}  # one variance for all
    for what, call, arguments, _ in each_argument(REFUSED[kind]):
        if what in fine.get(kind, ()):
            continue
        with pytest.raises((TypeError, ValueError), match="expects"):
            call(*arguments)


@pytest.mark.parametrize("shape", [(0, 5), (6, 0), (0, 0), (0,)])
def test_without_an_element_there_is_an_error_with_the_shape(shape):
    for what, call, arguments, _ in each_argument(lambda x: np.empty(shape, x.dtype)):
        if "transform" in what or what.startswith(("entropy", "cross_entropy", "kl_div")):
            continue  # a row a row: of none, none
        with pytest.raises((TypeError, ValueError), match=r"expects"):
            call(*arguments)


# Arrays that lie in each other


def test_out_may_lie_in_no_input():
    memory = np.zeros(64)
    z, out = memory[:12].reshape(4, 3), memory[3:15].reshape(4, 3)
    for call in [
        lambda: fastbp.softmax_cross_entropy(z, [0, 1, 2, 0], out=out),
        lambda: fastbp.softmax_cross_entropy(np.ones((4, 3)), z + 1, out=memory[:12].reshape(4, 3), weight=memory[:3]),
        lambda: fastbp.softmax_cross_entropy(np.ones((4, 3)), memory[:4].view(np.int64), out=z),
        lambda: fastbp.mse_loss(z, np.ones((4, 3)), out=out),
        lambda: fastbp.binary_cross_entropy_with_logits(np.ones((4, 3)), z, out=out),
        lambda: fastbp.gaussian_nll_loss(z, z, z + 1, out=out),
        lambda: fastbp.gaussian_nll_loss(z + 1, z + 1, z + 1, out=z, var_out=out),
    ]:
        with pytest.raises(ValueError, match="share no memory"):
            call()
        assert not memory.any()


def views_of(model):
    """Parameters and gradients as inputs for the model: writing them would change what is read."""
    model._grads[...] = np.linspace(-1, 1, model._grads.size)
    for flat in (model._params, model._grads):
        yield flat[: 4 * 5].reshape(4, 5)
        yield flat[-20:].reshape(4, 5)
        yield as_strided(flat[5:], (4, 5), (20, 4))  # NumPy does not say whose memory that is


def gradients_by_hand(choose, x, da):
    def run(model):
        layers = choose(model)
        a = layers.forward(x(model))
        return [a, layers.backward(da(model)), model._grads]

    return run


def step(x, y, *, quick):
    def run(model):
        trainer = fastbp.Trainer(model, "mse", fastbp.SGD(0.1))
        if quick:
            trainer.step(X[:4], X[:4])
        return [trainer.step(x(model), y(model)), model._params]

    return run


def fit(x, y):
    def run(model):
        trainer = fastbp.Trainer(model, "mse", fastbp.SGD(0.1))
        trainer.fit(x(model), y(model), epochs=2, batch_size=2, shuffle=False, progress=False)
        return [model._params]

    return run


@pytest.mark.parametrize("which", range(6))
def test_parameters_and_gradients_may_be_inputs(which):
    """As if they had been copied before the call."""

    def plain(model):
        return X[:4]

    def view(model):
        return list(views_of(model))[which]

    def copy(model):
        return view(model).copy()

    ways = [lambda *args, choose=choose: gradients_by_hand(choose, *args) for choose in (lambda m: m, lambda m: m[1])]
    ways += [lambda *args, quick=quick: step(*args, quick=quick) for quick in (False, True)]
    for way in [*ways, fit]:
        for seen, copied in [((view, plain), (copy, plain)), ((plain, view), (plain, copy))]:
            found, exact = (way(*arguments)(fastbp.mlp([5, 5, 5], rng=0)) for arguments in (seen, copied))
            for ours, theirs in zip(found, exact, strict=True):
                assert_array_equal(ours, theirs)


def test_parameters_may_be_loaded_from_themselves():
    model = fastbp.mlp([3, 3, 3], rng=0)
    a, b = model[0].weight.copy(), model[1].weight.copy()
    state = model.parameters()
    model.load_state_dict(state | {"0.weight": state["1.weight"], "1.weight": state["0.weight"]})
    assert_array_equal(model[0].weight, b)
    assert_array_equal(model[1].weight, a)


def test_rows_past_the_first_2_to_the_31_numbers_are_found(tmp_path):
    """`fit` on 17 GB that a sparse file stands for; a few rows of it are ever touched."""
    rows, features = (1 << 16) + 3, 1 << 16
    path = tmp_path / "sparse"
    try:
        with path.open("wb") as file:
            file.truncate(rows * features * 4)
        x = np.memmap(path, np.float32, "r+", shape=(rows, features))
    except (OSError, ValueError) as error:
        pytest.skip(f"no room for a large sparse file: {error}")
    chosen = np.random.default_rng(0).permutation(rows)[:4]
    assert (chosen * features > 2**31).any()

    class Stop(fastbp.Callback):
        def on_steps_end(self, trainer):
            raise InterruptedError

    models = [fastbp.mlp([features, 2], rng=0) for _ in range(2)]
    values = np.random.default_rng(1).standard_normal((4, features), np.float32)
    y = np.zeros(rows, np.int64)
    y[chosen] = [0, 1, 0, 1]
    trainer = fastbp.Trainer(models[0], optimizer=fastbp.SGD(1))
    x[chosen] = values
    with pytest.raises(InterruptedError):
        trainer.fit(x, y, batch_size=4, rng=0, callbacks=[Stop()], progress=False)
    assert_array_equal(trainer._last_run.order[:4], chosen)  # or the test has to draw them as `fit` does
    fastbp.Trainer(models[1], optimizer=fastbp.SGD(1)).step(values, y[chosen])
    assert_array_equal(models[0][0].weight, models[1][0].weight)
    assert_array_equal(models[0].predict(x[chosen.max() :][:1]), models[1].predict(values[[chosen.argmax()]]))
