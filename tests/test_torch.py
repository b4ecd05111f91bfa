"""fastbp.torch: PyTorch's layers, by PyTorch's own checks and beside PyTorch."""

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

from fastbp.kernels.activations import CODES

NAMES = sorted(set(CODES) - {"identity"})


@pytest.fixture(scope="module")
def door(torch):
    import fastbp.torch

    return fastbp.torch


@pytest.fixture(scope="module", autouse=True)
def fewest(torch, door):
    """Let kernels compute small layers too, and return what they leave to PyTorch elsewhere."""
    from fastbp.torch import chains

    with pytest.MonkeyPatch.context() as patch:
        fewest = chains.FEWEST
        patch.setattr(chains, "FEWEST", {})
        yield fewest


@pytest.fixture(scope="module")
def modules(torch):
    """Make the activations of PyTorch by fastbp's names."""
    nn = torch.nn
    return {
        "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
        "softplus": nn.Softplus, "silu": nn.SiLU, "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU("tanh"),
    }  # fmt: skip


@pytest.fixture
def plain(torch):
    """Make a ``torch.nn.Sequential`` of seeded parameters."""

    def make(sizes=(5, 8, 7, 3), activation=torch.nn.ReLU, dtype=torch.float64):
        torch.manual_seed(0)
        layers = []
        for ins, outs in pairwise(sizes):
            layers += [torch.nn.Linear(ins, outs, dtype=dtype), activation()]
        return torch.nn.Sequential(*layers[:-1])

    return make


@pytest.fixture
def numbers(torch):
    """Draw a seeded tensor."""

    def draw(*shape, dtype=torch.float64, grad=False):
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_(grad)

    return draw


@pytest.fixture
def networks(torch, door):
    """Make one of each kind of module, from 5 features to 3."""

    def make():
        torch.manual_seed(0)
        nn = torch.nn
        parts = nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 7), nn.LayerNorm(7), nn.Linear(7, 3), nn.GELU()
        return {
            "Linear": door.Linear(5, 3, activation="tanh"),
            "MLP": door.MLP([5, 8, 3], "tanh"),
            "Sequential": door.Sequential(*parts),
        }

    return make


KINDS = ["Linear", "MLP", "Sequential"]


def fused(door, model):
    model = copy.deepcopy(model)
    door.replace_(model)
    return model


def gradients(model, x, dout):
    """Return the output, the gradient by x, and those of the parameters."""
    x = x.detach().clone().requires_grad_()
    model.zero_grad()
    out = model(x)
    out.backward(dout)
    return [out.detach(), x.grad, *(p.grad for p in model.parameters())]


def same(torch, found, expected, rtol=1e-12):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


# Values and gradients


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
def test_chains_are_torch_chains(torch, door, modules, sizes, batch, name, bias, seed):
    torch.manual_seed(seed)
    layers = []
    for ins, outs in pairwise(sizes):
        layers += [torch.nn.Linear(ins, outs, bias, dtype=torch.float64), modules[name]()]
    model = torch.nn.Sequential(*layers[:-1])
    x = torch.randn(batch, sizes[0], dtype=torch.float64)
    dout = torch.randn(batch, sizes[-1], dtype=torch.float64)
    expected = gradients(model, x, dout)
    same(torch, gradients(fused(door, model), x, dout), expected, 1e-8)
    mlp = door.MLP(sizes, name, bias=bias, dtype=torch.float64)
    mlp.load_state_dict(model.state_dict())
    out, dx, flat = gradients(mlp, x, dout)
    same(torch, [out, dx, flat], [*expected[:2], torch.cat([g.flatten() for g in expected[2:]])], 1e-8)


def test_large_batches_of_float32_are_right(torch, door, plain, numbers):
    model = plain((6, 20, 4), dtype=torch.float32)
    x, dout = numbers(3000, 6), numbers(3000, 4)
    expected = gradients(copy.deepcopy(model).double(), x, dout)
    found = gradients(fused(door, model), x.float(), dout.float())
    for a, b in zip(found, expected, strict=True):  # sums of 3000 products
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)


