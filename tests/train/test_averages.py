"""Moving averages of the parameters: PyTorch's, in every way that a step may take; and who sees them."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp._base.threads import available_threads
from tests.resumed import stopped
from tests.train.test_groups import EACH_WAY, GROUPS, data

EMA = 0.9


def make(sizes=(6, 9, 5, 4), optimizer=None, **options):
    return fastbp.Trainer(fastbp.mlp(sizes, rng=0), optimizer=optimizer or fastbp.Adam(1e-2), **{"ema": EMA} | options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_are_those_of_torch(torch, dtype):
    """`swa_utils.AveragedModel`: the first update is copied."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    rng = np.random.default_rng(0)
    for _ in range(10):
        ema, rate = float(rng.uniform(0.5, 0.999)), 10.0 ** rng.uniform(-3, -1)
        model = fastbp.mlp([4, 3], dtype=dtype, rng=1)
        linear = torch.nn.Linear(4, 3, dtype=getattr(torch, dtype))
        averaged = AveragedModel(linear, multi_avg_fn=get_ema_multi_avg_fn(ema))
        with torch.no_grad():
            for theirs, ours in zip(linear.parameters(), model.parameters().values(), strict=True):
                theirs.copy_(torch.from_numpy(np.array(ours)))
        trainer = fastbp.Trainer(model, optimizer=fastbp.Adam(rate), ema=ema)
        theirs = torch.optim.Adam(linear.parameters(), rate)
        for _ in range(8):
            for p, g in zip(linear.parameters(), model.gradients().values(), strict=True):
                p.grad = torch.from_numpy(rng.standard_normal(g.shape).astype(dtype))
                g[...] = p.grad.numpy()
            trainer.update()
            theirs.step()
            averaged.update_parameters(linear)
        tolerance = 1e-13 if dtype == "float64" else 1e-5
        found = trainer.averaged_model().parameters().values()
        for p, own in zip(averaged.module.parameters(), found, strict=True):
            assert_allclose(own, p.detach().numpy(), tolerance, tolerance)


@EACH_WAY
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}], ids=["", "clipped"])
def test_a_step_keeps_them_to_the_same_bits_in_every_way(sizes, batch, options):
    """In `step` on any number of threads and by hand; and the parameters are those without averages."""
    x, y = data(sizes, batch)
    results, before = [], fastbp.get_num_threads()
    plain = make(sizes, fastbp.AdamW(1e-2, groups=GROUPS), ema=None, **options)
    try:
        for threads in (1, min(3, available_threads())):
            fastbp.set_num_threads(threads)
            one, other = (make(sizes, fastbp.AdamW(1e-2, groups=GROUPS), **options) for _ in range(2))
            for _ in range(3):
                one.step(x, y)
                out = other.forward(x)
                other.backward(fastbp.softmax_cross_entropy(out, y)[1])
                other.update()
            results += [one, other]
    finally:
        fastbp.set_num_threads(before)
    average = 0
    for step in range(3):
        plain.step(x, y)
        average = EMA * average + (1 - EMA) * plain.model._params if step else plain.model._params.astype("f8")
    for trainer in results:
        assert_array_equal(trainer.model._params, plain.model._params)
        assert_array_equal(trainer._averages, results[0]._averages)
        assert_allclose(trainer._averages, average, 1e-5, 1e-6)


def test_evaluate_and_validation_take_the_averages_and_the_model_does_not():
    x, y = data((6, 4), 100)
    trainer, plain = make((6, 4)), make((6, 4), ema=None)
    history = trainer.fit(x, y, epochs=3, batch_size=16, rng=0, validation_data=(x, y), progress=False)
    other = plain.fit(x, y, epochs=3, batch_size=16, rng=0, validation_data=(x, y), progress=False)
    averaged = trainer.averaged_model()
    assert_array_equal(trainer.model._params, plain.model._params)
    assert history["loss"] == other["loss"]
    assert history["val_loss"] != other["val_loss"]
    assert trainer.evaluate(x, y) == fastbp.Trainer(averaged).evaluate(x, y)
    assert trainer.evaluate(x, y)["loss"] == history["val_loss"][-1]
    assert_array_equal(trainer.model.predict(x), plain.model.predict(x))
    assert not np.array_equal(averaged.predict(x), plain.model.predict(x))


def test_early_stopping_brings_the_best_averages_back():
    x, y = data((6, 4), 60)
    stop, others = fastbp.EarlyStopping(patience=3), (x[30:], y[30:])  # their labels say nothing about each other
    trainer = make((6, 4), fastbp.SGD(1.0))
    history = trainer.fit(x[:30], y[:30], epochs=100, rng=0, validation_data=others, callbacks=[stop], progress=False)
    best = min(history["val_loss"])
    assert stop.best == best != history["val_loss"][-1]
    assert trainer.evaluate(*others)["loss"] == best
    assert_array_equal(trainer.model._params, trainer.averaged_model()._params)  # what is saved is the best


def test_before_the_first_step_they_are_the_parameters():
    trainer = make()
    trainer.model._params[...] = 0.5
    assert_array_equal(trainer.averaged_model()._params, trainer.model._params)
    averaged = trainer.averaged_model()
    averaged._params[...] = 7  # a copy
    assert (trainer.model._params == 0.5).all()


def test_a_frozen_layer_has_no_averages_but_its_parameters():
    x, y = data((6, 9, 5, 4), 40)
    trainer = make()
    trainer.step(x, y)
    trainer.model[0].weight[...] = 0.25
    trainer.model[0].trainable = False
    trainer.step(x, y)
    averaged = trainer.averaged_model()
    assert_array_equal(averaged[0].weight, trainer.model[0].weight)
    assert not np.array_equal(averaged[1].weight, trainer.model[1].weight)


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    x, y = data((6, 9, 5, 4), 100)
    run = {"epochs": 3, "batch_size": 16, "rng": 1, "validation_data": (x, y), "progress": False}
    trainer, whole = make(), make()
    history = whole.fit(x, y, **run)
    twins = stopped(trainer, 7, tmp_path / "c", x, y, **run)
    assert twins[0].ema == EMA
    for twin in (copy.deepcopy(trainer), *twins):
        assert twin.fit(x, y, **run, resume=True) == history
        assert_array_equal(twin.model._params, whole.model._params)
        assert_array_equal(twin._averages, whole._averages)


def test_the_kernels_settle_averages_that_fade():
    """Numbers below the normal ones take a CPU a hundred cycles each."""
    trainer = make((3, 2), fastbp.SGD(1.0), ema=0.5)
    for _ in range(200):
        trainer.model._params[...] = 0
        trainer.model.gradients()["0.bias"][...] = np.finfo("f4").tiny
        trainer.update()
    trainer.model._params[...] = 0
    trainer.model.gradients()["0.bias"][...] = 0
    for _ in range(60):
        trainer.update()
        assert ((trainer._averages == 0) | (np.abs(trainer._averages) >= np.finfo("f4").tiny)).all()


@pytest.mark.parametrize(("ema", "error"), [(0, ValueError), (1, ValueError), (-0.1, ValueError), ("0.9", TypeError)])
def test_a_wrong_share_is_refused(ema, error):
    with pytest.raises(error, match="ema"):
        make(ema=ema)


def test_without_ema_there_is_no_averaged_model():
    with pytest.raises(ValueError, match="give it ema"):
        make(ema=None).averaged_model()
