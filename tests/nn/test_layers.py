"""Dense layers and chains of them, by hand."""

import copy
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn import losses
from fastbp.nn.losses import named_loss
from tests.kernels.loss_problems import targets_of

LOSSES = list(losses.LOSSES)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def targets_for(loss, rng, batch, outputs):
    """Return targets for a network with this many outputs."""
    if loss == "softmax_cross_entropy":
        return rng.integers(0, outputs, batch)
    if loss == "gaussian_nll":
        return rng.standard_normal((batch, outputs // 2))
    kind = losses.LOSSES[loss]
    if kind in losses.MADE:
        labels, targets = targets_of(kind._entry, rng, batch, outputs)
        return labels if kind._entry.labelled else targets
    return rng.random((batch, outputs))


def loss_of(loss, z, y):
    return named_loss(loss).evaluate(z, y)


class TestForward:
    def test_is_the_formula(self, rng):
        layer = fastbp.Dense(5, 3, "relu", dtype="float64", rng=0)
        layer.bias[...] = rng.standard_normal(3)
        x = rng.standard_normal((4, 5))
        assert_allclose(layer.forward(x), np.maximum(x @ layer.weight.T + layer.bias, 0), rtol=1e-14)

    @pytest.mark.parametrize(
        "variant",
        [
            lambda x: np.asfortranarray(x),
            lambda x: np.repeat(x, 2, axis=1)[:, ::2],
            lambda x: x[::-1].copy()[::-1],
            lambda x: (
                np.concatenate([np.zeros(1, np.int8), x.view(np.int8).ravel()])[1:].view(x.dtype).reshape(x.shape)
            ),
            lambda x: x.astype(x.dtype.newbyteorder()),
            lambda x: x.tolist(),
            lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
        ],
        ids=["fortran", "strided", "reversed", "misaligned", "big-endian", "list", "read-only"],
    )
    def test_takes_any_layout(self, rng, variant):
        x = rng.integers(-4, 5, (6, 20)).astype(np.float32)
        layer = fastbp.Dense(20, 7, "tanh", rng=0)
        assert_array_equal(layer.forward(variant(x)), layer.forward(x))

    @pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "float16", "float64"])
    def test_converts_other_real_numbers_once(self, rng, dtype):
        x = rng.integers(0, 2, (6, 20)).astype(dtype)
        layer = fastbp.Dense(20, 7, rng=0)
        assert_array_equal(layer.forward(x), layer.forward(x.astype(np.float32)))

    def test_reads_a_read_only_array_without_copying_it(self, rng):
        x = rng.standard_normal((6, 20)).astype(np.float32)
        x.flags.writeable = False
        layer = fastbp.Dense(20, 7, rng=0)
        layer.forward(x)
        assert np.shares_memory(layer._saved[0], x)
        assert not x.flags.writeable

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (np.zeros((32, 28, 28)), ValueError, r"Dense expects x of shape \(batch, 784\), got \(32, 28, 28\)"),
            (np.zeros(784), ValueError, r"got \(784,\)"),
            (np.zeros((2, 783)), ValueError, r"got \(2, 783\)"),
            (np.zeros((0, 784)), ValueError, r"at least one row, got \(0, 784\)"),
            (np.zeros((2, 784), complex), TypeError, "complex128"),
            (np.zeros((2, 784), np.longdouble), TypeError, "longdouble|float128"),
            (np.zeros((2, 784), object), TypeError, "object"),
            ([["a"] * 784], TypeError, "dtype"),
            ([[0.0], [0.0, 1.0]], ValueError, "array of numbers"),
            (np.ma.masked_array(np.zeros((2, 784))), TypeError, "mask"),
        ],
    )
    def test_refuses_what_does_not_fit(self, x, error, message):
        with pytest.raises(error, match=message):
            fastbp.Dense(784, 10, rng=0).forward(x)

    def test_nan_and_infinity_arrive(self):
        layer = fastbp.Dense(2, 2, init="zeros")
        layer.weight[...] = np.eye(2)
        assert_array_equal(layer.forward([[np.nan, 1], [1, np.inf]]), [[np.nan, np.nan], [np.nan, np.inf]])