def test_linear_is_torch_linear_on_its_own_samples(torch, door):
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
                same(torch, list(ours.parameters()), list(theirs.parameters()), 0)
                out, expected = (layer(*given_.args, **given_.kwargs) for layer in (ours, theirs))
                (given_x,) = (*given_.args, *given_.kwargs.values())
                same(torch, [out], [expected], 1e-5)
                x = [t for t in (given_x, *ours.parameters()) if t.requires_grad]
                y = [t for t in (given_x, *theirs.parameters()) if t.requires_grad]
                dout = torch.randn_like(out)
                same(torch, torch.autograd.grad(out, x, dout), torch.autograd.grad(expected, y, dout), 1e-5)
                ran += 1
    assert ran == 6


def test_cross_entropy_is_torch_cross_entropy_on_its_own_samples(torch, door):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_modules import module_db
    ran = 0
    (info,) = [info for info in module_db if info.module_cls is torch.nn.CrossEntropyLoss]
    for dtype in (torch.float32, torch.float64):
        for sample in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True):
            made, given_ = sample.constructor_input, sample.forward_input
            z, target = given_.args
            ours, theirs = (c(*made.args, **made.kwargs) for c in (door.CrossEntropyLoss, torch.nn.CrossEntropyLoss))
            found, expected = ours(z, target), theirs(z, target)
            same(torch, [found], [expected], 1e-5)
            same(torch, *([torch.autograd.grad(v.sum(), z)[0]] for v in (found, expected)), 1e-5)
            with torch.no_grad():
                same(torch, [ours(z, target)], [expected.detach()], 1e-5)
            ran += 1
    assert ran > 20, ran


