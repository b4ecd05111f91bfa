"""Losses whose classes and functions are made from the kernels' table: PyTorch's, over random options."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp.kernels import losses as table
from fastbp.nn import losses

DTYPES = ("float32", "float64")


def focal_of_torch(torch, z, y, *, gamma, alpha, ignore_index, reduction):
    """Focal loss as it is written with PyTorch's operations; the mean is over the rows that count."""
    kept = y != ignore_index
    log_p = torch.log_softmax(z, 1)[torch.arange(len(z)), torch.where(kept, y, 0)]
    weight = (
        torch.full((z.shape[1],), alpha, dtype=z.dtype) if np.ndim(alpha) == 0 else torch.tensor(alpha, dtype=z.dtype)
    )
    each = torch.where(kept, -weight[torch.where(kept, y, 0)] * (1 - log_p.exp()) ** gamma * log_p, 0.0)
    return each if reduction == "none" else each.sum() / (kept.sum() if reduction == "mean" else 1)


def sigmoid_focal_of_torch(torch, z, t, *, alpha, gamma, reduction):
    """torchvision.ops.sigmoid_focal_loss."""
    p = torch.sigmoid(z)
    ce = torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")
    loss = ce * ((1 - (p * t + (1 - p) * (1 - t))) ** gamma)
    if alpha >= 0:
        loss = (alpha * t + (1 - alpha) * (1 - t)) * loss
    return reduced(loss, reduction)


def distillation_of_torch(torch, z, t, *, temperature, alpha, reduction):
    nn, n = torch.nn.functional, z.shape[1]
    soft = nn.kl_div(
        torch.log_softmax(z / temperature, 1),
        torch.log_softmax(t[:, :n] / temperature, 1),
        log_target=True,
        reduction="none",
    )
    loss = alpha * temperature**2 * soft.sum(1)
    if alpha < 1:
        loss = loss + (1 - alpha) * nn.cross_entropy(z, t[:, n].long(), reduction="none")
    return reduced(loss, reduction)


