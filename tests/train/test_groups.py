"""Groups of parameters: PyTorch's, over random patterns and options; and every way that a step may take."""

import copy
from fnmatch import fnmatchcase

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp._base.threads import available_threads
from fastbp.train.optimizers import KINDS
from tests.resumed import stopped
from tests.train.test_optimizers import drawn, exact_scalars  # noqa: F401  # a fixture

PATTERNS = ["*", "*.bias", "*.weight", "0.*", "1.weight", "[12].*", "2.bias"]
GROUPS = {
    "*.bias": {"weight_decay": 0.0, "lr_factor": 0.1},
    "0.*": {"lr_factor": 6.0},
    "1.weight": {"weight_decay": 0.3},
    "2.weight": {"weight_decay_factor": 0.25},
}
# By rows, with the sums of chunks apart, and layer after layer
WAYS = {"small": ((6, 9, 5, 4), 40), "chunks apart": ((5, 8, 6, 3), 3000), "large": ((700, 600, 300, 5), 50)}
EACH_WAY = pytest.mark.parametrize(("sizes", "batch"), WAYS.values(), ids=WAYS.keys())


def random_groups(rng):
    groups = {}
    for pattern in rng.permutation(PATTERNS)[: rng.integers(1, 5)]:
        options = {
            "lr_factor": float(rng.uniform(0, 3)),
            "weight_decay": float(rng.choice([0.0, 0.05])),
            "weight_decay_factor": float(rng.choice([0.0, 0.5, 2.0])),
        }
        groups[str(pattern)] = {name: value for name, value in options.items() if rng.random() < 0.7}
    return groups


def of(groups, name, option, of_all):
    """What counts for a parameter: the last pattern with the option."""
    for pattern, options in groups.items():
        if fnmatchcase(name, pattern):
            of_all = options.get(option, of_all)
    return of_all


def data(sizes, batch, dtype="float32"):
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], batch)


@pytest.mark.usefixtures("exact_scalars")
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"Lion"}))
def test_random_groups_give_the_updates_of_torch(torch, kind):
    rng = np.random.default_rng(sum(map(ord, kind)))
    for _ in range(12):
        options, groups = drawn(kind, rng), random_groups(rng)
        clips = rng.random() < 0.3  # PyTorch's norm is that of all groups together
        model = fastbp.mlp([4, 5, 3, 2], dtype="float64", rng=1)
        params = {name: torch.from_numpy(np.array(p)).requires_grad_() for name, p in model.parameters().items()}
        theirs = getattr(torch.optim, kind)(
            [
                {
                    "params": [p],
                    "lr": options["lr"] * of(groups, name, "lr_factor", 1.0),
                    "weight_decay": of(groups, name, "weight_decay", options["weight_decay"])
                    * of(groups, name, "weight_decay_factor", 1.0),
                }
                for name, p in params.items()
            ],
            **options,
        )
        optimizer = getattr(fastbp, kind)(**options, groups=groups)
        trainer = fastbp.Trainer(model, optimizer=optimizer, **({"clip_norm": 0.5, "clip_value": 0.4} if clips else {}))
        for _ in range(6):
            for name, p in params.items():
                p.grad = torch.from_numpy(rng.standard_normal(p.shape))
                model.gradients()[name][...] = p.grad.numpy()
            if clips:
                torch.nn.utils.clip_grad_value_(params.values(), 0.4)
                torch.nn.utils.clip_grad_norm_(params.values(), 0.5)
            trainer.update()
            theirs.step()
        for name, p in params.items():
            exact = p.detach().numpy()
            assert_allclose(model.parameters()[name], exact, 1e-10, 1e-12, err_msg=f"{name} {options} {groups}")


@EACH_WAY
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_step_is_the_phases_by_hand_on_any_number_of_threads(sizes, batch, clip):
    x, y = data(sizes, batch)
    results, before = [], fastbp.get_num_threads()
    try:
        for threads in (1, min(3, available_threads())):
            fastbp.set_num_threads(threads)
            one, other = (
                fastbp.Trainer(fastbp.mlp(sizes, rng=0), optimizer=fastbp.AdamW(1e-2, groups=GROUPS), clip_norm=clip)
                for _ in range(2)
            )
            for _ in range(3):
                one.step(x, y)
                out = other.forward(x)
                other.backward(fastbp.softmax_cross_entropy(out, y)[1])
                other.update()
            results += [one.model._params, other.model._params]
    finally:
        fastbp.set_num_threads(before)
    for found in results[1:]:
        assert_array_equal(found, results[0])