@settings(max_examples=80)
@given(
    st.integers(1, 30),
    st.integers(1, 40),
    st.sampled_from([(), (3,), (2, 3)]),
    st.sampled_from(["mean", "sum", "none"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_cross_entropy_of_random_options(torch, door, batch, classes, more, reduction, weighted, soft, smoothing, seed):
    torch.manual_seed(seed)
    z = (3 * torch.randn(batch, classes, *more, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(-1, classes, (batch, *more))
    target = torch.randn(batch, classes, *more, dtype=torch.float64).softmax(1) if soft else labels
    options = {
        "weight": torch.rand(classes, dtype=torch.float64) + 0.1 if weighted else None,
        "reduction": reduction, "label_smoothing": smoothing, "ignore_index": -1,
    }  # fmt: skip
    if not soft and (labels < 0).all():
        return  # 0 / 0; see the docstring
    ours, theirs = door.CrossEntropyLoss(**options), torch.nn.CrossEntropyLoss(**options)
    found, expected = ours(z, target), theirs(z, target)
    same(torch, [found], [expected])
    dvalue = torch.randn_like(expected)
    same(torch, *(torch.autograd.grad(v, z, dvalue) for v in (found, expected)))
    with torch.no_grad():
        same(torch, [ours(z, target)], [expected.detach()])


def test_a_single_sample_has_a_loss_of_no_dimension(torch, door, numbers):
    z = numbers(4)
    for target in (torch.tensor(2), numbers(4).softmax(0)):
        for reduction in ("mean", "none"):
            found = door.CrossEntropyLoss(reduction=reduction)(z, target)
            same(torch, [found], [torch.nn.CrossEntropyLoss(reduction=reduction)(z, target)])
            assert found.shape == ()


def test_a_wrong_label_is_an_index_error(torch, door):
    with pytest.raises(IndexError, match=r"targets in 0\.\.3 .* got 4 in row 1"):
        door.CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([0, 4]))


def test_the_gradient_of_a_large_loss_is_no_other_steps(torch, door):
    """The room of a large gradient is used again, but not while somebody holds it."""
    torch.manual_seed(0)
    loss = door.CrossEntropyLoss()
    z = torch.randn(512, 1024, requires_grad=True)
    labels = torch.randint(1024, (2, 512))
    (first,) = torch.autograd.grad(loss(z, labels[0]), z)
    kept, address = first.clone(), first.data_ptr()
    (second,) = torch.autograd.grad(loss(z, labels[1]), z)
    assert torch.equal(first, kept)
    assert second.data_ptr() != address
    third = loss(z, labels[0])
    (again,) = torch.autograd.grad(third, z, retain_graph=True)
    (twice,) = torch.autograd.grad(2 * third, z)
    assert torch.equal(again, kept)
    torch.testing.assert_close(twice, 2 * kept)
    address = twice.data_ptr()
    del first, second, third, again, twice
    assert torch.equal(torch.autograd.grad(loss(z, labels[0]), z)[0], kept)


# Drop-in


def test_state_dicts_go_both_ways(torch, door, plain, numbers):
    model = plain(dtype=torch.float32)
    torch.manual_seed(0)
    mlp = door.MLP([5, 8, 7, 3])
    assert list(mlp.state_dict()) == list(model.state_dict())
    same(torch, list(mlp.state_dict().values()), list(model.state_dict().values()), 0)  # the same seed
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    mlp.load_state_dict(model.state_dict())
    back = plain(dtype=torch.float32)
    back.load_state_dict(mlp.state_dict())
    same(torch, list(back.parameters()), list(model.parameters()), 0)
    inside = torch.nn.ModuleDict({"body": door.MLP([5, 8, 7, 3])})
    inside.load_state_dict({f"body.{name}": value for name, value in model.state_dict().items()})
    x = numbers(4, 5, dtype=torch.float32)
    assert torch.equal(inside["body"](x), mlp(x))
    assert not inside["body"].load_state_dict(model.state_dict(), assign=True).missing_keys
    fused_ = fused(door, plain(dtype=torch.float32))
    fused_.load_state_dict(model.state_dict())
    same(torch, [fused_(x), mlp(x)], [model(x)] * 2, 1e-5)


def test_a_state_dict_that_does_not_fit_is_named(torch, door):
    mlp = door.MLP([5, 8, 3])
    state = mlp.state_dict()
    before = mlp.flat.detach().clone()
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight"):
        mlp.load_state_dict({**state, "0.weight": torch.zeros(8, 4)})
    with pytest.raises(RuntimeError, match=r"Unexpected.*3\.weight"):
        mlp.load_state_dict({**state, "3.weight": torch.zeros(8, 4)})
    del state["2.bias"]
    with pytest.raises(RuntimeError, match=r"Missing.*2\.bias"):
        mlp.load_state_dict(state)
    mlp.load_state_dict(state, strict=False)
    assert torch.equal(mlp.flat, before)


@pytest.mark.parametrize("fused_optimizer", [False, True])
def test_training_is_that_of_torch(torch, door, plain, numbers, fused_optimizer):
    model = plain()
    mlp = door.MLP([5, 8, 7, 3], dtype=torch.float64)
    mlp.load_state_dict(model.state_dict())
    x, labels = numbers(20, 5), torch.arange(20) % 3
    losses = []
    for network, loss in ((model, torch.nn.CrossEntropyLoss()), (fused(door, model), door.CrossEntropyLoss()),
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


def test_modules_between_chains_run_as_always(torch, door, numbers):
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.LayerNorm(5), nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.LeakyReLU(0.3), nn.Dropout(0.5),
        nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Softmax(1),
    ).double()  # fmt: skip
    replaced = fused(door, model)
    for mode in (True, False):
        model.train(mode), replaced.train(mode)
        results = []
        for network in (model, replaced):
            torch.manual_seed(3)
            results.append(gradients(network, numbers(9, 5), numbers(9, 6)))
        same(torch, *results)


def test_a_frozen_layer_gets_no_gradient_and_the_others_theirs(torch, door, plain, numbers):
    x, dout = numbers(6, 5), numbers(6, 3)
    for frozen in (["0"], ["2"], ["0", "2"], ["4"], ["0.weight"], ["2.bias"]):
        model = plain()
        for name, p in model.named_parameters():
            p.requires_grad_(not any(name.startswith(f) for f in frozen))
        results = []
        for network in (model, fused(door, model)):
            network(x).backward(dout)
            results.append([p.grad for p in network.parameters()])
        assert [g is None for g in results[0]] == [g is None for g in results[1]]
        same(torch, *([g for g in r if g is not None] for r in results))


def test_hooks_on_layers_see_what_they_see_in_torch(torch, door, plain, numbers):
    model = plain()
    seen = []
    for network in (model, fused(door, model)):
        outputs = []
        for child in network:
            child.register_forward_hook(lambda module, args, out, outputs=outputs: outputs.append(out.detach()))
        network(numbers(6, 5))
        seen.append(outputs)
    assert len(seen[0]) == 5
    same(torch, *seen)


def test_a_child_with_a_hook_is_called_and_the_others_stay_fused(torch, door, plain, numbers, monkeypatch):
    import fastbp.torch.layers as layers

    model = plain((5, 8, 7, 6, 3))  # the children 0, 2, 4 and 6 are Linear
    x, dout = numbers(6, 5), numbers(6, 3)
    expected = gradients(model, x, dout)
    network = fused(door, model)
    chains, run = [], layers.run
    monkeypatch.setattr(layers, "run", lambda codes, *args: (chains.append(len(codes)), run(codes, *args))[1])
    same(torch, gradients(network, x, dout), expected)
    kinds = "forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"
    for kind in kinds:
        calls = []
        handle = getattr(network[2], f"register_{kind}")(lambda *_, calls=calls: calls.append(1))
        same(torch, gradients(network, x, dout), expected)
        handle.remove()
        assert calls == [1], kind
    called = []
    network[2].forward = lambda z: (called.append(1), type(network[2]).forward(network[2], z))[1]
    same(torch, gradients(network, x, dout), expected)
    del network[2].forward
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: called.append(module))
    same(torch, gradients(network, x, dout), expected)
    handle.remove()
    assert called == [1, *network, network]
    assert chains == [4] + 5 * [1, 2]  # around child 2 is none with 0, and one with 4 and 6


def test_children_that_change_between_calls_are_seen(torch, door, numbers):
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 8), nn.LeakyReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3), nn.Softplus()
    ).double()  # fmt: skip
    network = fused(door, model)
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
        same(torch, gradients(network, x, dout), gradients(model, x, dout))
        change(model), change(network)
    model[3] = network[3] = nn.GELU()
    same(torch, gradients(network, x, dout), gradients(model, x, dout))
    approximate(model)
    same(torch, gradients(network, x, dout), gradients(model, x, dout))


