"""Losses of a user's own in a trainer: a function of a row, compiled into the step, and a function in NumPy."""

import copy
import importlib
import linecache
import math
import pickle
import subprocess
import sys
import textwrap
import warnings

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp._base.threads import available_threads
from fastbp.kernels.compile.functions import NoCache, cache_of
from fastbp.kernels.compile.outside import digest_of

DELTA = 1.0


@numba.njit
def inside(d):
    return abs(d) <= DELTA


@fastbp.row_loss
def huber(z, target, dz):
    loss = 0.0
    for i in range(z.size):
        d = z[i] - target[i]
        if inside(d):
            loss += d * d / 2
            dz[i] = d
        else:
            loss += DELTA * (abs(d) - DELTA / 2)
            dz[i] = DELTA * np.sign(d)
    return loss


@fastbp.row_loss(reduction="sum", target_columns=1)
def cross_entropy(z, target, dz):
    top = z.max()
    total = np.exp(z - top).sum()
    label = int(target[0])
    for i in range(z.size):
        dz[i] = math.exp(z[i] - top) / total
    dz[label] -= 1
    return math.log(total) + top - z[label]


def huber_of_all(outputs, targets, sample_weight=None):
    """The same in NumPy: the mean over rows of each row's sum."""
    weight = np.ones(len(outputs)) if sample_weight is None else sample_weight
    scale = (weight / weight.sum())[:, None].astype(outputs.dtype)
    d = outputs - targets
    losses = np.where(np.abs(d) <= DELTA, d * d / 2, DELTA * (np.abs(d) - DELTA / 2))
    return (losses * scale).sum(), np.clip(d, -DELTA, DELTA) * scale


def mse(outputs, targets):
    return fastbp.mse_loss(outputs, targets)


def problem(rng, rows=200, sizes=(5, 8, 3), dtype="float32"):
    return rng.standard_normal((rows, sizes[0])).astype(dtype), (2 * rng.standard_normal((rows, sizes[-1]))).astype(
        dtype
    )


def make_trainer(loss, sizes=(5, 8, 3), dtype="float32", activation="tanh", **options):
    return fastbp.Trainer(
        fastbp.mlp(list(sizes), activation, dtype=dtype, rng=0, output_activation="tanh"), loss, **options
    )


@pytest.mark.parametrize("case", range(12))
def test_a_row_loss_trains_as_its_twin_in_numpy(case):
    rng = np.random.default_rng(case)
    sizes = rng.integers(1, 40, rng.integers(2, 5)).tolist() if case < 10 else [700, 600, 300, 5]
    rows, dtype = int(rng.integers(1, 1200)), "float64"
    x, y = problem(rng, rows, sizes, dtype)
    weight = rng.random(rows) if case % 2 else None
    one, other = (make_trainer(loss, sizes, dtype, optimizer=fastbp.SGD(0.1)) for loss in (huber, huber_of_all))
    for _ in range(3):
        assert_allclose(one.step(x, y, weight), other.step(x, y, weight), rtol=1e-12)
    assert_allclose(one.model._params, other.model._params, rtol=1e-10, atol=1e-12)
    assert_allclose(one.evaluate(x, y)["loss"], other.evaluate(x, y)["loss"], rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cross_entropy_of_ones_own_is_that_of_the_library(dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 5)).astype(dtype), rng.integers(0, 3, 300)
    theirs = make_trainer(cross_entropy, dtype=dtype)
    ours = make_trainer(fastbp.CrossEntropyLoss(reduction="sum"), dtype=dtype)
    for trainer in (theirs, ours):
        trainer.fit(x, y, epochs=3, rng=0, progress=False)
    rtol = 1e-3 if dtype == "float32" else 1e-9
    assert_allclose(theirs.model._params, ours.model._params, rtol=rtol, atol=rtol / 100)
    assert_allclose(theirs.history["loss"], ours.history["loss"], rtol=rtol)
    assert list(theirs.history) == ["loss"]


