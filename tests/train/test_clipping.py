"""Clipping of gradients by value and by norm, before the update of a step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp._base.threads import available_threads

SIZES = {"by rows": (6, 9, 4), "chunks apart": (5, 8, 3), "large": (700, 600, 300, 5)}
ROWS = {"by rows": 40, "chunks apart": 3000, "large": 50}


def clipped(gradients, clip_norm=None, clip_value=None):
    """NumPy twin: what PyTorch's `clip_grad_value_` and then `clip_grad_norm_` leave."""
    if clip_value is not None:
        gradients = np.clip(gradients, -clip_value, clip_value)
    if clip_norm is not None:
        gradients = gradients * min(1.0, clip_norm / (np.sqrt((gradients.astype("f8") ** 2).sum()) + 1e-6))
    return gradients


@pytest.mark.parametrize("clips", [{"clip_norm": 0.02}, {"clip_value": 1e-3}, {"clip_norm": 0.01, "clip_value": 1e-3}])
@pytest.mark.parametrize("kind", SIZES)
def test_an_update_takes_clipped_gradients(kind, clips):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS[kind], SIZES[kind][0])), rng.integers(0, SIZES[kind][-1], ROWS[kind])
    plain, trainer = (
        fastbp.Trainer(fastbp.mlp(SIZES[kind], "tanh", dtype="float64", rng=0), optimizer=fastbp.SGD(1.0), **options)
        for options in ({}, clips)
    )
    before = plain.model._params.copy()
    assert_allclose(plain.step(x, y), trainer.step(x, y), rtol=1e-14)
    wanted = clipped(plain.model._grads, **clips)
    assert np.abs(wanted - plain.model._grads).max() > 1e-4  # it does clip
    assert_allclose(trainer.model._params, before - wanted, rtol=0, atol=1e-15)
    assert_allclose(trainer.model._grads, wanted, rtol=1e-12, atol=1e-18)


def test_a_limit_that_is_not_reached_changes_no_bit():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 6)), rng.integers(0, 4, 500)
    one, other = (
        fastbp.Trainer(fastbp.mlp([6, 9, 4], rng=0), **options)
        for options in ({}, {"clip_norm": 1e9, "clip_value": 1e9})
    )
    for trainer in (one, other):
        trainer.fit(x, y, epochs=2, rng=0, progress=False)
    assert_array_equal(one.model._params, other.model._params)


def test_nan_in_a_gradient_stays():
    for clips in ({"clip_norm": 1.0}, {"clip_value": 1.0}):
        trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0), optimizer=fastbp.SGD(1.0), **clips)
        trainer.model.gradients()["0.bias"][...] = np.nan, 0.5
        trainer.update()
        assert np.isnan(trainer.model[0].bias[0])


@pytest.mark.parametrize("threads", range(2, 5))
def test_bits_do_not_depend_on_threads(threads):
    if threads > available_threads():
        pytest.skip("as many threads are not there")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((256, 784)).astype("f4"), rng.integers(0, 10, 256)
    most, runs = fastbp.get_num_threads(), []
    try:
        for n in (1, threads):
            fastbp.set_num_threads(n)
            trainer = fastbp.Trainer(fastbp.mlp([784, 300, 10], rng=0), clip_norm=0.1, clip_value=0.01)
            for _ in range(3):
                trainer.step(x, y)
            runs.append(trainer.model._params)
    finally:
        fastbp.set_num_threads(most)
    assert_array_equal(*runs)


def test_a_checkpoint_keeps_the_limits(tmp_path):
    trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0), clip_norm=0.5, clip_value=0.25)
    trainer.save_checkpoint(tmp_path / "c")
    twin = fastbp.Trainer.load_checkpoint(tmp_path / "c")
    assert (twin.clip_norm, twin.clip_value) == (0.5, 0.25)
    plain = fastbp.Trainer(fastbp.mlp([3, 2], rng=0))
    plain.save_checkpoint(tmp_path / "c")
    twin = fastbp.Trainer.load_checkpoint(tmp_path / "c")
    assert (twin.clip_norm, twin.clip_value) == (None, None)


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (np.nan, ValueError), ("1", TypeError)]
)
def test_a_wrong_limit_is_refused(name, value, error):
    with pytest.raises(error, match=name):
        fastbp.Trainer(fastbp.mlp([3, 2], rng=0), **{name: value})