def quantile_of_torch(torch, z, t, *, quantiles, reduction):
    levels = torch.tensor(np.atleast_1d(quantiles)).to(z).repeat_interleave(t.shape[1])
    short = t.repeat(1, z.shape[1] // t.shape[1]) - z
    return reduced(torch.maximum(levels * short, (levels - 1) * short), reduction)


def cosine_of_torch(torch, z, t, *, eps, reduction):
    return reduced(1 - torch.nn.functional.cosine_similarity(z, t, dim=1, eps=eps), reduction)


def hinge_of_torch(torch, z, t, *, margin, reduction):
    return reduced(torch.relu(margin - t * z), reduction)


def reduced(loss, reduction):
    return loss if reduction == "none" else getattr(loss, reduction)()


def named(name):
    return lambda torch, z, t, **options: getattr(torch.nn.functional, name)(z, t, **options)


def multi_margin_of_torch(torch, z, y, *, p, margin, weight, reduction):
    weight = (
        torch.full((z.shape[1],), weight, dtype=z.dtype)
        if np.ndim(weight) == 0
        else torch.tensor(weight, dtype=z.dtype)
    )
    return torch.nn.functional.multi_margin_loss(z, y, int(p), margin, weight, reduction=reduction)


def logits(rng, shape):
    return 2 * rng.standard_normal(shape)


def gamma_of(rng):
    return rng.choice([0.0, 1.0, 2.0, rng.uniform(1, 4)])


def each_or_all(rng, n, low, high):
    return float(rng.uniform(low, high)) if rng.random() < 0.5 else tuple(rng.uniform(low, high, n).tolist())


class Case:
    """What a loss is compared with, and how its options and targets are drawn.

    peer : (torch, z, targets, **options)
    options : (rng, outputs) to options
    targets : (rng, rows, outputs) to targets; those that the kernels' tests draw without it
    """

    def __init__(self, peer, options=lambda rng, n: {}, targets=None):
        self.peer, self.options, self.targets = peer, options, targets


CASES = {
    "huber": Case(named("huber_loss"), lambda rng, n: {"delta": rng.uniform(0.1, 3)}),
    "l1": Case(named("l1_loss")),
    "smooth_l1": Case(named("smooth_l1_loss"), lambda rng, n: {"beta": rng.choice([0.0, rng.uniform(0.1, 3)])}),
    "poisson_nll": Case(
        lambda torch, z, t, log_input, **options: torch.nn.functional.poisson_nll_loss(
            z, t, log_input=log_input, **options
        ),
        lambda rng, n: {
            "log_input": bool(rng.integers(2)),
            "full": bool(rng.integers(2)),
            "eps": 10 ** rng.uniform(-8, -1),
        },
    ),
    "soft_margin": Case(named("soft_margin_loss")),
    "hinge": Case(hinge_of_torch, lambda rng, n: {"margin": rng.uniform(0, 2)}),
    "quantile": Case(
        quantile_of_torch,
        lambda rng, n: {"quantiles": tuple(rng.uniform(0.01, 0.99, n).tolist()) if n > 1 else rng.uniform(0.01, 0.99)},
        lambda rng, rows, n: rng.standard_normal((rows, 1)),
    ),
    "sigmoid_focal": Case(
        sigmoid_focal_of_torch,
        lambda rng, n: {"alpha": rng.choice([-1.0, rng.uniform(0, 1)]), "gamma": gamma_of(rng)},
    ),
    "focal": Case(
        focal_of_torch,
        lambda rng, n: {
            "gamma": gamma_of(rng),
            "alpha": each_or_all(rng, n, 0.1, 2.0),
            "ignore_index": int(rng.choice([-100, 0])),
        },
    ),
    "multi_margin": Case(
        multi_margin_of_torch,
        lambda rng, n: {
            "p": int(rng.integers(1, 3)),
            "margin": rng.uniform(0, 2),
            "weight": each_or_all(rng, n, 0.1, 2.0),
        },
    ),
    "cosine_similarity": Case(cosine_of_torch, lambda rng, n: {"eps": 10 ** rng.uniform(-8, 0)}),
    "distillation": Case(
        distillation_of_torch, lambda rng, n: {"temperature": rng.uniform(0.5, 5), "alpha": rng.uniform(0, 1)}
    ),
}  # fmt: skip


def test_every_made_loss_is_compared():
    assert CASES.keys() == {kind._entry.name for kind in losses.MADE}


def draw(name, seed, rows, outputs, dtype):
    """Return a loss's entry, options, outputs of a network and targets."""
    rng, entry, case = np.random.default_rng(seed), table.LOSSES[name], CASES[name]
    outputs = max(outputs, 2) if entry.labelled or entry.extra else outputs
    options = {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in case.options(rng, outputs).items()
    }
    z = logits(rng, (rows, outputs)).astype(dtype)
    if options.get("log_input") is False:
        z = np.abs(z)
    if entry.labelled:
        return options, z, rng.integers(0, outputs, rows)
    drawn = case.targets or entry.drawn or (lambda rng, *shape: rng.standard_normal(shape))
    return options, z, np.asarray(drawn(rng, rows, outputs), dtype)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 20),
    outputs=st.sampled_from([1, 2, 3, 7, 16, 65, 130]),
    dtype=st.sampled_from(DTYPES),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_value_and_gradient_are_torch_s(torch, name, seed, rows, outputs, dtype, reduction):
    options, z, y = draw(name, seed, rows, outputs, dtype)
    of_torch = torch.from_numpy(z.copy()).requires_grad_()
    expected = CASES[name].peer(torch, of_torch, torch.from_numpy(np.array(y)), reduction=reduction, **options)
    expected.sum().backward()
    function = getattr(fastbp, table.LOSSES[name].public.function)
    value, gradient = function(z, y, reduction=reduction, **options)
    rtol, atol = (1e-4, 2e-5) if dtype == "float32" else (1e-11, 1e-12)
    assert_allclose(value, expected.detach().numpy(), rtol=rtol, atol=atol)
    size = max(1.0, np.abs(gradient).max(initial=0))
    assert_allclose(gradient, of_torch.grad.numpy(), rtol=rtol, atol=atol * size)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays_in_its_row_and_infinities_do_what_torch_s_do(torch, name, dtype):
    entry = table.LOSSES[name]
    for special in (np.nan, np.inf, -np.inf):
        options, z, y = draw(name, 5, 4, 3, dtype)
        z[1, 2] = special
        function = getattr(fastbp, entry.public.function)
        value, gradient = function(z, y, reduction="none", **options)
        peer = CASES[name].peer(torch, torch.from_numpy(z), torch.from_numpy(np.array(y)), reduction="none", **options)
        others = [0, 2, 3]
        assert np.isfinite(value[others]).all()
        assert np.isfinite(gradient[others]).all()
        if np.isnan(special):  # PyTorch's multi_margin_loss leaves it out
            assert np.isnan(value[1]).any()
            assert np.isnan(gradient[1, 2])
            continue
        expected = peer.numpy()
        same = ~np.isnan(expected)  # 0 * infinity and 0 log 0 are 0 here
        assert_allclose(value[same], expected[same], rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([(1, 1), (4, 1), (7, 3), (5, 70), (2, 3, 4), (6,)]),
    dtype=st.sampled_from(DTYPES),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    each=st.booleans(),
)
def test_pos_weight_is_torch_s(torch, seed, shape, dtype, reduction, each):
    rng = np.random.default_rng(seed)
    z, t = logits(rng, shape).astype(dtype), rng.random(shape).astype(dtype)
    t.reshape(-1)[::2] = np.rint(t.reshape(-1)[::2])
    weight = rng.uniform(0, 5, shape[-1]) if each else float(rng.uniform(0, 5))
    of_torch = torch.from_numpy(z.copy()).requires_grad_()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        of_torch, torch.from_numpy(t), reduction=reduction, pos_weight=torch.tensor(weight, dtype=of_torch.dtype)
    )
    expected.sum().backward()
    value, gradient = fastbp.binary_cross_entropy_with_logits(z, t, pos_weight=weight, reduction=reduction)
    rtol, atol = (1e-5, 1e-5) if dtype == "float32" else (1e-13, 1e-13)
    assert_allclose(value, expected.detach().numpy(), rtol=rtol, atol=atol)
    assert_allclose(gradient, of_torch.grad.numpy(), rtol=rtol, atol=atol)
    assert gradient.dtype == dtype


