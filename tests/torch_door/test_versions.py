"""What changes between a forward pass and a backward pass: PyTorch's error, or PyTorch's gradient."""

import copy
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

# What may change, and when: before the first backward pass, before the second one, or before one with create_graph.
CHANGES = [
    "nothing", "labels", "huge labels", "labels beside", "target", "weight", "weight by another", "weight to none",
    "logits", "label_smoothing", "ignore_index", "reduction",
]  # fmt: skip
MOMENTS = "first", "second", "create_graph"


def outcome(torch, make, case, change, moment):
    """Return the gradients that a loss comes to, or "changed" for PyTorch's error of a change in place."""
    torch.manual_seed(case["seed"])
    rows, classes, more = case["rows"], case["classes"], case["more"]
    # of no dimension for the batch: (classes,)
    sizes = (classes,) if rows is None else (rows, classes, *more)
    of_labels = () if rows is None else (rows, *more)
    logits = torch.randn(sizes, dtype=torch.float64, requires_grad=True)
    z = 3 * logits  # PyTorch lets it be changed in place after the loss
    if case["soft"]:
        target = torch.randn(sizes, dtype=torch.float64).softmax(min(1, len(sizes) - 1))
    else:
        wide = torch.randint(classes, (*of_labels, 2))
        target = wide[..., 0] if case["strided"] else wide[..., 0].clone()
        if rows is not None:
            target.flatten()[::3].fill_(-1) if target.is_contiguous() else target.select(0, 0).fill_(-1)
            target[-1] = 0  # not all of them are ignored
    weight = torch.rand(classes, dtype=torch.float64) + 0.1 if case["weighted"] else None
    loss = make(weight=weight, ignore_index=-1, reduction=case["reduction"], label_smoothing=case["smoothing"])
    value = loss(z, target)
    dvalue = torch.randn_like(value)

    def apply():
        if change == "labels" and not case["soft"]:
            target.fill_(0)
        elif change == "huge labels" and not case["soft"]:
            target.fill_(10**9 if case["seed"] % 2 else classes)
        elif change == "target" and case["soft"]:
            target.mul_(0.5)
        elif change == "weight" and weight is not None:
            loss.weight.mul_(2)
        elif change == "weight by another" and weight is not None:
            loss.weight = 2 * weight
        elif change == "weight to none":
            loss.weight = None
        elif change == "logits":
            with torch.no_grad():
                z.add_(1.0)
        elif change == "label_smoothing":
            loss.label_smoothing = 0.9
        elif change == "ignore_index":
            loss.ignore_index = 0
        elif change == "reduction":
            loss.reduction = "sum" if case["reduction"] == "mean" else "mean"

    found = []
    try:
        if moment == "second":
            found += torch.autograd.grad(value, logits, dvalue, retain_graph=True)
        apply()
        if moment == "create_graph":
            (gradient,) = torch.autograd.grad(value, logits, dvalue, create_graph=True)
            found += gradient.detach(), *torch.autograd.grad(gradient.square().sum(), logits)
        else:
            found += torch.autograd.grad(value, logits, dvalue)
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        return "changed"
    return found


CASES = st.fixed_dictionaries({
    "rows": st.sampled_from([None, 1, 5, 40]),
    "classes": st.sampled_from([2, 7, 30]),
    "more": st.sampled_from([(), (3,), (2, 2), (2, 1, 3)]),
    "soft": st.booleans(),
    "strided": st.booleans(),
    "weighted": st.booleans(),
    "smoothing": st.sampled_from([0.0, 0.3]),
    "reduction": st.sampled_from(["mean", "sum", "none"]),
    "seed": st.integers(0, 2**20),
})  # fmt: skip
PLAIN = {
    "rows": 6, "classes": 4, "more": (), "soft": False, "strided": False, "weighted": False, "smoothing": 0.0,
    "reduction": "mean", "seed": 1,
}  # fmt: skip


@settings(max_examples=120)
@given(CASES, st.sampled_from(CHANGES), st.sampled_from(MOMENTS))
@example(PLAIN, "huge labels", "second")
@example(PLAIN, "labels", "second")
@example(PLAIN, "labels", "first")
@example({**PLAIN, "weighted": True}, "weight", "create_graph")
@example(PLAIN, "label_smoothing", "create_graph")
def test_a_loss_changed_before_its_backward_pass_is_torch_s_error_or_gradient(torch, door, same, case, change, moment):
    expected = outcome(torch, torch.nn.CrossEntropyLoss, case, change, moment)
    found = outcome(torch, door.CrossEntropyLoss, case, change, moment)
    if found == "changed" and expected != "changed":
        # PyTorch has a copy of these; a gradient that is there already needs none of them.
        assert moment != "first"
        assert change == "logits" or "target" in change or "labels" in change
        return
    assert (found == "changed") == (expected == "changed")
    if found != "changed":
        same(found, expected, 1e-9)