@pytest.mark.parametrize(
    "loss", [huber, huber_of_all, mse, "mse", cross_entropy], ids=lambda loss: getattr(loss, "__name__", str(loss))
)
def test_gradcheck_takes_it(loss):
    rng = np.random.default_rng(0)
    x, y = problem(rng, 6, dtype="float64")
    y = np.array([0, 1, 2, 0, 1, 2]) if loss is cross_entropy else y
    assert fastbp.gradcheck(fastbp.mlp([5, 8, 3], "tanh", rng=0), loss, x, y).ok


def test_gradcheck_finds_a_wrong_gradient():
    @fastbp.row_loss
    def wrong(z, target, dz):
        dz[0] = 2 * z[0]
        return z[0] * z[0] * z[0]

    with pytest.raises(RuntimeError, match="gradcheck expects the gradient"):
        fastbp.gradcheck(fastbp.mlp([2, 1], rng=0), wrong, np.ones((3, 2)), np.ones(3))


def test_a_function_that_calls_a_loss_of_ours_leaves_its_bits():
    rng = np.random.default_rng(0)
    x, y = problem(rng, 300)
    one, other = make_trainer(mse, clip_norm=0.1), make_trainer("mse", clip_norm=0.1)
    for trainer in (one, other):
        trainer.fit(x, y, epochs=3, batch_size=70, rng=0, progress=False, validation_data=(x, y))
        trainer.step(x, y)
    assert_array_equal(one.model._params, other.model._params)
    assert one.steps == other.steps
    assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-12)
    assert one.history["val_loss"] == other.history["val_loss"]


@pytest.mark.parametrize("threads", range(2, 5))
@pytest.mark.parametrize("loss", [huber, huber_of_all], ids=["row", "function"])
def test_bits_do_not_depend_on_threads(loss, threads):
    if threads > available_threads():
        pytest.skip("as many threads are not there")
    rng = np.random.default_rng(0)
    x, y = problem(rng, 3000, (60, 8, 3))
    most, runs = fastbp.get_num_threads(), []
    try:
        for n in (1, threads):
            fastbp.set_num_threads(n)
            trainer = make_trainer(loss, (60, 50, 3))
            for _ in range(3):
                trainer.step(x, y)
            runs.append(trainer.model._params)
    finally:
        fastbp.set_num_threads(most)
    assert_array_equal(*runs)


def test_a_row_that_weighs_nothing_moves_nothing():
    rng = np.random.default_rng(0)
    x, y = problem(rng, 20)
    one, other = make_trainer(huber), make_trainer(huber)
    weight = np.ones(20)
    weight[3] = 0
    spoilt = y.copy()
    spoilt[3] = np.inf
    one.step(x, y, weight)
    other.step(x, spoilt, weight)
    assert_array_equal(one.model._params, other.model._params)


def test_a_row_without_a_gradient_has_zeros():
    @fastbp.row_loss
    def first_alone(z, target, dz):
        dz[0] = 1.0
        return z[0]

    trainer = make_trainer(first_alone, sizes=(4, 3), optimizer=fastbp.SGD(1.0))
    trainer.step(np.ones((5, 4)), np.zeros((5, 3)))
    trainer.step(np.ones((5, 4)), np.zeros((5, 3)))
    assert trainer.model[0].weight_grad[0].any()
    assert not trainer.model[0].weight_grad[1:].any()


@pytest.mark.parametrize("loss", [huber, huber_of_all], ids=["row", "function"])
def test_fit_ends_before_a_step_whose_loss_is_not_finite(loss):
    rng = np.random.default_rng(0)
    x, y = problem(rng, 30)
    y[17] = np.nan
    trainer, twin = make_trainer(loss), make_trainer(loss)
    with pytest.raises(fastbp.NotFiniteError, match=r"y in row 17") as caught:
        trainer.fit(x, y, batch_size=10, shuffle=False, progress=False)
    assert (caught.value.step, trainer.steps) == (2, 1)
    assert 17 in caught.value.rows
    twin.step(x[:10], y[:10])
    assert_array_equal(trainer.model._params, twin.model._params)