def test_hooks_on_tensors_and_modules_are_called(torch, door, numbers):
    model = door.MLP([5, 4, 3], dtype=torch.float64)
    calls = []
    model.register_forward_hook(lambda *_: calls.append("module"))
    model.flat.register_hook(lambda gradient: calls.append("gradient"))
    model.flat.register_post_accumulate_grad_hook(lambda p: calls.append("accumulated"))
    model(numbers(6, 5)).sum().backward()
    assert calls == ["module", "gradient", "accumulated"]


def test_where_no_gradient_is_wanted_none_is_kept(torch, door, numbers):
    model, x = door.MLP([5, 4, 3], dtype=torch.float64), numbers(6, 5)
    expected = model(x).detach()
    with torch.no_grad():
        assert torch.equal(model(x), expected)
    with torch.inference_mode():
        assert torch.equal(model(x), expected)
    model.requires_grad_(False)
    assert not model(x).requires_grad
    assert torch.equal(model(x), expected)
    y = x.clone().requires_grad_()
    model(y).sum().backward()
    assert y.grad is not None
    assert model.flat.grad is None


def test_in_place_changes_before_the_backward_pass_are_noticed(torch, door, numbers):
    model, x = door.Linear(5, 3, dtype=torch.float64, activation="relu"), numbers(6, 5)
    out = model(x)
    with torch.no_grad():
        model.weight += 1
    with pytest.raises(RuntimeError, match="inplace operation"):
        out.sum().backward()
    out = model(x)
    out += 1  # relu's gradient is told from its output
    with pytest.raises(RuntimeError, match="inplace operation"):
        out.sum().backward()