def test_several_quantiles_of_several_targets_are_one_after_another():
    rng = np.random.default_rng(0)
    for targets, levels in ((1, 99), (2, 3), (30, 3)):
        quantiles = tuple(rng.uniform(0, 1, levels))
        z, t = rng.standard_normal((9, levels * targets)), rng.standard_normal((9, targets))
        parts = zip(np.split(z, levels, axis=1), quantiles, strict=True)
        each = [fastbp.quantile_loss(part, t, quantiles=q, reduction="sum") for part, q in parts]
        loss, gradient = fastbp.quantile_loss(z, t, quantiles=quantiles, reduction="sum")
        assert loss == pytest.approx(sum(value for value, _ in each), rel=1e-12)
        assert_array_equal(gradient, np.concatenate([part for _, part in each], axis=1))


def test_networks_find_quantiles_of_the_data():
    rng = np.random.default_rng(1)
    t = rng.exponential(size=(2000, 1))
    model = fastbp.mlp([1, 3], dtype="float64", rng=0)
    trainer = fastbp.Trainer(model, fastbp.QuantileLoss(quantiles=(0.1, 0.5, 0.9)), fastbp.Adam(0.02))
    for _ in range(600):
        trainer.step(np.zeros((2000, 1)), t)
    assert_allclose(model[0].bias, np.quantile(t, [0.1, 0.5, 0.9]), atol=0.03)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("outputs", [3, 70])