@pytest.mark.parametrize("loss", [huber, huber_of_all], ids=["row", "function"])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_bits(loss, tmp_path):
    rng = np.random.default_rng(0)
    x, y = problem(rng, 200)
    weight = rng.random(200)

    class Interrupt(fastbp.Callback):
        every = 5

        def on_steps_end(self, trainer):
            if trainer.steps == 5:
                trainer.save_checkpoint(tmp_path / "c")
                raise KeyboardInterrupt

    data = {"batch_size": 30, "sample_weight": weight, "progress": False}
    whole, cut = make_trainer(loss), make_trainer(loss)
    whole.fit(x, y, epochs=3, rng=0, **data)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(x, y, epochs=3, rng=0, callbacks=[Interrupt()], **data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = fastbp.Trainer.load_checkpoint(tmp_path / "c", loss=loss)
    resumed.forward(x)
    for trainer in (cut, resumed):
        trainer.fit(x, y, epochs=3, resume=True, **data)
        assert_array_equal(trainer.model._params, whole.model._params)
        assert trainer.history == whole.history


def test_a_checkpoint_has_the_name_of_a_loss_alone(tmp_path):
    path = tmp_path / "c"
    make_trainer(huber).save_checkpoint(path)
    with pytest.raises(ValueError, match="pass loss=huber"):
        fastbp.Trainer.load_checkpoint(path)
    for wrong in (cross_entropy, huber_of_all, fastbp.row_loss(reduction="sum")(huber.function)):
        with pytest.raises(ValueError, match="load_checkpoint expects a loss of the"):
            fastbp.Trainer.load_checkpoint(path, loss=wrong)

    def another(z, target, dz):
        return 0.0

    another.__name__ = "huber"
    with pytest.warns(UserWarning, match="another source"):
        fastbp.Trainer.load_checkpoint(path, loss=fastbp.row_loss(another))
    make_trainer("mse").save_checkpoint(path)
    with pytest.raises(TypeError, match="expects no loss"):
        fastbp.Trainer.load_checkpoint(path, loss=huber)


@pytest.mark.parametrize(
    "loss", [huber, cross_entropy, huber_of_all], ids=lambda loss: getattr(loss, "__name__", str(loss))
)
def test_pickles_and_copies_keep_it(loss):
    trainer = make_trainer(loss)
    x, y = problem(np.random.default_rng(0), 20)
    y = np.arange(20) % 3 if loss is cross_entropy else y
    twins = pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)
    value = trainer.step(x, y)
    for twin in twins:
        assert twin.step(x, y) == value
        assert_array_equal(twin.model._params, trainer.model._params)


def test_a_loss_inside_a_function_is_not_pickled():
    @fastbp.row_loss
    def local(z, target, dz):
        return 0.0

    with pytest.raises(TypeError, match="a pickle keeps local by its name"):
        pickle.dumps(local)


def test_weights_that_a_function_would_not_see_are_refused():
    x, y = problem(np.random.default_rng(0), 20)
    trainer = make_trainer(mse)
    for call in (
        trainer.step,
        trainer.evaluate,
        lambda x, y, w: trainer.fit(x, y, sample_weight=w, progress=False),
        lambda x, y, w: trainer.fit(x, y, validation_data=(x, y, w), progress=False),
    ):
        with pytest.raises(
            TypeError, match=r"expects no sample_weight with the loss mse.*mse\(outputs, targets, sample"
        ):
            call(x, y, np.ones(20))
    assert trainer.steps == 0


