"""Cross-entropy: PyTorch's, on its own samples and over random options."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.kernels import entries


def test_cross_entropy_is_torch_cross_entropy_on_its_own_samples(torch, door, same):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_modules import module_db
    torch.manual_seed(3)  # of some seeds all rows of a sample are ignored, and the loss is NaN
    ran = 0
    (info,) = [info for info in module_db if info.module_cls is torch.nn.CrossEntropyLoss]
    for dtype in (torch.float32, torch.float64):
        for sample in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True):
            made, given_ = sample.constructor_input, sample.forward_input
            z, target = given_.args
            ours, theirs = (c(*made.args, **made.kwargs) for c in (door.CrossEntropyLoss, torch.nn.CrossEntropyLoss))
            found, expected = ours(z, target), theirs(z, target)
            same([found], [expected], 1e-5)
            same(*([torch.autograd.grad(v.sum(), z)[0]] for v in (found, expected)), 1e-5)
            with torch.no_grad():
                same([ours(z, target)], [expected.detach()], 1e-5)
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
def test_cross_entropy_of_random_options(
    torch, door, same, batch, classes, more, reduction, weighted, soft, smoothing, seed
):
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
    same([found], [expected])
    dvalue = torch.randn_like(expected)
    same(*(torch.autograd.grad(v, z, dvalue) for v in (found, expected)))
    with torch.no_grad():
        same([ours(z, target)], [expected.detach()])


def test_a_single_sample_has_a_loss_of_no_dimension(torch, door, numbers, same):
    z = numbers(4)
    for target in (torch.tensor(2), numbers(4).softmax(0)):
        for reduction in ("mean", "none"):
            found = door.CrossEntropyLoss(reduction=reduction)(z, target)
            same([found], [torch.nn.CrossEntropyLoss(reduction=reduction)(z, target)])
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


SHAPES = [(6, 5), (40, 100), (3, 7, 30), (2, 4, 5, 6), (1, 2, 9), (4, 70, 10), (5, 3, 1), (7,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_gradient_is_laid_out_as_torch_s_and_a_loss_alone_has_the_same_bits(torch, door, same, shape, reduction):
    torch.manual_seed(0)
    of_labels = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    z = torch.randn(shape, requires_grad=True)
    turned = torch.randn(shape[::-1]).permute(*reversed(range(len(shape)))).requires_grad_()
    cut = torch.randn(2 * shape[0], *shape[1:])[::2].requires_grad_()
    for logits in (z, turned, cut):
        for target in (torch.randint(shape[min(1, len(shape) - 1)], of_labels), torch.rand(shape)):
            ours, theirs = (
                c(reduction=reduction)(logits, target) for c in (door.CrossEntropyLoss, torch.nn.CrossEntropyLoss)
            )
            dvalue = torch.randn_like(theirs)
            (found,), (expected,) = (torch.autograd.grad(value, logits, dvalue) for value in (ours, theirs))
            same([found], [expected], 1e-5)
            assert found.stride() == expected.stride()
            assert found.is_contiguous()
            with torch.no_grad():
                assert torch.equal(door.CrossEntropyLoss(reduction=reduction)(logits, target), ours)


@pytest.mark.parametrize(
    "shape", [(2, 3), (70, 20), (1000, 80), (30, 5, 8), (3, 2, 50, 50), (10, 20, 1000), (1000, 10)]
)
def test_a_loss_that_is_not_worth_a_kernel_is_torch_s_to_the_bit(torch, door, fewest, monkeypatch, shape):
    from fastbp.torch import loss

    monkeypatch.setattr(loss, "FEWEST", fewest["loss"])
    kernel, used = entries.loss_at, []
    monkeypatch.setattr(entries, "loss_at", lambda *arguments: (used.append(arguments), kernel(*arguments))[1])
    z = torch.randn(shape, requires_grad=True)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]))
    results = []
    for make in (torch.nn.CrossEntropyLoss, door.CrossEntropyLoss):
        value = make()(z, labels)
        by_kernel = len(used)
        with torch.no_grad():
            results.append((value, torch.autograd.grad(value, z)[0], make()(z, labels)))
    alone = len(used) - by_kernel
    assert (by_kernel, alone) == {(1000, 80): (1, 0), (10, 20, 1000): (1, 0), (1000, 10): (1, 1)}.get(shape, (0, 0))
    for used_kernel, found, expected in zip((by_kernel, by_kernel, alone), *results, strict=True):
        if used_kernel:
            torch.testing.assert_close(found, expected)
        else:
            assert torch.equal(found, expected)


def test_weights_that_kernels_do_not_take_are_torch_s(torch, door, same):
    z, labels = torch.randn(9, 4, requires_grad=True), torch.randint(4, (9,))
    for unusable in (-1.0, float("inf"), float("nan")):
        weight = torch.tensor([1.0, 2.0, unusable, 0.5])
        values = [c(weight, reduction="none")(z, labels) for c in (door.CrossEntropyLoss, torch.nn.CrossEntropyLoss)]
        assert torch.equal(*values) or unusable != unusable
        same(*([torch.autograd.grad(v, z, torch.ones(9))[0].nan_to_num()] for v in values))


def test_options_that_kernels_do_not_take_are_torch_s(torch, door):
    z, labels = torch.randn(9, 4), torch.randint(4, (9,))
    for options in ({"ignore_index": 2**60}, {"label_smoothing": torch.tensor(0.5)}):
        assert torch.equal(door.CrossEntropyLoss(**options)(z, labels), torch.nn.CrossEntropyLoss(**options)(z, labels))
    with pytest.raises(RuntimeError, match="label_smoothing"):
        door.CrossEntropyLoss(label_smoothing=2.0)(z, labels)
    with pytest.raises(ValueError, match="reduction"):
        door.CrossEntropyLoss(reduction="total")(z, labels)


def test_what_torch_refuses_is_its_error(torch, door):
    z, labels = torch.randn(9, 4), torch.randint(4, (9,))
    assert door.CrossEntropyLoss()(z, labels) >= 0.0  # -100 is an index from now on, and -100.0 is none
    refused = [({"ignore_index": 2}, z.softmax(1)), ({"ignore_index": -100.0}, labels)]
    for options, target in [*refused, ({}, None), ({}, labels.tolist()), ({}, labels.numpy())]:
        for logits in (z, z.clone().requires_grad_()):
            errors = []
            for make in (torch.nn.CrossEntropyLoss, door.CrossEntropyLoss):
                with pytest.raises((RuntimeError, TypeError)) as error:
                    make(**options)(logits, target)
                errors.append((error.type, str(error.value)))
            assert errors[0] == errors[1]


def test_logits_of_inference_mode_that_want_a_gradient_have_a_loss(torch, door):
    with torch.inference_mode():
        z = torch.randn(9, 4, requires_grad=True)
    labels = torch.randint(4, (9,))
    assert torch.equal(door.CrossEntropyLoss()(z, labels), torch.nn.CrossEntropyLoss()(z, labels))


def test_tensors_that_take_no_memory_are_torch_s(torch, door):
    z, labels, zeros = torch.randn(9, 4), torch.randint(4, (9,)), torch._efficientzerotensor
    cases = [(zeros(9, 4), labels, None), (z, zeros(9, dtype=torch.int64), None), (z, labels, zeros(4))]
    for logits, target, weight in cases:
        values = [
            c(weight, reduction="sum")(logits, target) for c in (door.CrossEntropyLoss, torch.nn.CrossEntropyLoss)
        ]
        torch.testing.assert_close(*values)
    freed = z.clone()
    freed.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="not allocated"):
        door.CrossEntropyLoss()(freed, labels)
