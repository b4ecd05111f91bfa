"""Cross-entropy: PyTorch's, on its own samples and over random options."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def test_cross_entropy_is_torch_cross_entropy_on_its_own_samples(torch, door, same):
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