def test_what_data_assigns_before_the_backward_pass_is_looked_at(torch, door, plain, numbers):
    """Where PyTorch finds an error, or computes, a kernel would read what is not there."""
    big = 1 << 20

    def smaller_weight(model, x):
        next(model.parameters()).data = torch.ones(1, dtype=torch.float64)

    def other_type(model, x):
        next(model.parameters()).data = next(model.parameters()).data.float()

    def smaller_input(model, x):
        x.data = torch.ones(1, 5, dtype=torch.float64)

    for change in (smaller_weight, other_type, smaller_input):
        for model in (door.MLP([5, 8, 3], dtype=torch.float64), fused(door, plain()), door.Linear(5, 3).double()):
            x = numbers(big // 64, 5, grad=True)
            out = model(x).sum()
            change(model, x)
            with pytest.raises(RuntimeError):
                out.backward()


def test_a_flat_parameter_of_another_size_is_an_error(torch, door, numbers):
    model = door.MLP([5, 8, 3], dtype=torch.float64)
    model.flat.data = torch.ones(1, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        model(numbers(6, 5))


def test_hooks_on_saved_tensors_may_change_them(torch, door, numbers):
    torch.manual_seed(0)
    model = door.MLP([5, 30, 3], "tanh", output_activation="relu")
    x = numbers(40, 5, dtype=torch.float32)
    (expected,) = torch.autograd.grad(model(x).sum(), model.flat)
    with torch.autograd.graph.save_on_cpu():
        out = model(x).sum()
    assert torch.equal(torch.autograd.grad(out, model.flat)[0], expected)
    for unpack in (lambda t: t.half(), lambda t: t if t.ndim < 2 else t.T.contiguous().T):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), unpack):
            out = model(x).sum()
        same(torch, list(torch.autograd.grad(out, model.flat)), [expected], 0.02)
    for cut, needed in enumerate([True, False, False, True]):  # the input, the output, the workspace, the parameter
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, saved=saved: saved.append(t.detach().clone()) or len(saved) - 1,
            lambda i, saved=saved, cut=cut: saved[i][:1].clone() if i == cut else saved[i],
        ):  # fmt: skip
            out = model(x).sum()
        assert len(saved) == 4
        if needed:
            with pytest.raises(RuntimeError):
                out.backward()
        else:
            same(torch, list(torch.autograd.grad(out, model.flat)), [expected], 1e-5)


def test_a_pickle_has_no_tables_of_kernels(torch, door):
    model = door.MLP([5, 8, 3])
    assert copy.deepcopy(model)._chain is model._chain
    assert pickle.loads(pickle.dumps(model))._chain is model._chain
    assert b"numpy" not in pickle.dumps(model)


def test_copies_and_pickles_compute_the_same(torch, door, plain, numbers):
    x = numbers(6, 5)
    layer = door.Linear(5, 3, dtype=torch.float64, activation="gelu")
    for model in (layer, door.MLP([5, 4, 3], dtype=torch.float64), fused(door, plain())):
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


def test_threads_may_share_a_module(torch, door, numbers):
    model, x = door.MLP([5, 30, 3], dtype=torch.float64), numbers(50, 5)
    expected = torch.autograd.grad(model(x).sum(), model.flat)[0]
    found = []

    def work():
        found.extend(torch.autograd.grad(model(x).sum(), model.flat)[0] for _ in range(30))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 120
    assert all(torch.equal(f, expected) for f in found)


