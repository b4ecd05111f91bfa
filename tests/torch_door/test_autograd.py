"""What a backward pass looks at: hooks, tensors that changed, gradients that nobody wants."""

import pytest


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


def test_what_data_assigns_before_the_backward_pass_is_looked_at(torch, door, plain, numbers, fused):
    """Where PyTorch finds an error, or computes, a kernel would read what is not there."""
    big = 1 << 20

    def smaller_weight(model, x):
        next(model.parameters()).data = torch.ones(1, dtype=torch.float64)

    def other_type(model, x):
        next(model.parameters()).data = next(model.parameters()).data.float()

    def smaller_input(model, x):
        x.data = torch.ones(1, 5, dtype=torch.float64)

    for change in (smaller_weight, other_type, smaller_input):
        for model in (door.MLP([5, 8, 3], dtype=torch.float64), fused(plain()), door.Linear(5, 3).double()):
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


def test_hooks_on_saved_tensors_may_change_them(torch, door, numbers, same):
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
        same(list(torch.autograd.grad(out, model.flat)), [expected], 0.02)
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
            same(list(torch.autograd.grad(out, model.flat)), [expected], 1e-5)


def test_a_weight_that_layers_share_counts_once_a_layer_where_torch_computes_the_gradient(torch, door, same):
    torch.manual_seed(0)
    tied, first = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    inner = torch.nn.Sequential(first, torch.nn.Tanh(), tied, torch.nn.Tanh())
    model = torch.nn.Sequential(inner, tied, torch.nn.Tanh(), tied, torch.nn.Tanh())
    x = torch.randn(7, 4, requires_grad=True)

    def gradients():
        wanted = [*model.parameters(), x]
        one = torch.autograd.grad(model(x).square().sum(), wanted, create_graph=True)
        two = torch.autograd.grad(sum(g.square().sum() for g in one), wanted)
        out = model(x)
        several = torch.autograd.grad(out, wanted, torch.stack([out.detach()] * 2), is_grads_batched=True)
        return [*one, *two, *several]

    expected = gradients()
    door.replace_(model)
    same(gradients(), expected, 1e-4)


@pytest.mark.parametrize("kind", ["one layer", "layers", "flat", "layers of one parameter each"])
def test_a_jacobian_that_is_vectorized_is_that_of_torch(torch, door, plain, numbers, same, kind):
    x, model = numbers(6, 5), plain(activation=torch.nn.Tanh)
    if kind == "one layer":
        model = model[:2]
        module = door.Linear(5, 8, activation="tanh", dtype=torch.float64)
        module.load_state_dict(model[0].state_dict())
    elif kind == "layers":
        module = door.Sequential(*model)
    else:
        module = door.MLP([5, 8, 7, 3], "tanh", flat=kind == "flat", dtype=torch.float64)
        module.load_state_dict(model.state_dict())
    jacobian = torch.autograd.functional.jacobian
    expected = jacobian(model, x)
    assert expected.shape == (*model(x).shape, 6, 5)
    for vectorized in (True, False):
        same([jacobian(module, x, vectorize=vectorized)], [expected])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_jacobian_of_a_cross_entropy_that_is_vectorized_is_that_of_torch(torch, door, numbers, same, reduction):
    z, y = numbers(6, 5), torch.arange(6) % 5
    one, other = door.CrossEntropyLoss(reduction=reduction), torch.nn.CrossEntropyLoss(reduction=reduction)
    jacobian = torch.autograd.functional.jacobian
    same([jacobian(lambda z: one(z, y), z, vectorize=True)], [jacobian(lambda z: other(z, y), z)])