@EACH_WAY
@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_groups_of_the_same_numbers_change_no_bit(sizes, batch, name):
    x, y = data(sizes, batch)
    kind, _ = fastbp.train.optimizers.OPTIMIZERS[name]
    plain, grouped = (
        fastbp.Trainer(fastbp.mlp(sizes, rng=0), optimizer=kind(1e-2, weight_decay=0.1, groups=groups))
        for groups in (None, {"*": {"lr_factor": 1}, "*.bias": {"weight_decay": 0.1}, "0.*": {}})
    )
    for trainer in (plain, grouped):
        trainer.step(x, y)
        trainer.step(x, y)
    assert_array_equal(plain.model._params, grouped.model._params)


def test_the_decay_of_adamw_is_multiplied_by_the_factor_once():
    """A parameter without a gradient shrinks by ``lr * lr_factor * weight_decay``."""
    model = fastbp.mlp([3, 2], dtype="float64", rng=0)
    groups = {"*.weight": {"lr_factor": 5}}
    trainer = fastbp.Trainer(model, optimizer=fastbp.AdamW(0.01, weight_decay=0.2, groups=groups))
    before = model[0].weight.copy()
    model.gradients()["0.bias"][...] = 1
    trainer.update()
    assert_allclose(model[0].weight, before * (1 - 0.05 * 0.2), rtol=1e-15)


def layers_of_all_kinds(dtype):
    return fastbp.Sequential(
        fastbp.Embedding([3, 40], [2, 5], [1, 4], dtype=dtype, rng=0),
        fastbp.Periodic(3, 4, 3, in_features=10, dtype=dtype, rng=1),
        fastbp.LayerNorm(16, dtype=dtype),
        fastbp.Dense(16, 3, dtype=dtype, rng=2),
    )


@pytest.mark.parametrize("way", ["fused", "split", "by hand"])
@pytest.mark.parametrize("batch", [20, 1500])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_parameter_has_its_own_where_a_layer_has_several_in_one_matrix(way, batch, dtype):
    rng = np.random.default_rng(batch)
    x = rng.standard_normal((batch, 5))
    x[:, 1], x[:, 4] = rng.integers(0, 3, batch), rng.integers(0, 40, batch)
    model = layers_of_all_kinds(dtype)
    factors = {name: float(factor) for name, factor in zip(model.parameters(), range(1, 99), strict=False)}
    assert len(factors) >= 9
    groups = {name: {"lr_factor": factor} for name, factor in factors.items()}
    clip = 1e9 if way == "split" else None
    trainer = fastbp.Trainer(model, optimizer=fastbp.SGD(0.01, groups=groups), clip_norm=clip)
    before = {name: p.copy() for name, p in model.parameters().items()}
    y = rng.integers(0, 3, batch)
    if way == "by hand":
        out = trainer.forward(x)
        trainer.backward(fastbp.softmax_cross_entropy(out, y)[1])
        trainer.update()
    else:
        trainer.step(x, y)
    unit = np.finfo(dtype).eps
    for name, p in model.parameters().items():
        step = 0.01 * factors[name] * model.gradients()[name]
        assert_allclose(p, before[name] - step, 4 * unit, 4 * unit * np.abs(step).max(), err_msg=name)
        assert np.abs(step).max() > 0, name


def test_of_several_patterns_the_last_one_with_an_option_counts():
    model = fastbp.mlp([2, 2, 1], dtype="float64", rng=0)
    groups = {"1.*": {"lr_factor": 3}, "*.bias": {"lr_factor": 2}, "*": {"weight_decay": 0.0}}
    trainer = fastbp.Trainer(model, "mse", fastbp.SGD(1.0, weight_decay=9.0, groups=groups))
    before = {name: p.copy() for name, p in model.parameters().items()}
    for gradient in model.gradients().values():
        gradient[...] = 1
    trainer.update()
    moved = {name: float((before[name] - p).mean()) for name, p in model.parameters().items()}
    assert moved == pytest.approx({"0.weight": 1, "0.bias": 2, "1.weight": 3, "1.bias": 2})


def test_a_run_goes_on_from_a_checkpoint_and_a_pickle_to_the_same_bits(tmp_path):
    x, y = data((6, 9, 5, 4), 100)
    trainer, whole = (
        fastbp.Trainer(fastbp.mlp((6, 9, 5, 4), rng=0), optimizer=fastbp.NAdam(1e-2, groups=GROUPS)) for _ in range(2)
    )
    run = {"epochs": 3, "batch_size": 16, "rng": 1, "progress": False}
    whole.fit(x, y, **run)
    for twin in stopped(trainer, 7, tmp_path / "c", x, y, **run):
        assert twin.optimizer == whole.optimizer == copy.deepcopy(whole.optimizer)
        twin.fit(x, y, **run, resume=True)
        assert_array_equal(twin.model._params, whole.model._params)


