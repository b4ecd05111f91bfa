"""`fastbp.mlp`: which layers it makes, and with which weights."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp.nn.mlp import NORMS


def kinds(model):
    return [type(layer).__name__ for layer in model]


def test_norm_and_dropout_stand_around_the_activation_of_each_hidden_layer():
    block = ["Dense", "RMSNorm", "Activation", "Dropout"]
    assert kinds(fastbp.mlp([6, 5, 4, 3], norm="rms_norm", dropout=0.1, rng=0)) == [*block, *block, "Dense"]
    assert kinds(fastbp.mlp([6, 5, 4, 3], dropout=0.1, rng=0)) == ["Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert kinds(fastbp.mlp([6, 3], norm="rms_norm", dropout=0.1, rng=0)) == ["Dense"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "selu"])
def test_dense_layers_begin_as_they_do_alone(norm, activation):
    alone = fastbp.mlp([7, 5, 4, 3], activation, dtype="float64", rng=3)
    model = fastbp.mlp([7, 5, 4, 3], activation, norm=norm, dropout=0.5, dtype="float64", rng=3)
    assert model.dtype == np.float64
    for ours, other in zip([layer for layer in model if isinstance(layer, fastbp.Dense)], alone, strict=True):
        assert_array_equal(ours.weight, other.weight)


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_the_module_of_torch_by_that_name(torch, norm):
    class_of = {"batch_norm": torch.nn.BatchNorm1d, "layer_norm": torch.nn.LayerNorm, "rms_norm": torch.nn.RMSNorm}
    module = fastbp.mlp([6, 5, 3], "silu", norm=norm, dropout=0.1, rng=0).to_torch()
    expected = [torch.nn.Linear, class_of[norm], torch.nn.SiLU, torch.nn.Dropout, torch.nn.Linear]
    assert [type(each) for each in module] == expected


def test_dropout_may_be_a_schedule():
    model = fastbp.mlp([4, 8, 3], dropout=fastbp.schedules.flat_cosine(0.4), rng=0)
    x, y = np.random.default_rng(0).standard_normal((20, 4)), np.arange(20) % 3
    fastbp.Trainer(model).fit(x, y, epochs=2, rng=0, progress=False)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"norm": "group_norm"}, ValueError, "mlp expects norm to be one of batch_norm, layer_norm, rms_norm"),
        ({"dropout": 1.5}, ValueError, "mlp expects dropout"),
        ({"dropout": float("nan")}, ValueError, "mlp expects dropout"),
        ({"dropout": "much"}, TypeError, "mlp expects dropout"),
        ({"dropout": fastbp.schedules.linear(2.0)}, ValueError, "mlp expects dropout"),
    ],
)
def test_what_is_no_norm_and_no_probability_is_refused(options, error, match):
    with pytest.raises(error, match=match):
        fastbp.mlp([4, 8, 3], rng=0, **options)
