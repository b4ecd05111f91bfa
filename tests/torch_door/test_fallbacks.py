"""Where kernels cannot compute, or would not gain, PyTorch does."""

import copy
import warnings

import pytest

from fastbp.kernels import entries
from fastbp.kernels.activations import ACTIVATIONS


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


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_modules_are_torch_s(torch, networks, numbers, same, gradients, kind, backend):
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = gradients(model, x, torch.ones(6, 3))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    same(gradients(compiled, x, torch.ones(6, 3)), expected, 1e-5)


@pytest.mark.parametrize("how", ["jit.trace", "fx", "make_fx", "export", "strict export"])
def test_traced_modules_see_other_inputs(torch, networks, numbers, same, kind, how):
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
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = trace(model, torch.zeros_like(x))
    same([traced(x)], [model(x)], 1e-5)
    if how == "fx":  # the parameters are those of the module, step after step
        for _ in range(2):
            found = torch.autograd.grad(traced(x).sum(), list(traced.parameters()))
            same(list(found), list(torch.autograd.grad(model(x).sum(), list(model.parameters()))), 1e-5)


def test_other_devices_are_torch_s(torch, networks, numbers, same, gradients, kind):
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
        same(gradients(model, x, torch.ones(6, 3, device="cpu")), expected)


def test_no_kernel_reads_another_device_s_memory(torch, networks, numbers, same, kind, monkeypatch):

    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = model(x)
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    monkeypatch.setattr(entries, "chain_forward", None)
    same([model(x)], [expected], 1e-5)


def test_subclasses_of_tensors_are_torch_s(torch, networks, numbers, same, kind):
    class Own(torch.Tensor):
        pass

    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = model(x)
    own = {name: p.detach().as_subclass(Own) for name, p in model.named_parameters()}
    for found in (model(x.as_subclass(Own)), torch.func.functional_call(model, own, (x,))):
        assert type(found) is Own
        same([found.as_subclass(torch.Tensor)], [expected], 1e-5)


def test_modes_see_each_operation(torch, plain, numbers, fused):
    from torch.utils.flop_counter import FlopCounterMode

    model, x, dout = plain(), numbers(6, 5), numbers(6, 3)
    counts = []
    for network in (model, fused(model)):
        with FlopCounterMode(display=False) as counter:
            network(x).backward(dout)
        counts.append(counter.get_total_flops())
        out = network(x)
        with FlopCounterMode(display=False) as counter:
            out.backward(dout)
        counts.append(counter.get_total_flops())
    assert counts[2] == counts[0] > 0
    assert counts[3] >= counts[1] > 0  # computed once more


def test_batched_gradients_are_those_of_a_loop(torch, networks, numbers, same, kind):
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32, grad=True)
    out, douts = model(x), numbers(4, 6, 3, dtype=torch.float32)
    inputs = [x, *model.parameters()]
    found = torch.autograd.grad(out, inputs, douts, is_grads_batched=True, retain_graph=True)
    for i, dout in enumerate(douts):
        same([f[i] for f in found], list(torch.autograd.grad(out, inputs, dout, retain_graph=True)), 1e-5)


def test_tensors_without_memory_of_their_own_are_torch_s(torch, networks, numbers, same, kind):
    model, x = networks()[kind], numbers(6, 5, dtype=torch.float32)
    expected = model(x)
    leaked = []
    torch.func.grad(lambda z: (leaked.append(z), z.sum())[1])(x)
    same([model(leaked[0])], [expected], 1e-5)
    same([model(torch._efficientzerotensor((6, 5)))], [model(torch.zeros(6, 5))], 1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not finished, says PyTorch
        sparse = x.to_sparse(), x.to_sparse_csr()
        nested = torch.nested.nested_tensor([x, x[:2]])
    if kind != "Sequential":  # a LayerNorm takes none
        same([model(s) for s in sparse], [expected] * 2, 1e-5)
    same(list(model(nested).unbind()), [expected, expected[:2]], 1e-5)


@pytest.mark.parametrize("name", [None, "relu", "leaky_relu", "tanh"])
def test_a_small_layer_alone_is_torch_s_and_a_large_one_is_not(torch, door, fewest, numbers, monkeypatch, name):
    from fastbp.torch import chains

    monkeypatch.setattr(chains, "FEWEST", fewest)
    used = []
    kernel = entries.chain_forward
    monkeypatch.setattr(entries, "chain_forward", lambda *arguments: (used.append(len(used)), kernel(*arguments)))
    code = ACTIVATIONS[name or "identity"].code
    outs = 40
    most = fewest.get(code, 0) // (20 * outs)
    layer = door.Linear(20, outs, activation=name)
    for rows in (1, most - 1) if most else ():
        x = torch.randn(rows, 20)
        expected = chains.FUNCTIONS[code](torch.nn.functional.linear(x, layer.weight, layer.bias))
        assert torch.equal(layer(x), expected)
    assert not used
    layer(torch.randn(max(1, most), 20))
    assert used == [0]
    with pytest.raises(TypeError, match="must be Tensor"):
        layer([1.0] * 20)


def test_inputs_of_any_strides_are_read(torch, door, numbers, same):
    model = door.MLP([5, 4, 3], dtype=torch.float64)
    x = numbers(5, 12)
    same([model(x.T), model(x.T[::2])], [model(x.T.contiguous()), model(x.T.contiguous()[::2])], 0)
    y = numbers(2, 3, 5)
    assert model(y).shape == (2, 3, 3)
    assert torch.equal(model(y[0, 0]), model(y)[0, 0])


def test_contiguous_tensors_are_not_copied(torch, door, numbers, monkeypatch):

    model, x = door.MLP([5, 4, 3], dtype=torch.float64), numbers(6, 5)
    addresses = []
    kernel = entries.chain_forward
    monkeypatch.setattr(entries, "chain_forward", lambda *args: (addresses.append(args[2:5:2]), kernel(*args)))
    model(x)
    assert addresses == [(model.flat.data_ptr(), x.data_ptr())]