@pytest.mark.parametrize("soft", [False, True])
def test_memory_that_is_shared_is_looked_at_again(torch, door, soft):
    """NumPy and DLPack write without a new version, and PyTorch's own kernels then write out of their arrays."""
    loss = door.CrossEntropyLoss()
    for wrong in (-7, 9, 10**9, -(2**62)):
        z = torch.randn(64, 9, requires_grad=True)
        target = torch.rand(64, 9) if soft else torch.randint(9, (64,))
        value = loss(z, target)
        (first,) = torch.autograd.grad(value, z, retain_graph=True)
        torch.from_dlpack(target).numpy()[:] = wrong
        if soft:
            assert torch.autograd.grad(value, z)[0].shape == z.shape
            continue
        with pytest.raises(IndexError, match=f"got {wrong} in row 0"):
            torch.autograd.grad(value, z, retain_graph=True)
        target.numpy()[:] = 3
        assert not torch.equal(torch.autograd.grad(value, z)[0], first)


def test_hooks_on_saved_tensors_keep_a_loss_s(torch, door, same):
    """What a hook has packed is what counts, as for PyTorch: here copies, so changes come too late."""
    for soft in (False, True):
        for make in (torch.nn.CrossEntropyLoss, door.CrossEntropyLoss):
            torch.manual_seed(0)
            z = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
            target = torch.rand(8, 5, dtype=torch.float64) if soft else torch.randint(5, (8,))
            loss = make(weight=torch.rand(5, dtype=torch.float64))
            with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
                value = loss(z, target)
            target.zero_()
            loss.weight.mul_(3)
            found = [torch.autograd.grad(value, z, retain_graph=True)[0] for _ in range(2)]
            found.append(torch.autograd.grad(value, z, create_graph=True)[0].detach())
            if make is torch.nn.CrossEntropyLoss:
                expected = found
        same(found, expected)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.shape, lambda shape: fail(shape)):
        value = door.CrossEntropyLoss()(z, torch.randint(5, (8,)))
    with pytest.raises(RuntimeError, match="lost"):
        value.backward()


def fail(shape):
    raise RuntimeError(f"lost: {shape}")


def test_weights_and_targets_of_another_making_are_torch_s(torch, door, same):
    z = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    soft, weight = torch.rand(8, 5, dtype=torch.float64), torch.rand(5, dtype=torch.float64, requires_grad=True)
    same(*(torch.autograd.grad(make(weight=weight)(z, soft), [z, weight])
           for make in (door.CrossEntropyLoss, torch.nn.CrossEntropyLoss)))  # fmt: skip
    with torch.inference_mode():
        labels = torch.randint(5, (8,))
    for make in (door.CrossEntropyLoss, torch.nn.CrossEntropyLoss):
        with pytest.raises(RuntimeError, match="Inference tensors"):
            make()(z, labels)
        assert make()(z.detach(), labels).isfinite()


def test_gradients_of_a_loss_may_be_batched(torch, door, same):
    z, labels = torch.randn(6, 5, dtype=torch.float64, requires_grad=True), torch.randint(5, (6,))
    value = door.CrossEntropyLoss(reduction="none")(z, labels)
    dvalues = torch.randn(4, 6, dtype=torch.float64)
    (found,) = torch.autograd.grad(value, z, dvalues, is_grads_batched=True, retain_graph=True)
    same(list(found), [torch.autograd.grad(value, z, dvalue, retain_graph=True)[0] for dvalue in dvalues])


@settings(max_examples=60)
@given(
    st.sampled_from(["Linear", "Sequential", "MLP", "MLP of layers"]),
    st.sampled_from(["input", "parameter", "output", "nothing"]),
    st.sampled_from(MOMENTS),
    st.sampled_from(["relu", "tanh", "sigmoid", "gelu", "silu"]),
    st.integers(0, 2**20),
)
def test_layers_changed_before_their_backward_pass_are_an_error_or_right(
    torch, door, modules, same, kind, change, moment, name, seed
):
    """They save whole what they read, and are at times more careful than PyTorch's."""
    torch.manual_seed(seed)
    sizes = [5, 3] if kind == "Linear" else [5, 8, 3]
    layers = [layer for ins, outs in pairwise(sizes) for layer in (torch.nn.Linear(ins, outs), modules[name]())]
    plain = torch.nn.Sequential(*layers).double()
    if kind == "Linear":
        model = door.Linear(*sizes, dtype=torch.float64, activation=name)
        model.load_state_dict(plain[0].state_dict())
    elif kind == "Sequential":
        model = copy.deepcopy(plain)
        door.replace_(model)
    else:
        model = door.MLP(sizes, name, output_activation=name, flat=kind == "MLP", dtype=torch.float64)
        model.load_state_dict(plain.state_dict())
    parameters = list(model.views().values() if "MLP" in kind else model.parameters())
    leaf = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)

    def gradients(model, change):
        x = 2 * leaf
        out = model(x)
        found = list(torch.autograd.grad(out.sum(), leaf, retain_graph=True)) if moment == "second" else []
        with torch.no_grad():
            if change == "input":
                x.mul_(2)
            elif change == "parameter":
                parameters[seed % len(parameters)].mul_(2)
        out = out.mul_(2) if change == "output" else out
        (gradient,) = torch.autograd.grad(out.sum(), leaf, create_graph=moment == "create_graph")
        found.append(gradient.detach())
        if moment == "create_graph" and name != "relu":
            found += torch.autograd.grad(gradient.square().sum(), leaf)
        return found

    expected = gradients((lambda x: 2 * plain(x)) if change == "output" and moment != "second" else plain, "nothing")
    if change == "output" and moment == "second":
        expected[1] *= 2
    try:
        found = gradients(model, change)
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        assert change != "nothing"
        return
    same(found, expected, 1e-9)