class TestParameters:
    def test_are_live_views(self, rng):
        model = fastbp.mlp([4, 3, 2], rng=0)
        x = rng.standard_normal((5, 4)).astype(np.float32)
        model.parameters()["1.weight"][...] = 0
        model[1].bias[...] = [3, 4]
        assert_array_equal(model.predict(x), np.tile(np.float32([3, 4]), (5, 1)))

    def test_have_torch_shapes(self):
        layer = fastbp.Dense(4, 3, rng=0)
        assert layer.weight.shape == layer.weight_grad.shape == (3, 4)
        assert layer.bias.shape == layer.bias_grad.shape == (3,)

    def test_move_into_the_model(self):
        layer = fastbp.Dense(4, 3, rng=0)
        before = layer.weight.copy()
        model = fastbp.Sequential(layer)
        assert_array_equal(layer.weight, before)
        assert np.shares_memory(layer.weight, model._params)

    def test_no_bias(self):
        layer = fastbp.Dense(4, 3, bias=False, rng=0)
        assert layer.bias is None
        assert layer.bias_grad is None
        assert list(fastbp.Sequential(layer).parameters()) == ["0.weight"]

    def test_share_memory_with_torch(self, torch):
        model = fastbp.mlp([4, 3], rng=0)
        tensor = torch.from_numpy(model[0].weight)
        tensor.zero_()
        assert not model[0].weight.any()

    @pytest.mark.parametrize("init", sorted(fastbp.initializers.INITIALIZERS))
    def test_initial_weights_have_the_named_variance(self, init):
        weight = fastbp.Dense(300, 200, init=init, rng=0).weight
        variance = {"he": 2 / 300, "glorot": 2 / 500, "lecun": 1 / 300, "zeros": 0}[init.split("_")[0]]
        assert_allclose(weight.var(), variance, rtol=0.03)
        if init.endswith("uniform"):
            assert abs(weight).max() <= np.float32(np.sqrt(3 * variance))

    def test_same_seed_same_weights(self):
        for a, b in zip(fastbp.mlp([4, 8, 2], rng=3), fastbp.mlp([4, 8, 2], rng=np.random.default_rng(3)), strict=True):
            assert_array_equal(a.weight, b.weight)
        assert (fastbp.Dense(4, 8, rng=3).weight != fastbp.Dense(4, 8, rng=4).weight).any()

    def test_load_state_dict_is_all_or_nothing(self):
        model = fastbp.mlp([4, 3, 2], rng=0)
        before = model.state_dict()
        for change, error, message in [
            ({"1.weight": np.full((2, 3), np.nan, np.float32)}, ValueError, "1.weight without NaN"),
            ({"1.bias": np.zeros(3, np.float32)}, ValueError, r"1.bias of shape \(2,\), got \(3,\)"),
            ({"1.bias": np.zeros(2)}, TypeError, "1.bias of dtype float32, got float64"),
            ({"2.weight": np.zeros(1)}, KeyError, "no 2.weight"),
        ]:
            with pytest.raises(error, match=message):
                model.load_state_dict({k: v + 1 for k, v in before.items()} | change)
        with pytest.raises(KeyError, match=r"expects 0.bias"):
            model.load_state_dict({k: v for k, v in before.items() if k != "0.bias"})
        for name, value in model.parameters().items():
            assert_array_equal(value, before[name])

    def test_state_dict_comes_from_and_goes_to_torch(self, torch):
        reference = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        model = fastbp.mlp([4, 3, 2], "identity", rng=0)
        model.load_state_dict(reference.state_dict())
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        assert_allclose(model.predict(x.numpy()), reference(x).detach().numpy(), rtol=1e-5, atol=1e-6)
        reference.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})


