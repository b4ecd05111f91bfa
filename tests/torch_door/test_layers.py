"""Layers and chains of them: PyTorch's, in values, gradients, state and replacement."""

import copy
import doctest
import io
import pickle
import threading
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.kernels.activations import ACTIVATIONS

NAMES = sorted(set(ACTIVATIONS) - {"identity"})


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences(torch, door, numbers, name):
    torch.manual_seed(0)
    layer = door.Linear(4, 3, dtype=torch.float64, activation=name)
    model = door.MLP([4, 6, 3], name, output_activation=name, dtype=torch.float64)
    x = numbers(5, 4, grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w, b: torch.func.functional_call(layer, {"weight": w, "bias": b}, (x,)),
        (x, layer.weight, layer.bias),
    )
    assert torch.autograd.gradcheck(lambda x, f: torch.func.functional_call(model, {"flat": f}, (x,)), (x, model.flat))


def test_gradients_of_gradients_are_those_of_differences(torch, door, numbers):
    torch.manual_seed(0)
    model = door.MLP([4, 6, 3], "tanh", dtype=torch.float64)
    x = numbers(5, 4, grad=True)
    assert torch.autograd.gradgradcheck(
        lambda x, f: torch.func.functional_call(model, {"flat": f}, (x,)), (x, model.flat)
    )
    labels = torch.tensor([0, 2, 1, -100, 3])
    assert torch.autograd.gradgradcheck(lambda z: door.CrossEntropyLoss(label_smoothing=0.1)(z, labels), (x,))


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.integers(1, 70),
    st.sampled_from(NAMES),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_chains_are_torch_chains(torch, door, modules, same, fused, gradients, sizes, batch, name, bias, seed):
    torch.manual_seed(seed)
    layers = []
    for ins, outs in pairwise(sizes):
        layers += [torch.nn.Linear(ins, outs, bias, dtype=torch.float64), modules[name]()]
    model = torch.nn.Sequential(*layers[:-1])
    x = torch.randn(batch, sizes[0], dtype=torch.float64)
    dout = torch.randn(batch, sizes[-1], dtype=torch.float64)
    expected = gradients(model, x, dout)
    same(gradients(fused(model), x, dout), expected, 1e-8)
    mlp = door.MLP(sizes, name, bias=bias, dtype=torch.float64)
    mlp.load_state_dict(model.state_dict())
    out, dx, flat = gradients(mlp, x, dout)
    same([out, dx, flat], [*expected[:2], torch.cat([g.flatten() for g in expected[2:]])], 1e-8)


def test_large_batches_of_float32_are_right(torch, plain, numbers, fused, gradients):
    model = plain((6, 20, 4), dtype=torch.float32)
    x, dout = numbers(3000, 6), numbers(3000, 4)
    expected = gradients(copy.deepcopy(model).double(), x, dout)
    found = gradients(fused(model), x.float(), dout.float())
    for a, b in zip(found, expected, strict=True):  # sums of 3000 products
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)


def test_linear_is_torch_linear_on_its_own_samples(torch, door, same):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_modules import module_db
    ran = 0
    for info in module_db:
        if info.module_cls is not torch.nn.Linear:
            continue
        for dtype in (torch.float32, torch.float64):
            for sample in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True):
                made, given_ = sample.constructor_input, sample.forward_input
                torch.manual_seed(1)
                ours = door.Linear(*made.args, dtype=dtype, **made.kwargs)
                torch.manual_seed(1)
                theirs = torch.nn.Linear(*made.args, dtype=dtype, **made.kwargs)
                same(list(ours.parameters()), list(theirs.parameters()), 0)
                out, expected = (layer(*given_.args, **given_.kwargs) for layer in (ours, theirs))
                (given_x,) = (*given_.args, *given_.kwargs.values())
                same([out], [expected], 1e-5)
                x = [t for t in (given_x, *ours.parameters()) if t.requires_grad]
                y = [t for t in (given_x, *theirs.parameters()) if t.requires_grad]
                dout = torch.randn_like(out)
                same(torch.autograd.grad(out, x, dout), torch.autograd.grad(expected, y, dout), 1e-5)
                ran += 1
    assert ran == 6


def test_a_sequence_keeps_its_state_dict(torch, plain, numbers, same, fused):
    model, x = plain(dtype=torch.float32), numbers(4, 5, dtype=torch.float32)
    other = fused(plain(dtype=torch.float32))
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    assert list(other.state_dict()) == list(model.state_dict())
    other.load_state_dict(model.state_dict())
    same([other(x)], [model(x)], 1e-5)