def test_a_function_gets_its_targets_as_they_are():
    seen = []

    def loss(outputs, targets):
        seen.append(targets)
        return 0.0, np.zeros_like(outputs)

    names = np.array(["a", "b", "c", "d"])
    trainer = make_trainer(loss)
    trainer.fit(np.zeros((4, 5)), names, batch_size=2, shuffle=False, progress=False)
    trainer.evaluate(np.zeros((4, 5)), list(names))
    assert [list(y) for y in seen] == [["a", "b"], ["c", "d"], list("abcd")]
    with pytest.raises(ValueError, match="expects targets for each of 4 rows"):
        trainer.step(np.zeros((4, 5)), names[:3])


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        (None, TypeError, "to return"),
        (1.0, TypeError, "to return"),
        ((1.0,), TypeError, "to return"),
        ((np.zeros(3), np.zeros((4, 3))), TypeError, "to be a number"),
        (("1", np.zeros((4, 3))), TypeError, "to be a number"),
        ((1.0, np.zeros((4, 2))), ValueError, r"doutputs of given of shape \(4, 3\)"),
        ((1.0, np.zeros((4, 3), complex)), TypeError, "doutputs of given"),
    ],
)
def test_what_a_function_returns_is_checked_and_nothing_is_changed(result, error, words):
    def given(outputs, targets):
        return result

    trainer = make_trainer(given)
    before = trainer.model._params.copy()
    for call in (trainer.step, lambda x, y: trainer.fit(x, y, progress=False)):
        with pytest.raises(error, match=words):
            call(np.zeros((4, 5)), np.zeros(4))
    assert_array_equal(trainer.model._params, before)
    assert trainer.steps == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda trainer, *data: trainer.forward(data[0]),
        lambda trainer, *data: trainer.step(*data),
        lambda trainer, *data: trainer.evaluate(*data),
        lambda trainer, *data: trainer.fit(*data, progress=False),
        lambda trainer, *data: trainer.update(),
    ],
    ids=["forward", "step", "evaluate", "fit", "update"],
)
def test_a_function_that_uses_its_own_trainer_is_refused(call):
    def nested(outputs, targets):
        call(trainer, *data)
        return 0.0, np.zeros_like(outputs)

    trainer, data = make_trainer(nested), (np.zeros((4, 5)), np.zeros(4))
    trainer.model._grads[:] = 0.5
    with pytest.raises(RuntimeError, match="the loss nested to make no steps of this trainer itself"):
        trainer.step(*data)
    assert len(trainer.history["loss"] if trainer.history else ()) == 0


def test_a_function_may_use_another_trainer_and_be_called_after_an_error():
    def inner(outputs, targets):
        return 0.0, np.zeros_like(outputs)

    def outer(outputs, targets):
        if fails:
            raise InterruptedError
        return other.step(*data), np.zeros_like(outputs)

    other, trainer, data, fails = make_trainer(inner), make_trainer(outer), (np.zeros((4, 5)), np.zeros(4)), True
    with pytest.raises(InterruptedError):
        trainer.step(*data)
    fails = False
    trainer.step(*data)
    assert (trainer.steps, other.steps) == (1, 1)


def of_two(z, target):
    return 0.0


def with_raise(z, target, dz):
    raise ValueError


def writes_to_target(z, target, dz):
    target[0] = 1
    return 0.0


def of_no_number(z, target, dz):
    dz[:] = 0


def of_python(z, target, dz):
    return sorted({"a": z}.items(), key=lambda pair: pair)[0]


@pytest.mark.parametrize(
    ("function", "words"), [(of_two, r"\(z, target, dz\), got of_two\(z, target\)"), (with_raise, "not to raise"),
                            (lambda z, target, dz: 0.0, "with a name"), (3, "a function with a name")]
)  # fmt: skip
def test_a_function_that_cannot_be_a_row_loss_is_refused(function, words):
    with pytest.raises(TypeError, match=words):
        fastbp.row_loss(function)


@pytest.mark.parametrize("function", [writes_to_target, of_no_number, of_python])
def test_a_function_that_does_not_compile_is_named_before_anything_changes(function):
    trainer = make_trainer(fastbp.row_loss(function))
    before = trainer.model._params.copy()
    with pytest.raises(TypeError, match=f"row_loss expects {function.__name__} to be a function that Numba compiles"):
        trainer.step(np.zeros((4, 5)), np.zeros((4, 3)))
    assert_array_equal(trainer.model._params, before)


