"""``model[:2]``, a Sequential on a model's memory; and a model in another dtype."""

import copy
import gc
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import Activation, Dense, Dropout, LayerNorm, Residual, Sequential, Trainer


def example(dtype="float32"):
    return Sequential(
        Dense(20, 32, "relu", rng=0, dtype=dtype),
        LayerNorm(32, dtype=dtype),
        Residual(Dense(32, 32, rng=1, dtype=dtype), Activation("tanh")),
        Dropout(0.5),
        Dense(32, 5, rng=2, dtype=dtype),
    )


def data(columns=20, rows=64):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, columns)).astype(np.float32), rng.standard_normal((rows, 32)).astype(np.float32)


def test_a_part_is_a_model_of_the_same_layers_on_the_same_memory():
    model = example()
    part = model[1:3]
    assert (part.in_features, part.out_features, part.dtype) == (32, 32, model.dtype)
    assert part.layers == model.layers[1:3]
    assert list(part.parameters()) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    for name, other in (("0.weight", "1.weight"), ("1.0.bias", "2.0.bias")):
        assert np.shares_memory(part.parameters()[name], model.parameters()[other])
        assert np.shares_memory(part.gradients()[name], model.gradients()[other])
    part[0].weight[...] = 7
    assert (model[1].weight == 7).all()
    assert model[1].owner is model
    assert model[-1] is model.layers[-1]


def test_parts_after_each_other_predict_what_the_model_does():
    model, (x, _) = example(), data()
    assert model[2:].predict(model[:2].predict(x)).tobytes() == model.predict(x).tobytes()
    assert model[:].predict(x).tobytes() == model.predict(x).tobytes()
    assert model[1:][:2].predict(model[:1].predict(x)).tobytes() == model[:3].predict(x).tobytes()
    assert model[-1:].in_features == 32


def test_what_a_part_is_trained_to_the_model_is_and_nothing_else_of_it():
    model, (x, y) = example(), data()
    alone, rest = copy.deepcopy(model[:3]), model[3:].state_dict()
    for each in (model[:3], alone):
        Trainer(each, "mse", fastbp.Adam(1e-2)).fit(x, y, epochs=3, batch_size=16, rng=0, progress=False)
    assert model[:3]._params.tobytes() == alone._params.tobytes()
    assert {name: value.tobytes() for name, value in model[3:].state_dict().items()} == {
        name: value.tobytes() for name, value in rest.items()
    }
    # and by hand
    for each in (model[:3], alone):
        each.backward(each.forward(x))
    assert model[:3]._grads.tobytes() == alone._grads.tobytes()


def test_model_and_part_train_by_turns():
    model, twin, (x, y) = example(), example(), data()
    labels = np.arange(len(x)) % 5
    copied = copy.deepcopy(twin[:3])
    trainers = [Trainer(model, rng=0), Trainer(model[:3], "mse"), Trainer(twin, rng=0), Trainer(copied, "mse")]
    for _ in range(3):
        for trainer in trainers[:2]:
            trainer.step(x, y if trainer.model is not model else labels)
        trainers[2].step(x, labels)
        copied.load_state_dict(twin[:3].state_dict())
        trainers[3].step(x, y)
        twin[:3].load_state_dict(copied.state_dict())
    assert model._params.tobytes() == twin._params.tobytes()


def test_a_part_keeps_the_memory_and_its_layers_the_model():
    part = example()[1:3]
    gc.collect()
    assert part[0].owner.layers[1] is part[0]
    assert np.isfinite(part.predict(data(32)[0])).all()
    inner = part[:1]
    del part
    gc.collect()
    assert inner[0].owner is not None
    inner[0].trainable = False


def test_freezing_in_a_part_is_freezing_in_the_model():
    model, (x, y) = example(), data()
    part = model[:3]
    whole, trainer = Trainer(model, rng=0), Trainer(part, "mse")
    trainer.step(x, y)
    whole.step(x, np.zeros(len(x), int))
    part[0].trainable = False
    before = model[0].weight.copy()
    trainer.step(x, y)
    whole.step(x, np.zeros(len(x), int))
    np.testing.assert_array_equal(model[0].weight, before)


def test_a_file_a_pickle_and_a_copy_of_a_part_are_models_by_themselves(tmp_path):
    model, (x, _) = example(), data()
    part = model[:3]
    part.metadata["what"] = "part"
    assert model.metadata == {}
    part.save(tmp_path / "m")
    for twin in (fastbp.load(tmp_path / "m"), pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
        assert twin.predict(x).tobytes() == part.predict(x).tobytes()
        assert twin.metadata == {"what": "part"}
        assert not np.shares_memory(twin._params, model._params)
        assert twin[0].owner is twin


def test_layers_of_a_model_make_another_as_copies():
    model = example()
    with pytest.raises(ValueError, match="belong to no model"):
        Sequential(*model[:2])
    other = Sequential(*map(copy.deepcopy, model[:2]), Dense(32, 3, rng=5))
    np.testing.assert_array_equal(other[0].weight, model[0].weight)


@pytest.mark.parametrize("chosen", [slice(2, 2), slice(9, None), slice(None, None, 2), slice(None, None, -1)])
def test_layers_that_do_not_follow_each_other_are_no_part(chosen):
    with pytest.raises(ValueError, match="Sequential expects a slice of layers that follow each other"):
        example()[chosen]


# Another dtype


def test_a_model_in_another_dtype_has_the_rounded_parameters_and_all_else():
    model, (x, _) = example("float64"), data()
    model.metadata["a"] = [1]
    narrow = model.astype("float32")
    assert repr(narrow) == repr(example())
    for name, value in narrow.parameters().items():
        np.testing.assert_array_equal(value, model.parameters()[name].astype(np.float32))
    wide = narrow.astype(np.float64)
    np.testing.assert_allclose(wide.predict(x), narrow.predict(x), atol=1e-5)
    assert wide.metadata == {"a": [1]}
    wide.metadata["a"].append(2)
    assert model.metadata == {"a": [1]}
    assert model.astype("float64")._params.tobytes() == model._params.tobytes()
    assert not np.shares_memory(model.astype("float64")._params, model._params)


def test_what_another_dtype_cannot_hold_is_refused():
    model = example("float64")
    model[0].weight[0, 0] = 1e39
    with pytest.raises(ValueError, match=r"astype expects parameters that float32 can hold, got one of size 1e\+39"):
        model.astype("float32")
    with pytest.raises(TypeError, match="astype expects dtype float32 or float64, got 'int8'"):
        model.astype("int8")


def test_a_part_that_predictions_go_without_is_refused():
    model = fastbp.Sequential(fastbp.Dense(3, 4), fastbp.Dropout(0.5), fastbp.Dense(4, 2))
    with pytest.raises(ValueError, match=r"a layer that predictions need, got slice\(1, 2, None\): \(Dropout"):
        model[1:2]
    assert model[1:].predict(np.ones((1, 4))).shape == (1, 2)