@pytest.mark.parametrize("fused_optimizer", [False, True])
def test_training_is_that_of_torch(torch, door, plain, numbers, fused, fused_optimizer):
    model = plain()
    mlp = door.MLP([5, 8, 7, 3], dtype=torch.float64)
    mlp.load_state_dict(model.state_dict())
    x, labels = numbers(20, 5), torch.arange(20) % 3
    losses = []
    for network, loss in ((model, torch.nn.CrossEntropyLoss()), (fused(model), door.CrossEntropyLoss()),
                          (mlp, door.CrossEntropyLoss())):  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=fused_optimizer)
        losses.append([])
        for _ in range(30):
            optimizer.zero_grad()
            value = loss(network(x), labels)
            value.backward()
            optimizer.step()
            losses[-1].append(value.item())
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-8)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-8)


def test_replace_keeps_objects_and_says_what_it_left(torch, door, plain):
    body, tail = plain(), torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(3, 2))
    model = torch.nn.ModuleDict({"body": body, "tail": tail, "head": torch.nn.Linear(2, 2)})
    parameters = list(model.parameters())
    report = door.replace_(model)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model["body"] is body
    assert isinstance(body, door.Sequential)
    assert report.replaced == ["body"]
    assert set(report.left) == {"tail", "head"}
    assert "left alone  head" in str(report)
    with pytest.raises(TypeError, match="Module"):
        door.replace_([body])


def test_modules_between_chains_run_as_always(torch, numbers, same, fused, gradients):
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.LayerNorm(5), nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.LeakyReLU(0.3), nn.Dropout(0.5),
        nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Softmax(1),
    ).double()  # fmt: skip
    replaced = fused(model)
    for mode in (True, False):
        model.train(mode), replaced.train(mode)
        results = []
        for network in (model, replaced):
            torch.manual_seed(3)
            results.append(gradients(network, numbers(9, 5), numbers(9, 6)))
        same(*results)


def test_a_frozen_layer_gets_no_gradient_and_the_others_theirs(plain, numbers, same, fused):
    x, dout = numbers(6, 5), numbers(6, 3)
    for frozen in (["0"], ["2"], ["0", "2"], ["4"], ["0.weight"], ["2.bias"]):
        model = plain()
        for name, p in model.named_parameters():
            p.requires_grad_(not any(name.startswith(f) for f in frozen))
        results = []
        for network in (model, fused(model)):
            network(x).backward(dout)
            results.append([p.grad for p in network.parameters()])
        assert [g is None for g in results[0]] == [g is None for g in results[1]]
        same(*([g for g in r if g is not None] for r in results))


def test_hooks_on_layers_see_what_they_see_in_torch(plain, numbers, same, fused):
    model = plain()
    seen = []
    for network in (model, fused(model)):
        outputs = []
        for child in network:
            child.register_forward_hook(lambda module, args, out, outputs=outputs: outputs.append(out.detach()))
        network(numbers(6, 5))
        seen.append(outputs)
    assert len(seen[0]) == 5
    same(*seen)


def test_a_child_with_a_hook_is_called_and_the_others_stay_fused(
    torch, plain, numbers, same, fused, gradients, monkeypatch
):
    import fastbp.torch.layers as layers

    model = plain((5, 8, 7, 6, 3))  # the children 0, 2, 4 and 6 are Linear
    x, dout = numbers(6, 5), numbers(6, 3)
    expected = gradients(model, x, dout)
    network = fused(model)
    chains, run = [], layers.run_eagerly
    monkeypatch.setattr(layers, "run_eagerly", lambda codes, *args: (chains.append(len(codes)), run(codes, *args))[1])
    same(gradients(network, x, dout), expected)
    kinds = "forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"
    for kind in kinds:
        calls = []
        handle = getattr(network[2], f"register_{kind}")(lambda *_, calls=calls: calls.append(1))
        same(gradients(network, x, dout), expected)
        handle.remove()
        assert calls == [1], kind
    called = []
    network[2].forward = lambda z: (called.append(1), type(network[2]).forward(network[2], z))[1]
    same(gradients(network, x, dout), expected)
    del network[2].forward
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: called.append(module))
    same(gradients(network, x, dout), expected)
    handle.remove()
    assert called == [1, *network, network]
    assert chains == [4] + 5 * [1, 2]  # around child 2 is none with 0, and one with 4 and 6