def test_a_step_trains_by_the_gradient_of_the_function(name, outputs):
    """With sample weights, and behind a last layer with an activation too."""
    rng = np.random.default_rng(2)
    options, _, y = draw(name, 3, 20, outputs, "float64")
    options.pop("ignore_index", None)
    if name == "poisson_nll":
        options["log_input"] = True
    x, weight = rng.standard_normal((20, 4)), rng.uniform(0, 2, 20)
    entry = table.LOSSES[name]
    loss = getattr(fastbp, entry.public.name)(**options)
    for activation in ("identity", "tanh"):
        model = fastbp.Sequential(fastbp.Dense(4, outputs, activation, dtype="float64", rng=0))
        trainer = fastbp.Trainer(model, loss, fastbp.SGD(0.1))
        twin = fastbp.Sequential(fastbp.Dense(4, outputs, activation, dtype="float64", rng=0))
        value, dz = loss.evaluate(twin.forward(x), y, weight)
        twin.backward(dz)
        assert trainer.evaluate(x, y, weight)["loss"] == pytest.approx(value, rel=1e-12)
        assert trainer.step(x, y, weight) == pytest.approx(value, rel=1e-12)
        for name_, gradient in twin.gradients().items():
            assert_allclose(model.gradients()[name_], gradient, rtol=1e-9, atol=1e-12)
    each = getattr(fastbp, entry.public.name)(**options, reduction="none").evaluate(twin.forward(x), y)[0]
    assert value == pytest.approx((weight * each).sum() / (weight.sum() * entry.terms(outputs)), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_runs_go_on_from_a_checkpoint_to_the_same_bits(name, tmp_path):
    rng = np.random.default_rng(4)
    options, _, y = draw(name, 6, 30, 3, "float32")
    x = rng.standard_normal((30, 4)).astype(np.float32)
    loss = getattr(fastbp, table.LOSSES[name].public.name)(**options)

    def run(trainer, epochs, **more):
        return trainer.fit(x, y, epochs=epochs, batch_size=8, rng=1, progress=False, validation_data=(x, y), **more)

    whole, first = (fastbp.Trainer(fastbp.mlp([4, 5, 3], rng=0), loss) for _ in range(2))
    if name != "poisson_nll" or options["log_input"]:
        run(whole, 4)
        run(first, 2)
        first.save_checkpoint(tmp_path / "c")
        resumed = fastbp.Trainer.load_checkpoint(tmp_path / "c")
        assert resumed.loss == loss
        run(resumed, 4, resume=True)
        assert resumed.history == whole.history
        assert_array_equal(resumed.model._params, whole.model._params)
    by_name = fastbp.Trainer(fastbp.mlp([4, 3], rng=0), name)
    assert type(by_name.loss) is type(loss)


def test_labels_have_an_accuracy_and_rows_may_be_ignored():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    y[::5] = -100
    for name in ("focal", "multi_margin"):
        trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0), name, fastbp.SGD(0.0))
        history = trainer.fit(x, y, batch_size=7, rng=0, validation_data=(x, y), progress=False)
        kept = y >= 0
        expected = (trainer.model.predict(x).argmax(axis=1) == y)[kept].mean()
        assert history["accuracy"] == history["val_accuracy"] == [expected]
        assert history["loss"] == pytest.approx(history["val_loss"], rel=1e-5)
        alone = trainer.evaluate(x[kept], y[kept])
        assert alone == pytest.approx(trainer.evaluate(x, y), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: fastbp.QuantileLoss(quantiles=0), ValueError, "quantile_loss expects quantiles greater than 0, got 0"),
        (lambda: fastbp.QuantileLoss(quantiles=(0.5, 1)), ValueError, r"expects quantiles\[1\] in \[0, 1\), got 1"),
        (lambda: fastbp.QuantileLoss(quantiles=()), ValueError, r"a row of them, got shape \(0,\)"),
        (lambda: fastbp.QuantileLoss(quantiles="half"), TypeError, "expects quantiles to be a number, got 'half'"),
        (lambda: fastbp.MultiMarginLoss(p=1.5), ValueError, "expects p to be a whole number, got 1.5"),
        (lambda: fastbp.MultiMarginLoss(p=3), ValueError, r"expects p in \[1, 2\], got 3"),
        (lambda: fastbp.PoissonNLLLoss(full="no"), TypeError, "expects full to be True or False, got 'no'"),
        (lambda: fastbp.SigmoidFocalLoss(alpha=-2), ValueError, r"expects alpha in \[-1, 1\], got -2"),
        (lambda: fastbp.FocalLoss(ignore_index=0.5), TypeError, "ignore_index to be an int"),
        (lambda: fastbp.BCEWithLogitsLoss(pos_weight=-1.0), ValueError, "pos_weight at least 0, got -1.0"),
        (lambda: fastbp.focal_loss([[0.0, 1.0]], [2]), ValueError, "targets in 0..1 .*got 2 in row 0"),
        (lambda: fastbp.focal_loss([[0.0, 1.0]], [0], alpha=[1.0]), ValueError, r"alpha of shape \(2,\), got \(1,\)"),
        (lambda: fastbp.quantile_loss([[1, 2, 3]], [[1, 2]], quantiles=[0.1, 0.9]), ValueError, "2 outputs"),
        (lambda: fastbp.distillation_loss([[0.0, 1.0]], [[0.0, 1.0, 2.0]]), ValueError, "labels in 0..1 in the last"),
        (lambda: fastbp.distillation_loss([[0.0, 1.0]], [[0.0, 1.0]]), ValueError, r"shape \(1, 3\), got \(1, 2\)"),
        (lambda: fastbp.Trainer(fastbp.mlp([2, 1]), "focal"), ValueError, "an output for each class, 2 or more"),
        (lambda: fastbp.QuantileLoss(quantiles=[0.1, 0.9]).check_outputs(3), ValueError, "2 outputs"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_labels_of_a_distillation_are_looked_at_in_each_step():
    trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0), "distillation", fastbp.SGD(0.1))
    x, y = np.zeros((2, 2), np.float32), np.float32([[0, 1, 2, 1], [0, 1, 2, 0]])
    trainer.step(x, y)
    trainer.step(x, y)
    before = trainer.model._params.copy()
    for wrong in (3.0, -1.0, 0.5, np.nan):
        y[1, 3] = wrong
        with pytest.raises(ValueError, match=r"labels in 0..2 in the last column of targets, got .* in row 1"):
            trainer.step(x, y)
    assert_array_equal(trainer.model._params, before)
    whole = fastbp.Trainer(fastbp.mlp([2, 3], rng=0), fastbp.DistillationLoss(alpha=1.0))
    assert np.isfinite(whole.step(x, y[:, :3].copy()))  # no labels


def test_a_loss_stays_as_it_was_made():
    weight = np.array([1.0, 2.0])
    loss = fastbp.BCEWithLogitsLoss(pos_weight=weight)
    weight[:] = 5
    assert loss.pos_weight == (1.0, 2.0)
    assert loss == fastbp.BCEWithLogitsLoss(pos_weight=[1, 2])
