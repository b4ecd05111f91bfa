"""Activations of a user's own: compiled from a formula, its slope checked, a label in files."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp.kernels.simd.elementary import exp
from fastbp.nn.residual import Residual


def squared_relu(v, z):
    r = v.maximum(z, 0.0)
    return r * r, 2.0 * r


def bump(v, z):
    e = exp(v, -(z * z))
    return e, -2.0 * z * e


def tanh_by_exp(v, z):
    e = exp(v, -2.0 * v.abs(z))
    t = (1.0 - e) / (1.0 + e)
    return v.with_sign(t, z), 1.0 - t * t


VALUES = {squared_relu: lambda z: np.maximum(z, 0) ** 2, bump: lambda z: np.exp(-(z**2)), tanh_by_exp: np.tanh}
MINE = {formula.__name__: fastbp.activation(formula.__name__, formula) for formula in VALUES}


def make_model(dtype="float32", activation="bump"):
    return fastbp.mlp([5, 12, 7, 3], MINE[activation], dtype=dtype, rng=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("formula", VALUES, ids=lambda formula: formula.__name__)
def test_it_is_the_function_that_its_formula_says(formula, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4)).astype(dtype)
    layer = fastbp.Dense(4, 6, MINE[formula.__name__], dtype=dtype, rng=0)
    wanted = VALUES[formula]((x @ layer.weight.T + layer.bias).astype("f8"))
    assert_allclose(layer.forward(x), wanted, rtol=1e-4 if dtype == "float32" else 1e-12, atol=1e-6)
    assert_array_equal(fastbp.Sequential(layer).predict(x), layer.forward(x))


@pytest.mark.parametrize("name", MINE)
def test_gradients_are_right(name):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 5)), rng.integers(0, 3, 6)
    assert fastbp.gradcheck(make_model(activation=name), "softmax_cross_entropy", x, y, atol=1e-5).ok


@pytest.mark.parametrize("rows", [7, 900])
def test_a_trainer_takes_it_in_all_its_ways(rows, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 5)), rng.integers(0, 3, rows)
    runs = [fastbp.Trainer(make_model(), optimizer=fastbp.SGD(0.1)) for _ in range(3)]
    runs[2] = pickle.loads(pickle.dumps(runs[2]))
    for trainer in runs[:2]:
        trainer.step(x, y)
    _, dout = fastbp.softmax_cross_entropy(runs[2].forward(x), y)
    runs[2].backward(dout)
    runs[2].update()
    runs[1].save_checkpoint(tmp_path / "c")
    runs[1] = fastbp.Trainer.load_checkpoint(tmp_path / "c", activations=MINE.values())
    for trainer in runs:
        trainer.fit(x, y, epochs=2, rng=0, progress=False)
        assert_array_equal(trainer.model._params, runs[0].model._params)
    for other in (copy.deepcopy(runs[0].model), pickle.loads(pickle.dumps(runs[0].model))):
        assert_array_equal(other.predict(x), runs[0].model.predict(x))


def test_a_file_has_its_name_as_a_label(tmp_path):
    path, model = tmp_path / "m.safetensors", make_model()
    model.save(path)
    twin = fastbp.load(path, activations=[MINE["squared_relu"], MINE["bump"]])
    x = np.ones((3, 5))
    assert_array_equal(twin.predict(x), model.predict(x))
    assert twin[0].activation == "bump"
    with pytest.raises(ValueError, match=r"activation 'bump', which is none of fastbp's: pass yours"):
        fastbp.load(path)
    with pytest.raises(TypeError, match=r"load expects activations that fastbp.activation made, got str"):
        fastbp.load(path, activations=["bump"])
    with pytest.raises(TypeError, match=r"load expects activations to be a list of them, got OwnActivation"):
        fastbp.load(path, activations=MINE["bump"])
    assert "bump" in model.summary()


def test_a_file_has_the_names_of_layers_in_layers(tmp_path):
    path = tmp_path / "m.safetensors"
    model = fastbp.Sequential(Residual(fastbp.Dense(3, 3, MINE["bump"], rng=0)), fastbp.Dense(3, 2, rng=0))
    model.save(path)
    for twin in (fastbp.load(path, activations=[MINE["bump"]]), pickle.loads(pickle.dumps(model))):
        assert_array_equal(twin.predict(np.eye(3)), model.predict(np.eye(3)))


def test_a_wrong_slope_is_refused():
    with pytest.raises(ValueError, match=r"activation expects the slope .* of cubed at .*, by differences, got"):
        fastbp.activation("cubed", lambda v, z: (z * z * z, 2.0 * z * z))
    with pytest.raises(ValueError, match="places where nowhere is finite"):
        fastbp.activation("nowhere", lambda v, z: ((z - z) / (z - z), (z - z) / (z - z)))


@pytest.mark.parametrize("formula", [lambda v, z: z, lambda v, z: (v.nothing(z), z), lambda v, z: z if z else (z, z)])
def test_a_formula_that_makes_no_code_is_refused(formula):
    with pytest.raises(TypeError, match=r"activation expects broken to be a formula"):
        fastbp.activation("broken", formula)


@pytest.mark.parametrize("name", ["tanh", "no name", "", 3])
def test_a_name_that_cannot_be_a_label_is_refused(name):
    with pytest.raises(ValueError, match="activation expects name to be an identifier"):
        fastbp.activation(name, bump)


def test_the_torch_door_refuses_it(torch):
    from fastbp.torch import MLP, Linear

    for make in (lambda: MLP([2, 3, 1], activation=MINE["bump"]), lambda: Linear(2, 3, activation=MINE["bump"])):
        with pytest.raises(ValueError, match="expects activation"):
            make()


def test_the_sklearn_door_refuses_it():
    pytest.importorskip("sklearn")
    from fastbp.sklearn import MLPClassifier

    with pytest.raises(ValueError, match="'activation' parameter of MLPClassifier must be a str among"):
        MLPClassifier(activation=MINE["bump"]).fit(np.eye(4), [0, 1, 0, 1])


def test_a_constant_that_a_formula_uses_is_part_of_what_is_kept():
    results = []
    for factor in (2.0, 3.0):
        scope = {"FACTOR": factor}
        exec("def scaled(v, z):\n    return FACTOR * z, FACTOR * v.select(z.equals(z), 1.0, z)\n", scope)
        layer = fastbp.Dense(1, 1, fastbp.activation("scaled", scope["scaled"]), init=lambda rng, shape: np.ones(shape))
        results.append(layer.forward([[1.0]])[0, 0])
    assert results == [2.0, 3.0]


def test_what_a_subclass_overrides_is_refused_with_what_to_do():
    class OwnLoss(fastbp.MSELoss):
        def evaluate(self, *arguments, **options):
            return super().evaluate(*arguments, **options)

    class OwnLayer(fastbp.Dense):
        def forward(self, x):
            return super().forward(x)

    class OwnOptimizer(fastbp.SGD):
        def step(self):
            pass

    with pytest.raises(TypeError, match="pass the loss as a function of outputs and targets, or one of a row under"):
        fastbp.Trainer(fastbp.mlp([2, 1]), OwnLoss())
    with pytest.raises(TypeError, match=r"pass an activation of your own by fastbp.activation"):
        fastbp.Sequential(OwnLayer(2, 1))
    with pytest.raises(TypeError, match=r"call trainer.forward and trainer.backward, and update model.parameters"):
        fastbp.Trainer(fastbp.mlp([2, 1]), "mse", OwnOptimizer())