def test_children_that_change_between_calls_are_seen(torch, numbers, same, fused, gradients):
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 8), nn.LeakyReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3), nn.Softplus()
    ).double()  # fmt: skip
    network = fused(model)
    x, dout = numbers(6, 5), numbers(6, 3)

    def swap(m):
        m[3] = nn.Tanh()

    def option(m):
        m[1].negative_slope = 0.5

    def approximate(m):
        m[3].approximate = "tanh"

    def without_bias(m):
        m[2].bias = None

    def wider(m):
        for p, shape in ((m[2].weight, (9, 8)), (m[2].bias, (9,)), (m[4].weight, (3, 9))):
            p.data = torch.linspace(-1, 1, np.prod(shape), dtype=torch.float64).reshape(shape)

    def parametrized(m):
        nn.utils.parametrize.register_parametrization(m[0], "weight", nn.Tanh())

    def plain_tensor(m):
        weight = m[4].weight.detach() * 2
        del m[4].weight
        m[4].weight = weight

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    def another_class(m):
        m[2].__class__ = Doubled

    def turned(m):
        m[2].weight.data = m[2].weight.data.T.contiguous().T

    def shorter(m):
        del m[5]

    for change in (swap, option, wider, turned, without_bias, parametrized, plain_tensor, another_class, shorter):
        same(gradients(network, x, dout), gradients(model, x, dout))
        change(model), change(network)
    model[3] = network[3] = nn.GELU()
    same(gradients(network, x, dout), gradients(model, x, dout))
    approximate(model)
    same(gradients(network, x, dout), gradients(model, x, dout))


def test_a_pickle_has_no_tables_of_kernels(torch, door):
    model = door.MLP([5, 8, 3])
    assert copy.deepcopy(model)._chain is model._chain
    assert pickle.loads(pickle.dumps(model))._chain is model._chain
    assert b"numpy" not in pickle.dumps(model)


def test_copies_and_pickles_compute_the_same(torch, door, plain, numbers, fused):
    x = numbers(6, 5)
    layer = door.Linear(5, 3, dtype=torch.float64, activation="gelu")
    for model in (layer, door.MLP([5, 4, 3], dtype=torch.float64), fused(plain())):
        expected = model(x)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for other in (
            copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)
        ):  # fmt: skip
            assert torch.equal(other(x), expected)
            assert type(other) is type(model)
    loss, labels = door.CrossEntropyLoss(), torch.zeros(600, dtype=torch.long)
    z = torch.zeros(600, 1000, requires_grad=True)
    loss(z, labels).backward()
    assert len(pickle.dumps(copy.deepcopy(loss))) < 10_000


@pytest.mark.parametrize("rows", [1, 40, 3000])
def test_outputs_are_the_same_whether_a_gradient_is_to_follow_or_not(torch, door, numbers, rows):
    # Nothing is kept without one: small calls work in memory of the thread, large ones in their own.
    model = door.MLP([9, 33, 70, 5], "tanh").to(numbers(1).dtype)
    for x in (numbers(rows, 9), numbers(2, rows, 9), numbers(9)):
        kept = model(x)
        with torch.no_grad():
            first, again = model(x), model(x)
        assert kept.shape == first.shape == (*x.shape[:-1], 5)
        assert torch.equal(kept.detach(), first)
        assert torch.equal(first, again)


def test_threads_may_share_a_module(torch, door, numbers):
    model, x = door.MLP([5, 30, 3], dtype=torch.float64), numbers(50, 5)
    expected = torch.autograd.grad(model(x).sum(), model.flat)[0]
    output = model(x).detach()
    found, outputs = [], []

    def work():
        found.extend(torch.autograd.grad(model(x).sum(), model.flat)[0] for _ in range(30))
        with torch.no_grad():
            outputs.extend(model(x) for _ in range(30))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 120
    assert all(torch.equal(f, expected) for f in found)
    assert len(outputs) == 120
    assert all(torch.equal(f, output) for f in outputs)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda d, t: d.MLP([5]), ValueError, "at least two sizes"),
        (lambda d, t: d.MLP([5, 3], "swish"), ValueError, "MLP expects activation"),
        (lambda d, t: d.Linear(5, 3, activation="swish"), ValueError, "Linear expects activation"),
        (lambda d, t: d.Linear(5, 3)(t.zeros(2, 4)), RuntimeError, r"\(\.\.\., 5\), got \(2, 4\)"),
        (lambda d, t: d.MLP([5, 3])(t.zeros(2, 4)), RuntimeError, r"\(\.\.\., 5\), got \(2, 4\)"),
        (
            lambda d, t: d.Sequential(t.nn.Linear(5, 4), t.nn.Linear(3, 2))(t.zeros(2, 5)),
            RuntimeError,
            "in_features 4.*got 3",
        ),
    ],
)
def test_errors_name_what_was_expected(torch, door, make, error, message):
    with pytest.raises(error, match=message):
        make(door, torch)


def test_examples_in_docstrings_run(torch, door):
    import fastbp.torch.layers
    import fastbp.torch.loss
    import fastbp.torch.mlp
    import fastbp.torch.replace

    for module in (door, fastbp.torch.layers, fastbp.torch.loss, fastbp.torch.mlp, fastbp.torch.replace):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