class TestBackward:
    def test_needs_forward(self):
        with pytest.raises(RuntimeError, match="needs forward before it"):
            fastbp.Dense(4, 3).backward(np.zeros((1, 3)))
        with pytest.raises(RuntimeError, match="needs forward before it"):
            fastbp.mlp([4, 3]).backward(np.zeros((1, 3)))

    def test_refuses_another_shape(self):
        layer = fastbp.Dense(4, 3, rng=0)
        layer.forward(np.zeros((2, 4)))
        with pytest.raises(ValueError, match=r"da of shape \(2, 3\), got \(3, 3\)"):
            layer.backward(np.zeros((3, 3)))

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_gradients_are_central_differences(self, rng, activation, loss):
        """Three layers in float64, every parameter; eps 1e-6, agreement to 1e-6 of the largest gradient."""
        model = fastbp.mlp([3, 5, 4, 4], activation, output_activation=activation, dtype="float64", rng=1)
        for layer in model:
            layer.bias[...] = 0.1 * rng.standard_normal(layer.bias.shape)
        x, y = rng.standard_normal((6, 3)), targets_for(loss, rng, 6, 4)
        _, gradient = loss_of(loss, model.forward(x), y)
        dx = model.backward(gradient)
        numbers, expected = np.concatenate([model._params, x.ravel()]), []
        for i in range(numbers.size):
            values = []
            for eps in (1e-6, -1e-6):
                changed = numbers.copy()
                changed[i] += eps
                model._params[...] = changed[: model._params.size]
                values.append(loss_of(loss, model.predict(changed[model._params.size :].reshape(x.shape)), y)[0])
            expected.append((values[0] - values[1]) / 2e-6)
        got = np.concatenate([model._grads, dx.ravel()])
        assert abs(got - expected).max() <= 1e-6 * abs(got).max()

    @pytest.mark.parametrize("batch", [1, 33, 2000])  # 2000: the weight gradients are summed in chunks
    @pytest.mark.parametrize("activation", ["relu", "tanh"])
    @pytest.mark.parametrize("sizes", [[20, 33, 17, 5], [300, 60, 5]])  # apart; of the large one, chunk after chunk
    def test_layer_by_layer_is_the_model_and_the_trainer_bit_for_bit(self, rng, activation, batch, sizes):
        x, y = rng.standard_normal((batch, sizes[0])).astype(np.float32), rng.integers(0, 5, batch)
        single, whole, trained = (fastbp.mlp(sizes, activation, rng=1) for _ in range(3))

        a = x
        for layer in single:
            a = layer.forward(a)
        loss, gradient = fastbp.softmax_cross_entropy(a, y)
        for layer in reversed(single.layers):
            gradient = layer.backward(gradient)

        dx = whole.backward(fastbp.softmax_cross_entropy(whole.forward(x), y)[1])
        step_loss = fastbp.Trainer(trained, optimizer=fastbp.SGD(0.1)).step(x, y)

        assert loss == step_loss
        assert_array_equal(gradient, dx)
        for name, value in single.gradients().items():
            assert_array_equal(whole.gradients()[name], value)
            assert_array_equal(trained.gradients()[name], value)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_equals_torch(self, torch, rng, activation):
        kind = ACTIVATIONS[activation]
        function = getattr(torch.nn, kind.torch)(**kind.torch_options)
        layer = fastbp.Dense(30, 20, activation, rng=0)
        x, da = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 30), (40, 20)))
        w, b, tx = (torch.from_numpy(np.array(v)).requires_grad_() for v in (layer.weight, layer.bias, x))
        a = function(torch.nn.functional.linear(tx, w, b))
        a.backward(torch.from_numpy(da))
        assert_allclose(layer.forward(x), a.detach().numpy(), rtol=1e-5, atol=1e-5)
        assert_allclose(layer.backward(da), tx.grad.numpy(), rtol=1e-4, atol=1e-4)
        assert_allclose(layer.weight_grad, w.grad.numpy(), rtol=1e-4, atol=1e-4)
        assert_allclose(layer.bias_grad, b.grad.numpy(), rtol=1e-4, atol=1e-4)