def test_where_fastbp_cannot_torch_computes(torch, door, numbers):
    model, x = door.MLP([5, 4, 3], "tanh"), numbers(6, 5, dtype=torch.float32)
    loss, labels = door.CrossEntropyLoss(), torch.zeros(6, dtype=torch.long)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x).dtype is torch.bfloat16
        loss(model(x), labels).backward()
    assert model.flat.grad.dtype is torch.float32
    half = copy.deepcopy(model).bfloat16()
    loss(half(x.bfloat16()), labels).backward()
    assert half.flat.grad.dtype is torch.bfloat16
    assert copy.deepcopy(model).to("meta")(x.to("meta")).device.type == "meta"
    assert model(x[:0]).shape == (0, 3)
    jacobian = torch.func.vmap(torch.func.jacrev(model))(x)
    assert jacobian.shape == (6, 3, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what jvp imports inside is deprecated
        _, tangent = torch.func.jvp(model, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, jacobian.sum(2))
    by_sample = torch.func.vmap(lambda z, y: loss(z, y))(model(x), labels)
    torch.testing.assert_close(by_sample, door.CrossEntropyLoss(reduction="none")(model(x), labels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_modules_are_torch_s(torch, networks, numbers, kind, backend):
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = gradients(model, x, torch.ones(6, 3))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    same(torch, gradients(compiled, x, torch.ones(6, 3)), expected, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["jit.trace", "fx", "make_fx", "export", "strict export"])
def test_traced_modules_see_other_inputs(torch, networks, numbers, kind, how):
    """A kernel's result in a trace would be that of the first input."""
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    trace = {
        "jit.trace": torch.jit.trace,
        "fx": lambda m, x: torch.fx.symbolic_trace(m),
        "make_fx": lambda m, x: torch.fx.experimental.proxy_tensor.make_fx(m)(x),
        "export": lambda m, x: torch.export.export(m, (x,)).module(),
        "strict export": lambda m, x: torch.export.export(m, (x,), strict=True).module(),
    }[how]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        traced = trace(model, torch.zeros_like(x))
    same(torch, [traced(x)], [model(x)], 1e-5)
    if how == "fx":  # the parameters are those of the module, step after step
        for _ in range(2):
            found = torch.autograd.grad(traced(x).sum(), list(traced.parameters()))
            same(torch, list(found), list(torch.autograd.grad(model(x).sum(), list(model.parameters()))), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_other_devices_are_torch_s(torch, networks, numbers, kind):
    """``meta`` stands for any device: it has no memory that a kernel could read."""
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = gradients(model, x, torch.ones(6, 3))
    there = networks()[kind].to("meta")
    out = there(x.to("meta"))
    out.backward(torch.ones(6, 3, device="meta"))
    assert out.shape == (6, 3)
    assert {p.grad.device.type for p in there.parameters()} == {"meta"}
    for module, input in ((there, x), (model, x.to("meta"))):
        with pytest.raises((RuntimeError, NotImplementedError)):
            module(input)
    with pytest.raises(TypeError):
        model(x.tolist())
    with torch.device("meta"):  # where new tensors are made, but not these
        same(torch, gradients(model, x, torch.ones(6, 3, device="cpu")), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kernel_reads_another_device_s_memory(torch, networks, numbers, kind, monkeypatch):
    import fastbp.torch.chains as chains

    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = model(x)
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    monkeypatch.setattr(chains, "chain_forward", None)
    same(torch, [model(x)], [expected], 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_subclasses_of_tensors_are_torch_s(torch, networks, numbers, kind):
    class Own(torch.Tensor):
        pass

    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = model(x)
    own = {name: p.detach().as_subclass(Own) for name, p in model.named_parameters()}
    for found in (model(x.as_subclass(Own)), torch.func.functional_call(model, own, (x,))):
        assert type(found) is Own
        same(torch, [found.as_subclass(torch.Tensor)], [expected], 1e-5)


def test_modes_see_each_operation(torch, door, plain, numbers):
    from torch.utils.flop_counter import FlopCounterMode

    model, x, dout = plain(), numbers(6, 5), numbers(6, 3)
    counts = []
    for network in (model, fused(door, model)):
        with FlopCounterMode(display=False) as counter:
            network(x).backward(dout)
        counts.append(counter.get_total_flops())
        out = network(x)
        with FlopCounterMode(display=False) as counter:
            out.backward(dout)
        counts.append(counter.get_total_flops())
    assert counts[2] == counts[0] > 0
    assert counts[3] >= counts[1] > 0  # computed once more


@pytest.mark.parametrize("kind", KINDS)
def test_batched_gradients_are_those_of_a_loop(torch, networks, numbers, kind):
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32, grad=True)
    out, douts = model(x), numbers(4, 6, 3, dtype=torch.float32)
    inputs = [x, *model.parameters()]
    found = torch.autograd.grad(out, inputs, douts, is_grads_batched=True, retain_graph=True)
    for i, dout in enumerate(douts):
        same(torch, [f[i] for f in found], list(torch.autograd.grad(out, inputs, dout, retain_graph=True)), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_without_memory_of_their_own_are_torch_s(torch, networks, numbers, kind):
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = model(x)
    leaked = []
    torch.func.grad(lambda z: (leaked.append(z), z.sum())[1])(x)
    same(torch, [model(leaked[0])], [expected], 1e-5)
    same(torch, [model(torch._efficientzerotensor((6, 5)))], [model(torch.zeros(6, 5))], 1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not finished, says PyTorch
        sparse = x.to_sparse(), x.to_sparse_csr()
        nested = torch.nested.nested_tensor([x, x[:2]])
    if kind != "Sequential":  # a LayerNorm takes none
        same(torch, [model(s) for s in sparse], [expected] * 2, 1e-5)
    same(torch, list(model(nested).unbind()), [expected, expected[:2]], 1e-5)


@pytest.mark.parametrize("name", [None, "relu", "leaky_relu", "tanh"])
def test_a_small_layer_alone_is_torch_s_and_a_large_one_is_not(torch, door, fewest, numbers, monkeypatch, name):
    from fastbp.torch import chains

    monkeypatch.setattr(chains, "FEWEST", fewest)
    used = []
    kernel = chains.chain_forward
    monkeypatch.setattr(chains, "chain_forward", lambda *arguments: (used.append(len(used)), kernel(*arguments)))
    code = chains.CODES[name or "identity"]
    outs = 40
    most = fewest.get(code, 0) // (20 * outs)
    layer = door.Linear(20, outs, activation=name)
    for rows in (1, most - 1) if most else ():
        x = torch.randn(rows, 20)
        expected = chains.ACTIVATIONS[code](torch.nn.functional.linear(x, layer.weight, layer.bias))
        assert torch.equal(layer(x), expected)
    assert not used
    layer(torch.randn(max(1, most), 20))
    assert used == [0]


def test_inputs_of_any_strides_are_read(torch, door, numbers):
    model = door.MLP([5, 4, 3], dtype=torch.float64)
    x = numbers(5, 12)
    same(torch, [model(x.T), model(x.T[::2])], [model(x.T.contiguous()), model(x.T.contiguous()[::2])], 0)
    y = numbers(2, 3, 5)
    assert model(y).shape == (2, 3, 3)
    assert torch.equal(model(y[0, 0]), model(y)[0, 0])


def test_contiguous_tensors_are_not_copied(torch, door, numbers, monkeypatch):
    import fastbp.torch.chains as chains

    model, x = door.MLP([5, 4, 3], dtype=torch.float64), numbers(6, 5)
    addresses = []
    kernel = chains.chain_forward
    monkeypatch.setattr(chains, "chain_forward", lambda *args: (addresses.append(args[2:5:2]), kernel(*args)))
    model(x)
    assert addresses == [(model.flat.data_ptr(), x.data_ptr())]


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
    import fastbp.torch.replace

    for module in (door, fastbp.torch.layers, fastbp.torch.loss, fastbp.torch.replace):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
