"""Layers that are not trainable: what stays, what is not computed, what is kept, and that it may change at any time."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import (
    Activation,
    Dense,
    Dropout,
    LayerNorm,
    ParametricActivation,
    PReLU,
    Residual,
    RMSNorm,
    Scale,
    Sequential,
    Trainer,
)
from fastbp.kernels.run import plan as columns
from fastbp.kernels.run.frame import PLAN
from tests.resumed import stopped

FROZEN = (0, 2, 4)  # of `example`


def example(dtype="float32", p=0.3):
    """A network of all kinds; without p there is no Dropout, so that it can go forward by hand."""
    return Sequential(
        Dense(20, 32, "tanh", rng=0, dtype=dtype),
        RMSNorm(32, dtype=dtype),
        Dense(32, 32, "gelu", rng=1, dtype=dtype),
        Dropout(p) if p is not None else Activation("identity"),
        Residual(Dense(32, 32, "relu", rng=2, dtype=dtype), LayerNorm(32, dtype=dtype)),
        Scale(32, dtype=dtype),
        ParametricActivation(32, "silu", 0.5, dtype=dtype),
        PReLU(dtype=dtype),
        Dense(32, 5, rng=3, dtype=dtype),
    )


def freeze(model, which):
    for i in which:
        model[i].trainable = False
    return model


def data(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 20)).astype(np.float32), rng.integers(0, 5, rows)


def unchanged(model, before):
    return {name for name, value in model.state_dict().items() if value.tobytes() == before[name].tobytes()}


def names(model, which):
    return {name for name in model.parameters() if int(name.split(".")[0]) in which}


OPTIMIZERS = [
    fastbp.SGD(0.1, momentum=0.9, weight_decay=0.1),
    fastbp.AdamW(1e-2, weight_decay=0.1),
    fastbp.RMSprop(1e-2),
    fastbp.Lion(1e-3, weight_decay=0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("batch", [32, 300])
def test_frozen_parameters_and_their_state_stay_and_all_others_change(optimizer, clip_norm, batch):
    model, (x, y) = freeze(example(), FROZEN), data()
    before = model.state_dict()
    trainer = Trainer(model, "softmax_cross_entropy", copy.copy(optimizer), clip_norm, rng=0)
    trainer.fit(x, y, epochs=2, batch_size=batch, rng=0, progress=False)
    trainer.step(x, y)
    assert unchanged(model, before) == names(model, FROZEN)
    moments = trainer._state.reshape(-1, model._params.size)
    start = 0
    for name, value in model.parameters().items():
        assert moments[:, start : start + value.size].any() != (name in names(model, FROZEN))
        start += value.size
    assert all(not model.gradients()[name].any() for name in names(model, FROZEN))


@settings(max_examples=8)
@given(st.sets(st.integers(0, 8)), st.sampled_from([7, 40, 1100]), st.booleans(), st.booleans())
def test_losses_and_parameters_are_pytorchs(torch, which, batch, by_rows, clips):
    model = freeze(example("float64", p=0.0), which)
    module, (x, y) = model.to_torch(), data(batch, seed=batch)
    x = x.astype(np.float64)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2, weight_decay=0.1)
    small, columns.SMALL = columns.SMALL, 1 << 40 if by_rows else 0
    try:
        trainer = Trainer(
            model, optimizer=fastbp.AdamW(1e-2, weight_decay=0.1), clip_norm=0.5 if clips else None, rng=0
        )
        for _ in range(3):
            loss = torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(y))
            np.testing.assert_allclose(trainer.step(x, y), loss.item(), rtol=1e-9)
            if not any(p.requires_grad for p in module.parameters()):
                continue
            optimizer.zero_grad()
            loss.backward()
            if clips:
                torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
    finally:
        columns.SMALL = small
    for found, exact in zip(model.parameters().values(), module.parameters(), strict=True):
        np.testing.assert_allclose(found, exact.detach().numpy(), rtol=0, atol=1e-7)


def test_nothing_is_computed_below_the_last_trainable_layer():
    model, (x, y) = freeze(example(), range(5)), data(64)
    trainer = Trainer(model, rng=0)
    trainer.step(x, y)
    table = trainer._plan
    frozen = (table[:, columns.FLAGS] & columns.FROZEN != 0) & (table[:, columns.DEPTH] > 0)
    assert frozen.sum() == 5
    assert (table[frozen, columns.WEIGHT_GRADIENT] == columns.NOTHING).all()
    first = np.flatnonzero((table[:, columns.DEPTH] > 0) & ~frozen)[0]
    # the op that the first of the trainable layers is would write the gradient of what it reads
    assert (table[1 : first + 1, columns.INPUT_GRADIENT] == columns.NOTHING).all()
    assert (table[first + 1 :, columns.INPUT_GRADIENT] != columns.NOTHING).all()


def test_the_gradient_of_the_input_goes_through_frozen_layers():
    x, y = data(40)
    gradients = []
    for which in ((), range(6), range(9)):
        trainer = Trainer(freeze(example(p=None), which), rng=0)
        _, dout = fastbp.softmax_cross_entropy(trainer.forward(x), y)
        gradients.append(trainer.backward(dout, input_gradient=True).tobytes())
        assert trainer._addresses[PLAN] == trainer._plan.ctypes.data
        assert trainer.model.gradients()["8.weight"].any() == (8 not in which)
        _, dout = fastbp.softmax_cross_entropy(trainer.model.forward(x), y)
        gradients.append(trainer.model.backward(dout).tobytes())
    assert len(set(gradients)) == 1


def test_phases_by_hand_are_those_of_a_step():
    x, y = data(64)
    one, other = (Trainer(freeze(example(), FROZEN), optimizer=fastbp.Adam(1e-2), clip_norm=0.1, rng=3) for _ in "ab")
    for _ in range(3):
        one.step(x, y)
        _, dout = fastbp.softmax_cross_entropy(other.forward(x), y)
        other.backward(dout)
        other.update()
    assert one.model._params.tobytes() == other.model._params.tobytes()
    assert one.model._grads.tobytes() == other.model._grads.tobytes()


def test_a_chain_of_dense_layers_goes_by_hand_as_in_a_step():
    x, y = data(64)
    model = freeze(fastbp.mlp([20, 9, 8, 5], "tanh", rng=0), [1])
    assert model._chain is None  # layers by themselves would make the gradients of the frozen one, for nothing
    twin = copy.deepcopy(model)
    Trainer(twin, optimizer=fastbp.SGD(1e-30)).step(x, y)
    _, dout = fastbp.softmax_cross_entropy(model.forward(x), y)
    model.backward(dout)
    assert model._grads.tobytes() == twin._grads.tobytes()
    assert not model[1].weight_grad.any()
    layer = model[1]
    layer.forward(np.ones((3, 9), np.float32))
    layer.backward(np.ones((3, 8)))
    assert not layer.weight_grad.any()


def test_it_may_change_between_steps_and_gradients_are_zero_from_then_on():
    model, (x, y) = example(), data(64)
    trainer = Trainer(model, optimizer=fastbp.SGD(0.1, momentum=0.9), clip_norm=1e-3, rng=0)
    trainer.step(x, y)
    trainer.step(x, y)  # the short way
    freeze(model, FROZEN)
    assert not any(model.gradients()[name].any() for name in names(model, FROZEN))
    before = model.state_dict()
    trainer.step(x, y)
    assert unchanged(model, before) == names(model, FROZEN)
    model[0].trainable = True
    before = model.state_dict()
    trainer.step(x, y)
    assert unchanged(model, before) == names(model, (2, 4))


def test_a_callback_thaws_layers_in_the_middle_of_a_run():
    class Thaw(fastbp.Callback):
        every = 3

        def on_steps_end(self, trainer):
            if trainer.steps == 3:
                seen.append(unchanged(trainer.model, before))
                trainer.model[0].trainable = True

    seen, model, (x, y) = [], freeze(example(), FROZEN), data()
    before = model.state_dict()
    Trainer(model, rng=0).fit(x, y, batch_size=32, rng=0, progress=False, callbacks=[Thaw()])
    assert seen == [names(model, FROZEN)]
    assert unchanged(model, before) == names(model, (2, 4))


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_gradients_of_before_a_change_are_not_used(when):
    model, (x, y) = example(p=None), data(64)
    trainer = Trainer(model, rng=0)
    _, dout = fastbp.softmax_cross_entropy(trainer.forward(x), y)
    if when == "backward":
        trainer.backward(dout)
    freeze(model, [8])
    if when == "forward":
        with pytest.raises(RuntimeError, match="or change of what is trainable between"):
            trainer.backward(dout)
        model.forward(x)
        model[8].trainable = True
        with pytest.raises(RuntimeError, match="no change of what is trainable between"):
            model.backward(dout)
    else:
        before = model.state_dict()
        trainer.update()
        assert unchanged(model, before) == names(model, [8])


def test_averages_of_frozen_parameters_are_these_parameters():
    model, (x, y) = freeze(example(), FROZEN), data()
    before = model.state_dict()
    trainer = Trainer(model, rng=0, ema=0.9)
    trainer.fit(x, y, epochs=2, batch_size=64, rng=0, progress=False)
    assert unchanged(trainer.averaged_model(), before) == names(model, FROZEN)
    assert unchanged(trainer.averaged_model(), model.state_dict()) == names(model, FROZEN)


def test_files_checkpoints_and_copies_keep_it_and_a_run_goes_on_to_the_same_bits(tmp_path):
    x, y = data()
    whole, other = (Trainer(freeze(example(), FROZEN), optimizer=fastbp.Adam(1e-2)) for _ in range(2))
    run = {"epochs": 3, "batch_size": 64, "rng": 7, "progress": False}
    whole.fit(x, y, **run)
    for trainer in stopped(other, 8, tmp_path / "run", x, y, **run):
        trainer.fit(x, y, **run, resume=True)
        assert trainer.model._params.tobytes() == whole.model._params.tobytes()
    model = whole.model
    model.save(tmp_path / "m")
    for twin in (
        fastbp.load(tmp_path / "m"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model),
    ):  # fmt: skip
        assert [layer.trainable for layer in twin] == [layer.trainable for layer in model]
        assert [each.trainable for each in twin[4].layers] == [False, False]
    assert pickle.loads(pickle.dumps(model[0])).trainable is False


def test_of_a_residual_it_is_that_of_its_layers():
    block = example()[4]
    block.layers[0].trainable = False
    assert block.trainable
    block.trainable = False
    assert not block.layers[1].trainable
    assert not block.trainable


def test_a_summary_says_how_many_parameters_change():
    lines = freeze(example(), FROZEN).summary().splitlines()
    assert lines[0].split() == ["layer", "activation", "output", "parameters", "trainable"]
    assert [line.split()[-1] for line in lines[1:4]] == ["0", "32", "0"]
    assert lines[-1].endswith(" 262")  # RMSNorm, Scale, ParametricActivation: 32 each; PReLU: 1; Dense(32, 5): 165
    assert "trainable" not in example().summary()


def test_what_is_no_flag_or_would_be_ignored_is_refused():
    with pytest.raises(TypeError, match="Dense expects trainable to be True or False, got 'no'"):
        Dense(3, 2).trainable = "no"

    class Mine(Dense):
        trainable = False

    with pytest.raises(TypeError, match="Mine overrides trainable"):
        Sequential(Mine(3, 2))


def test_adam_corrects_the_means_of_a_thawed_layer_by_the_steps_of_the_trainer():
    model = Sequential(Dense(2, 1, bias=False, dtype="float64", rng=0))
    trainer = fastbp.Trainer(model, "mse", fastbp.Adam(1e-3))
    x, ones = np.ones((1, 2)), np.ones((1, 1))  # the gradient is 1 in each step

    def moved(steps):
        before = model[0].weight.copy()
        for _ in range(steps):
            trainer.forward(x)
            trainer.backward(ones)
            trainer.update()
        return (before - model[0].weight)[0, 0]

    model[0].trainable = False
    assert moved(1000) == 0
    model[0].trainable = True
    means, corrections = (1 - 0.9) / np.sqrt(1 - 0.999), (1 - 0.9**1001) / np.sqrt(1 - 0.999**1001)
    assert moved(1) == pytest.approx(1e-3 * means / corrections, rel=1e-6)
    model[0].trainable = False
    moved(1000)
    model[0].trainable = True
    trainer = fastbp.Trainer(model, "mse", fastbp.Adam(1e-3))
    assert moved(1) == pytest.approx(1e-3, rel=1e-6)  # a new trainer counts anew