def test_a_factor_multiplies_the_rates_of_a_schedule():
    """Powers of two round nothing."""
    x, y = data((6, 9, 4), 100)
    results = []
    for lr, groups in ((0.1, {"*": {"lr_factor": 2}}), (0.2, None)):
        optimizer = fastbp.AdamW(fastbp.schedules.cosine(lr, warmup=0.2), groups=groups)
        trainer = fastbp.Trainer(fastbp.mlp((6, 9, 4), rng=0), optimizer=optimizer)
        trainer.fit(x, y, epochs=3, batch_size=16, rng=1, progress=False)
        results.append(trainer.model._params)
    assert_array_equal(*results)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion"])
def test_a_factor_multiplies_the_decays_of_a_schedule(name):
    """Powers of two round nothing."""
    x, y = data((6, 9, 4), 100)
    kind, _ = fastbp.train.optimizers.OPTIMIZERS[name]
    decay, none = fastbp.schedules.flat_cosine(0.5), {"*.bias": {"weight_decay": 0}, "1.*": {"weight_decay": 0}}
    same = {"*.bias": {"weight_decay": 0}, "1.*": {"weight_decay_factor": 0}, "0.weight": {"weight_decay_factor": 2}}
    results = []
    for number, groups in ((2 * decay, none), (decay, same)):
        optimizer = kind(0.01, weight_decay=number, groups=groups)
        trainer = fastbp.Trainer(fastbp.mlp((6, 9, 4), rng=0), optimizer=optimizer)
        trainer.fit(x, y, epochs=3, batch_size=16, rng=1, progress=False)
        results.append(trainer.model._params)
    assert_array_equal(*results)


def test_all_at_once_goes_on_to_the_same_bits(tmp_path):
    """A schedule, groups, clipping and averages, stopped in the middle of an epoch."""
    x, y = data((6, 9, 5, 4), 100)
    optimizer = fastbp.AdamW(fastbp.schedules.cosine(0.02, warmup=0.2), amsgrad=True, groups=GROUPS)
    trainer, whole = (
        fastbp.Trainer(fastbp.mlp((6, 9, 5, 4), rng=0), optimizer=optimizer, clip_norm=0.5, ema=0.9) for _ in range(2)
    )
    run = {"epochs": 3, "batch_size": 16, "rng": 1, "validation_data": (x, y), "progress": False}
    history = whole.fit(x, y, **run)
    loaded, *_ = stopped(trainer, 7, tmp_path / "c", x, y, **run)
    assert loaded.fit(x, y, **run, resume=True) == history
    assert_array_equal(loaded.model._params, whole.model._params)
    assert_array_equal(loaded.averaged_model()._params, whole.averaged_model()._params)


@pytest.mark.parametrize("change", ["in place", "another", "none"])
def test_groups_may_change_between_steps(change):
    x, y = data((6, 4), 30)
    trainer, fresh = (
        fastbp.Trainer(fastbp.mlp((6, 4), rng=0), optimizer=fastbp.SGD(0.1, groups=groups))
        for groups in ({"*.bias": {"lr_factor": 0.1}}, None)
    )
    trainer.step(x, y)
    fresh.model._params[...] = trainer.model._params
    if change == "in place":
        trainer.optimizer.groups["*.bias"]["lr_factor"] = 3.0
        fresh.optimizer.groups = {"*.bias": {"lr_factor": 3.0}}
    elif change == "another":
        trainer.optimizer.groups = fresh.optimizer.groups = {"0.weight": {"lr_factor": 0.0}}
    else:
        trainer.optimizer.groups = None
    for each in (trainer, fresh):
        each.step(x, y)
    assert_array_equal(trainer.model._params, fresh.model._params)


@pytest.mark.parametrize(
    ("groups", "error", "match"),
    [
        ({"2.*": {}}, ValueError, r"Adam expects a pattern of groups to match 0.weight, 0.bias; got '2.\*'"),
        ({"*": {"lr": 1}}, ValueError, "to be one of lr_factor, weight_decay, weight_decay_factor; got 'lr'"),
        ({"*": {"lr_factor": -1}}, ValueError, r"lr_factor of groups\['\*'\] at least 0"),
        ({"*": {"weight_decay": "1"}}, TypeError, "to be a number"),
        ({"*": {"weight_decay_factor": -0.5}}, ValueError, r"weight_decay_factor of groups\['\*'\] at least 0"),
        ({"*": 0.1}, TypeError, "options by patterns of names"),
        ([("*", {})], TypeError, "options by patterns of names"),
    ],
)
def test_what_no_step_would_take_is_refused_before_anything_changes(groups, error, match):
    with pytest.raises(error, match=match):
        fastbp.Trainer(fastbp.mlp([3, 2], rng=0), optimizer=fastbp.Adam(groups=groups))
    trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0))
    x, y = data((3, 2), 5)
    trainer.step(x, y)
    trainer.optimizer.groups = groups
    before = trainer.model._params.copy()
    with pytest.raises(error, match=match):
        trainer.step(x, y)
    assert_array_equal(trainer.model._params, before)
    trainer.optimizer.groups = None
    trainer.step(x, y)