class TestPredict:
    def test_row_does_not_depend_on_its_batch(self, rng):
        model = fastbp.mlp([50, 70, 30, 6], "gelu", rng=0)
        x = rng.standard_normal((257, 50)).astype(np.float32)
        whole = model.predict(x)
        assert_array_equal(whole, model.forward(x))
        for batch in (1, 2, 7, 64, 200):
            assert_array_equal(model.predict(x, batch_size=batch), whole)
        assert_array_equal(model.predict(x[100:101]), whole[100:101])

    def test_threads_may_share_a_model_under_every_threading_layer(self):
        code = (
            "import threading, numpy as np, fastbp\n"
            "model = fastbp.mlp([64, 512, 512, 10], rng=0)\n"
            "x = np.random.default_rng(0).standard_normal((2000, 64)).astype('f')\n"
            "expected, wrong = model.predict(x), []\n"
            "def work():\n"
            "    wrong.extend(not np.array_equal(model.predict(x), expected) for _ in range(10))\n"
            "threads = [threading.Thread(target=work) for _ in range(6)]\n"
            "[t.start() for t in threads]; [t.join() for t in threads]\n"
            "print(len(wrong), any(wrong))\n"
        )
        for layer in ("omp", "workqueue"):
            environment = os.environ | {"NUMBA_THREADING_LAYER": layer}
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            assert done.stdout.split() == ["60", "False"]

    def test_threads_may_share_a_model(self, rng):
        model = fastbp.mlp([50, 70, 6], rng=0)
        x = rng.standard_normal((300, 50)).astype(np.float32)
        expected, wrong = model.predict(x), []

        def work(rows):
            for _ in range(20):
                if not np.array_equal(model.predict(x[:rows]), expected[:rows]):
                    wrong.append(rows)

        threads = [threading.Thread(target=work, args=(rows,)) for rows in (1, 10, 100, 300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_refuses_a_batch_size_of_zero(self):
        with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
            fastbp.mlp([2, 2]).predict([[1, 2]], batch_size=0)


class TestConstruction:
    @pytest.mark.parametrize(
        ("arguments", "options", "error", "message"),
        [
            ((0, 3), {}, ValueError, "in_features of at least 1, got 0"),
            ((3, -1), {}, ValueError, "out_features of at least 1, got -1"),
            ((3.0, 3), {}, TypeError, "in_features to be an int, got 3.0"),
            ((3, 3, "swish"), {}, ValueError, "activation to be one of identity, relu.*; got 'swish'"),
            ((3, 3), {"dtype": "float16"}, TypeError, "dtype float32 or float64, got 'float16'"),
            ((3, 3), {"dtype": "text"}, TypeError, "dtype float32 or float64, got 'text'"),
            ((3, 3), {"init": "best"}, ValueError, "init to be one of"),
            ((3, 3), {"init": lambda rng, shape: np.zeros(3)}, ValueError, r"weights of shape \(3, 3\), got \(3,\)"),
            ((3, 3), {"init": lambda rng, shape: np.full(shape, np.nan)}, ValueError, "weights to be finite"),
            ((3, 3), {"dtype": None}, TypeError, "dtype float32 or float64, got None"),
            ((2**60, 3), {}, ValueError, "in_features of at most"),
            ((3, 3), {"rng": -1}, TypeError, "rng to be a non-negative int or"),
            ((3, 3), {"rng": "seed"}, TypeError, "rng to be a non-negative int or"),
        ],
    )
    def test_dense_refuses(self, arguments, options, error, message):
        with pytest.raises(error, match=message):
            fastbp.Dense(*arguments, **options)

    def test_sequential_refuses(self):
        used = fastbp.Dense(2, 2)
        fastbp.Sequential(used)
        twice = fastbp.Dense(2, 2)
        for layers, error, message in [
            ((), ValueError, "at least one layer"),
            ((fastbp.Dense(2, 3), fastbp.Dense(4, 2)), ValueError, "in_features 3 at position 1.*got 4"),
            ((fastbp.Dense(2, 3), fastbp.Dense(3, 2, dtype="float64")), TypeError, "dtype float32 at position 1"),
            ((fastbp.Dense(2, 3), "relu"), TypeError, "got str at position 1"),
            ((used,), ValueError, "belong to no model"),
            ((twice, twice), ValueError, "belong to no model"),
        ]:
            with pytest.raises(error, match=message):
                fastbp.Sequential(*layers)

    @pytest.mark.parametrize("sizes", [[3], 3, "34", [], {3, 4}])
    def test_mlp_refuses_too_few_sizes(self, sizes):
        with pytest.raises(ValueError, match="at least two sizes"):
            fastbp.mlp(sizes)

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_copies_are_whole_and_apart(self, rng, duplicate):
        model = fastbp.mlp([4, 6, 3], "tanh", rng=0)
        model.metadata["classes"] = ["a", "b", "c"]
        twin = duplicate(model)
        x = rng.standard_normal((5, 4)).astype(np.float32)
        before = model.predict(x)
        assert_array_equal(twin.predict(x), before)
        assert twin.metadata == model.metadata
        twin[0].weight[...] = 0
        assert_array_equal(model.predict(x), before)
        assert np.shares_memory(twin[0].weight, twin._params)


class TestAssignment:
    """What is assigned to parameters and gradients is copied to where they are."""

    @settings(max_examples=60)
    @given(
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.sampled_from(["weight", "bias", "weight_grad", "bias_grad"]),
        st.sampled_from(["-=", "*=", "new", "list", "reversed", "float64", "read-only"]),
        st.sampled_from(["float32", "float64"]),
        st.booleans(),
        st.integers(0, 2**32),
    )
    def test_means_what_it_says(self, shape, name, way, dtype, in_a_model, seed):
        rng = np.random.default_rng(seed)
        layer = fastbp.Dense(*shape, "tanh", dtype=dtype, rng=seed)
        model = fastbp.Sequential(layer) if in_a_model else None
        layer.backward(layer.forward(rng.standard_normal((3, shape[0]))))
        view, before = getattr(layer, name), getattr(layer, name).copy()
        other = rng.standard_normal(view.shape).astype(dtype)
        if way == "-=":
            exec(f"layer.{name} -= 0.1 * other")
            expected = before - 0.1 * other
        elif way == "*=":
            exec(f"layer.{name} *= other")
            expected = before * other
        elif way == "reversed":  # of its own memory
            setattr(layer, name, getattr(layer, name)[::-1])
            expected = before[::-1]
        else:
            value = {
                "new": other,
                "list": other.tolist(),
                "float64": other.astype(np.float64),
                "read-only": np.lib.stride_tricks.as_strided(other, writeable=False),
            }[way]
            setattr(layer, name, value)
            expected = other
        assert_array_equal(view, expected)
        assert np.shares_memory(view, getattr(layer, name))
        if in_a_model and not name.endswith("grad"):
            assert_array_equal(model.parameters()[f"0.{name}"], expected)
            x = rng.standard_normal((2, shape[0])).astype(dtype)
            assert_array_equal(model.predict(x), layer.forward(x))

    def test_is_the_update_by_hand(self, rng):
        x, y = rng.standard_normal((6, 5)).astype(np.float32), rng.integers(0, 3, 6)
        one, other = (fastbp.mlp([5, 4, 3], "tanh", rng=0) for _ in range(2))
        for model in (one, other):
            _, d = fastbp.softmax_cross_entropy(model(x), y)
            model.backward(d)
        for layer in one:
            layer.weight -= 0.1 * layer.weight_grad
            layer.bias -= 0.1 * layer.bias_grad
        for layer in other:
            layer.weight[...] -= 0.1 * layer.weight_grad
            layer.bias[...] -= 0.1 * layer.bias_grad
        assert_array_equal(one._params, other._params)

    @pytest.mark.parametrize(
        ("name", "value", "error", "message"),
        [
            ("weight", np.zeros((4, 3)), ValueError, r"Dense expects weight of shape \(3, 4\), got \(4, 3\)"),
            ("weight", 0.0, ValueError, r"weight of shape \(3, 4\), got \(\)"),
            ("weight", np.zeros((1, 4)), ValueError, r"got \(1, 4\)"),
            ("weight", np.full((3, 4), np.nan), ValueError, "weight without NaN, got 12"),
            ("weight", np.zeros((3, 4), complex), TypeError, "weight of real numbers"),
            ("weight", np.ma.masked_array(np.zeros((3, 4))), TypeError, "without a mask"),
            ("weight", None, TypeError, "weight of real numbers"),
            ("bias", np.zeros(4), ValueError, r"bias of shape \(3,\), got \(4,\)"),
            ("bias", [0.0, np.nan, 0.0], ValueError, "bias without NaN"),
            ("weight_grad", np.zeros(3), ValueError, "weight_grad of shape"),
            ("bias_grad", "zero", TypeError, "bias_grad of real numbers"),
        ],
    )
    def test_of_what_does_not_fit_changes_nothing(self, name, value, error, message):
        layer = fastbp.Dense(4, 3, rng=0)
        before = layer._params.copy(), layer._grads.copy()
        with pytest.raises(error, match=message):
            setattr(layer, name, value)
        assert_array_equal(np.concatenate(before), np.concatenate([layer._params, layer._grads]))

    @pytest.mark.parametrize("name", ["bias", "bias_grad"])
    def test_to_a_bias_that_is_not_there_is_refused(self, name):
        layer = fastbp.Dense(4, 3, bias=False)
        with pytest.raises(ValueError, match=f"Dense expects no {name} to be set: it was made with bias=False"):
            setattr(layer, name, np.zeros(3))