def test_targets_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"huber expects targets of shape \(4, 3\), got \(4, 2\)"):
        make_trainer(huber).step(np.zeros((4, 5)), np.zeros((4, 2)))
    for wrong in ("none", "x", None):
        with pytest.raises(ValueError, match="row_loss expects reduction to be one of mean, sum; got"):
            fastbp.row_loss(reduction=wrong)(of_no_number)


SOURCES = {
    "own_part.py": """
        import numba
        PLAIN = {plain}
        INNER = {inner}
        FAR = {far}
        @numba.njit
        def helper():
            return INNER
        @numba.vectorize
        def of_each(a):
            return a * {each}
        @numba.njit(boundscheck={option})
        def one():
            return 1.0
    """,
    "own.py": """
        import numpy as np, fastbp, own_part
        from own_part import helper
        FACTOR = {factor}
        TABLE = np.array([1.0, {table}])
        def make(closed):
            import own_part as near
            @fastbp.row_loss
            def loss(z, target, dz):
                ones = FACTOR + TABLE[1] + helper() + own_part.PLAIN + closed + {inline}
                return ones + near.FAR + own_part.of_each(own_part.one())
            return loss
        loss = make({closed})
        if __name__ == "__main__":
            trainer = fastbp.Trainer(fastbp.mlp([1, 1], rng=0), loss)
            value = trainer.step([[0.0]], [[0.0]])
            from fastbp.kernels.losses import BY_CODE
            from fastbp.kernels.losses.functions import op_of_loss
            [compiled] = op_of_loss(BY_CODE[loss._code]).outlined().compiled.values()
            print(value, compiled.cache_hits)
    """,
}
NAMES = ["plain", "inner", "factor", "table", "inline", "closed", "far", "each"]


def write_sources(folder, **changed):
    """Write modules whose loss is the sum of eight constants."""
    numbers = dict.fromkeys(NAMES, 1.0) | {"option": False} | changed
    for name, text in SOURCES.items():
        (folder / name).write_text(textwrap.dedent(text).format(**numbers))


def test_machine_code_on_disk_is_not_taken_for_that_of_another_function(tmp_path):
    for changed, value, hits in (({}, 8, 0), ({}, 8, 1), ({"inner": 3.0}, 10, 0)):
        write_sources(tmp_path, **changed)
        # -B: Python would take its own bytecode of a file of the same size and second for that of the changed one.
        found = subprocess.run(
            [sys.executable, "-B", "own.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert found.stderr == ""
        assert found.stdout.split() == [f"{value}.0", str(hits)]


@pytest.mark.parametrize("of_text", [False, True])
def test_a_digest_sees_constants_closures_and_what_is_imported(tmp_path, monkeypatch, of_text):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    digests = []
    for changed in ({}, {}, {"option": True}, *({name: 3.0} for name in NAMES)):
        write_sources(tmp_path, **changed)
        for name in ("own", "own_part"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.clearcache()
        digests.append(digest_of(importlib.import_module("own").loss.function, of_text=of_text))
    for name in ("own", "own_part"):
        del sys.modules[name]
    assert None not in digests
    assert digests[0] == digests[1]
    assert len(set(digests)) == 2 + len(NAMES)


def test_a_function_that_uses_what_has_no_digest_is_compiled_and_not_kept():
    class Other:
        pass

    def own(z, target, dz):
        return other

    other = Other()
    assert digest_of(own) is None
    assert isinstance(cache_of(own), NoCache)


def test_a_function_without_a_file_compiles_too():
    scope = {}
    for number in (1.0, 2.0):
        exec(f"def made(z, target, dz):\n    return {number}\n", scope)
        trainer = make_trainer(fastbp.row_loss(scope["made"]))
        assert trainer.step(np.zeros((4, 5)), np.zeros((4, 3))) == number
