"""Schedules: a number for each step, inside compiled calls."""

import gc
import pickle
import signal
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp import schedules
from fastbp._base.schedule_file import from_file, to_file
from fastbp.kernels.run.frame import COUNTER, SEED

torch = pytest.importorskip("torch")
from torch.optim import lr_scheduler as twins  # noqa: E402

ROWS, BATCH, FEATURES = 90, 13, 6
MOST = fastbp.get_num_threads()
STEPS = -(-ROWS // BATCH)  # of an epoch
CURVES = list(schedules.CURVES.values())


def half(progress):
    return 0.02 if progress < 0.5 else 0.01


def some_data(dtype="float32"):
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, FEATURES)).astype(dtype), rng.integers(0, 3, ROWS)


def everything(dropout=None, **more):
    """Return a trainer all of whose numbers are scheduled, with class weights, groups, clipping and averages."""
    layers = [fastbp.Dense(FEATURES, 16, "relu", rng=0), fastbp.Dense(16, 3, rng=1)]
    layers.insert(1, fastbp.Residual(fastbp.Dropout(schedules.flat_cosine(0.4) if dropout is None else dropout)))
    optimizer = fastbp.AdamW(
        schedules.cosine(2e-2, warmup=0.1),
        (schedules.one_cycle(0.85, div_factor=0.85 / 0.95, final_div_factor=1), schedules.linear(0.9, 0.999)),
        weight_decay=schedules.function(half),
        groups={"*.bias": {"weight_decay": 0.0, "lr_factor": 0.5}},
    )
    loss = fastbp.CrossEntropyLoss(weight=[1.0, 2.0, 0.5])
    return fastbp.Trainer(fastbp.Sequential(*layers), loss, optimizer, clip_norm=0.5, ema=0.9, rng=3, **more)


# The curves


def rates_of(make_twin, steps, lr):
    """Return the rates that a scheduler of PyTorch's gives."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make_twin(optimizer), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer.step() came before
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return rates


def random_twins(rng):
    """Return pairs of a schedule and how PyTorch makes it, of random options."""
    n, lr, end = int(rng.integers(8, 200)), float(rng.uniform(1e-4, 2)), float(rng.uniform(0, 1e-4))
    gamma, every, power = float(rng.uniform(0.1, 1)), int(rng.integers(1, n + 5)), float(rng.uniform(0.3, 4))
    factor, start = int(rng.integers(1, 4)), float(rng.uniform(0.15, 0.45))
    kind = "cos" if rng.random() < 0.5 else "linear"
    w = int(rng.integers(1, n - 1))
    cycle = {
        "pct_start": start,
        "div_factor": float(rng.uniform(1, 30)),
        "final_div_factor": float(rng.uniform(1, 1e5)),
    }
    cycle |= {"anneal_strategy": kind, "three_phase": bool(rng.random() < 0.5)}
    pairs = [
        (schedules.constant(lr), lambda o: twins.ConstantLR(o, 1.0)),
        (schedules.linear(lr, lr * gamma), lambda o: twins.LinearLR(o, 1.0, gamma, n)),
        (schedules.polynomial(lr, power=power), lambda o: twins.PolynomialLR(o, n, power)),
        (schedules.exponential(lr, gamma, every=1), lambda o: twins.ExponentialLR(o, gamma)),
        (schedules.step(lr, gamma, every=every), lambda o: twins.StepLR(o, every, gamma)),
        (schedules.cosine(lr, end), lambda o: twins.CosineAnnealingLR(o, n, end)),
        (
            schedules.cosine_restarts(lr, end, every=every, factor=factor),
            lambda o: twins.CosineAnnealingWarmRestarts(o, every, factor, end),
        ),
        (
            schedules.one_cycle(lr, **cycle),
            lambda o: twins.OneCycleLR(o, lr, total_steps=n + 1, cycle_momentum=False, **cycle),
        ),
        (
            schedules.cosine(lr, end, warmup=w),
            lambda o: twins.SequentialLR(
                o, [twins.LinearLR(o, 1 / (w + 1), 1.0, w), twins.CosineAnnealingLR(o, n - w, end)], [w]
            ),
        ),
    ]
    return n, lr, pairs


@pytest.mark.parametrize("seed", range(20))
def test_curves_are_those_of_pytorch(seed):
    n, lr, pairs = random_twins(np.random.default_rng(seed))
    for schedule, make_twin in pairs:
        steps = n
        if isinstance(schedule, schedules.one_cycle):  # PyTorch counts a step more than it takes rates
            steps = n + 1
        expected = rates_of(make_twin, n, lr)
        # PyTorch computes each rate from the one before, so that errors add up: a few units in the last place a step
        assert_allclose(schedule.values(steps)[:n], expected, rtol=4e-15 * n, atol=1e-13 * lr, err_msg=repr(schedule))


@pytest.mark.parametrize("seed", range(10))
def test_one_cycle_of_a_momentum_is_pytorchs(seed):
    rng = np.random.default_rng(seed)
    n, low, high = int(rng.integers(8, 100)), float(rng.uniform(0.5, 0.8)), float(rng.uniform(0.85, 0.99))
    start, three = float(rng.uniform(0.2, 0.45)), bool(rng.random() < 0.5)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    options = {"pct_start": start, "three_phase": three}
    twin, expected = twins.OneCycleLR(optimizer, 0.1, n, base_momentum=low, max_momentum=high, **options), []
    for step in range(n):
        expected.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if step < n - 1:
            twin.step()
    cycle = schedules.one_cycle(low, div_factor=low / high, final_div_factor=1, **options)
    assert_allclose(cycle.values(n), expected, rtol=1e-13)


@pytest.mark.parametrize("name", schedules.CURVES)
def test_schedules_have_names(name):
    assert schedules.named(name, 0.5) == getattr(schedules, name)(0.5)
    with pytest.raises(ValueError, match=r"schedules\.named expects name to be one of constant, linear"):
        schedules.named("sine", 0.5)


def test_coslog4_is_as_published():
    t = np.arange(1000) / 1000
    expected = 0.04 * (0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * t)))
    assert_allclose(schedules.coslog4(0.04).values(1000), expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("kind", CURVES)
def test_lengths_are_steps_or_parts_of_the_run(kind):
    lengths = {name: (7, 0.25) for name in kind._lengths}
    steps, parts = (kind(0.3, **{name: pair[i] for name, pair in lengths.items()}) for i in (0, 1))
    if not kind._lengths:
        assert_array_equal(steps.values(28), parts.values(28))
    elif kind._lengths == ("warmup",):
        assert_allclose(steps.values(28), parts.values(28), rtol=1e-14)
    alone = kind(0.3, **{name: 7 if name == "warmup" else default(kind, name) for name in kind._lengths})
    if "warmup" in kind._lengths:  # the curve after it is that of a run without those steps
        without = kind(0.3, **{name: 0 if name == "warmup" else default(kind, name) for name in kind._lengths})
        assert_allclose(alone.values(28)[7:], without.values(21), rtol=1e-14)
        assert_allclose(alone.values(28)[:7], 0.3 * np.arange(1, 8) / 8, rtol=1e-14)


def default(kind, name):
    return next(option.default for option in kind._options() if option.name == name)


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("total", [1, 2, 3, 7, 100])
def test_every_curve_stays_between_its_levels_and_ends_where_it_ends(kind, total):
    schedule = kind(0.3)
    values = schedule.values(total, 0, total + 5)
    low, high = min(schedule._levels()), max(schedule._levels())
    assert values.min() >= min(low, 0) - 1e-15
    assert values.max() <= high + 1e-15
    assert (values[total:] == values[total]).all()  # beyond the run, the number of progress 1
    assert_array_equal(values[1:4], schedule.values(total, 1, 3))


@pytest.mark.parametrize("kind", CURVES)
def test_the_number_of_a_step_does_not_depend_on_the_steps_beside_it(kind):
    rng = np.random.default_rng(0)
    schedule = kind(0.3)
    whole = schedule.values(1000)
    for first, end in np.sort(rng.integers(0, 1001, (50, 2))).tolist():
        assert schedule.values(1000, first, end - first).tobytes() == whole[first:end].tobytes()


def test_steps_by_thirds_change_where_a_third_ends():
    for total in (3, 9, 90, 99, 300, 3 * 10**7):
        third = total // 3
        first = schedules.step(1.0).values(total, third - 1, 2), schedules.step(1.0).values(total, 2 * third - 1, 2)
        assert_allclose(first, [[1.0, 0.1], [0.1, 0.01]], rtol=1e-12)


def test_a_schedule_times_a_number():
    schedule = schedules.cosine(0.2, warmup=3)
    for scaled in (schedule * 0.5, 0.5 * schedule, schedule / 2, schedule * 5 / 10):
        assert_allclose(scaled.values(10), schedule.values(10) / 2, rtol=1e-15)
    assert repr(schedule / 2) == "0.5 * cosine(0.2, warmup=3)"
    with pytest.raises(TypeError):
        schedule * "a"


@pytest.mark.parametrize(
    "schedule", [*[kind(0.25) for kind in CURVES], schedules.function(half), schedules.cosine(0.1, warmup=5) * 0.3]
)
def test_schedules_go_through_pickles_and_files(schedule):
    for copy in (pickle.loads(pickle.dumps(schedule)), from_file(to_file(schedule), {"half": half})):
        assert copy == schedule
        assert repr(copy) == repr(schedule)
        assert_array_equal(copy.values(30), schedule.values(30))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.cosine(-1), "cosine expects value at least 0, got -1"),
        (lambda: schedules.cosine(0.1, warmup=1.5), r"cosine expects warmup in \[0, 1\], got 1.5"),
        (lambda: schedules.cosine(0.1, warmup=-1), "cosine expects warmup of at least 0, got -1"),
        (lambda: schedules.step(0.1, every=0), "step expects every of at least 1, got 0"),
        (lambda: schedules.step(0.1, every=0.0), "step expects every greater than 0, got 0.0"),
        (lambda: schedules.one_cycle(0.1, div_factor=0), "one_cycle expects div_factor greater than 0, got 0"),
        (
            lambda: schedules.one_cycle(0.1, anneal_strategy="x"),
            "one_cycle expects anneal_strategy to be one of cos, lin",
        ),
        (lambda: schedules.cosine_restarts(0.1, factor=0.5), "cosine_restarts expects factor at least 1, got 0.5"),
        (lambda: schedules.function(3), "function expects formula to be a function of the progress, got 3"),
        (lambda: schedules.linear(0.1).values(0), "linear expects total of at least 1, got 0"),
        (lambda: fastbp.SGD(schedules.linear("a")), "linear expects value to be a number, got 'a'"),
        (lambda: fastbp.Adam(betas=(schedules.linear(1.5), 0.9)), r"Adam expects betas\[0\]=linear\(1.5\) in \[0, 1\)"),
        (lambda: fastbp.Adam(eps=schedules.linear(1e-3)), "Adam expects eps to be a number, got linear"),
        (lambda: fastbp.Dropout(schedules.linear(1.5)), r"Dropout expects p=linear\(1.5\) in \[0, 1\], got 1.5"),
        (lambda: fastbp.LayerNorm(4, eps=schedules.linear(1e-3)), "LayerNorm expects eps to be a number, got linear"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# In a fit


class Steps(fastbp.Callback):
    """Notes something of the trainer after each step."""

    every = 1

    def __init__(self, look):
        self.look, self.seen = look, []

    def on_steps_end(self, trainer):
        self.seen.append(self.look(trainer))


@fastbp.row_loss
def slope_of_one(z, target, dz):
    dz[0] = 1.0
    return z[0]


def numpy_slope(z, target):
    return float(z.mean()), np.full(z.shape, 1 / len(z))


@pytest.mark.parametrize("loss", [slope_of_one, numpy_slope])
@pytest.mark.parametrize("clip", [None, 1e6])
def test_the_rate_of_every_step_of_a_fit(loss, clip):
    """The gradient of the bias is 1 in all steps, so each step moves it by the rate."""
    epochs = 3
    schedule = schedules.one_cycle(0.5, div_factor=3, final_div_factor=7)
    model = fastbp.Sequential(fastbp.Dense(2, 1, dtype="float64", rng=0))
    trainer = fastbp.Trainer(model, loss, fastbp.SGD(schedule), clip_norm=clip)
    seen = Steps(lambda trainer: float(trainer.model[0].bias[0]))
    x = np.zeros((ROWS, 2))
    history = trainer.fit(x, np.zeros((ROWS, 1)), epochs=epochs, batch_size=BATCH, callbacks=[seen], progress=False)
    rates = -np.diff([0.0, *seen.seen])
    assert_allclose(rates, schedule.values(epochs * STEPS), rtol=1e-12, atol=1e-14)
    assert history["lr"] == schedule.values(epochs * STEPS)[STEPS - 1 :: STEPS].tolist()  # of each epoch's last step
    alone = fastbp.Trainer(
        fastbp.Sequential(fastbp.Dense(2, 1, dtype="float64", rng=0)), loss, fastbp.SGD(schedule), clip_norm=clip
    )  # in calls of many steps
    alone.fit(x, np.zeros((ROWS, 1)), epochs=epochs, batch_size=BATCH, progress=False)
    assert alone.model._params.tobytes() == model._params.tobytes()


@pytest.mark.parametrize("threads", [1, MOST])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_is_the_steps_between_which_the_numbers_are_set(threads, dtype):
    x, y = some_data(dtype)
    epochs, total = 2, 2 * STEPS
    curves = {
        "lr": schedules.cosine(2e-2, warmup=0.2),
        "weight_decay": schedules.step(0.1, 0.3, every=3),
        "first": schedules.linear(0.95, 0.5),
        "second": schedules.polynomial(0.99, 0.9),
    }
    columns = {name: curve.values(total).tolist() for name, curve in curves.items()}
    betas = curves["first"], curves["second"]

    def make(optimizer):
        return fastbp.Trainer(fastbp.mlp([FEATURES, 16, 3], dtype=dtype, rng=0), optimizer=optimizer)

    before = fastbp.get_num_threads()
    fastbp.set_num_threads(threads)
    try:
        fitted = make(fastbp.Adam(curves["lr"], betas, weight_decay=curves["weight_decay"]))
        fitted.fit(x, y, epochs=epochs, batch_size=BATCH, shuffle=False, progress=False)
        stepped = make(fastbp.Adam())
        phased = make(fastbp.Adam(curves["lr"], betas, weight_decay=curves["weight_decay"]))
        phased._total_steps = total
        for i in range(total):
            rows = slice(i % STEPS * BATCH, (i % STEPS + 1) * BATCH)
            own = stepped.optimizer
            own.lr, own.weight_decay = columns["lr"][i], columns["weight_decay"][i]
            own.betas = columns["first"][i], columns["second"][i]
            stepped.step(x[rows], y[rows])
            _, dz = phased.loss.evaluate(phased.forward(x[rows]), y[rows])
            phased.backward(dz)
            phased.update()
    finally:
        fastbp.set_num_threads(before)
    assert fitted.model._params.tobytes() == stepped.model._params.tobytes()
    assert phased.model._params.tobytes() == stepped.model._params.tobytes()


def test_bias_is_corrected_by_the_product_of_the_betas():
    """In float64, beside the formulas; PyTorch takes the last beta to the power of the steps."""
    x, y = some_data("float64")
    total, lr = STEPS, 1e-2
    betas = schedules.linear(0.5, 0.9), schedules.linear(0.9, 0.999)
    model, twin = (fastbp.mlp([FEATURES, 3], dtype="float64", rng=0) for _ in range(2))
    trainer = fastbp.Trainer(model, optimizer=fastbp.Adam(lr, betas))
    trainer.fit(x, y, batch_size=BATCH, shuffle=False, progress=False)
    first, second = (beta.values(total) for beta in betas)
    m, s, params = np.zeros_like(twin._params), np.zeros_like(twin._params), twin._params
    for i in range(total):
        rows = slice(i * BATCH, (i + 1) * BATCH)
        twin.backward(fastbp.softmax_cross_entropy(twin.forward(x[rows]), y[rows])[1])
        m = first[i] * m + (1 - first[i]) * twin._grads
        s = second[i] * s + (1 - second[i]) * twin._grads**2
        mean, square = m / (1 - np.prod(first[: i + 1])), s / (1 - np.prod(second[: i + 1]))
        params -= lr * mean / (np.sqrt(square) + 1e-8)
    assert_allclose(model._params, params, rtol=1e-11)


def test_class_weights_change_no_number():
    """The first step with class weights gives the kernels a new table of addresses."""
    x, y = some_data()
    params = []
    for lr in (schedules.constant(0.1), 0.1):
        loss = fastbp.CrossEntropyLoss(weight=[1.0, 2.0, 0.5])
        trainer = fastbp.Trainer(fastbp.mlp([FEATURES, 3], rng=0), loss, fastbp.SGD(lr), total_steps=9)
        trainer.step(x, y)
        trainer.fit(x, y, rng=0, progress=False)
        params.append(trainer.model._params.tobytes())
    assert params[0] == params[1]


def test_each_step_drops_as_its_schedule_says():
    x, y = some_data()
    schedule = schedules.linear(0.9, 0.1)
    trainer = fastbp.Trainer(model_with(schedule), optimizer=fastbp.SGD(0.1))
    trainer.fit(x, y, batch_size=BATCH, shuffle=False, rng=4, progress=False)
    params = model_with(0.0)._params.copy()
    for i, p in enumerate(schedule.values(STEPS).tolist()):
        one = fastbp.Trainer(model_with(p), optimizer=fastbp.SGD(0.1))
        one.model._params[:] = params
        one._settings[[SEED, COUNTER]] = trainer._settings[SEED], i
        rows = slice(i * BATCH, (i + 1) * BATCH)
        one.step(x[rows], y[rows])
        params = one.model._params.copy()
    assert trainer.model._params.tobytes() == params.tobytes()


def test_the_gradient_of_x_has_the_same_mask():
    """Of ones through Dropout alone: what is kept has the scale, in the output and in the gradient of x."""
    schedule = schedules.linear(0.9)
    layers = fastbp.Dropout(schedule), fastbp.Dense(FEATURES, FEATURES, init=lambda rng, shape: np.eye(FEATURES))
    trainer = fastbp.Trainer(fastbp.Sequential(*layers), "mse", fastbp.SGD(0.0), total_steps=5, rng=0)
    x = np.ones((400, FEATURES), np.float32)
    for p in schedule.values(5):
        out = trainer.forward(x)
        dx = trainer.backward(np.ones_like(out), input_gradient=True)
        trainer.update()
        assert_array_equal(dx, out)
        assert abs((out == 0).mean() - p) < 0.05


def test_pytorchs_dropout_has_one_p():
    with pytest.raises(ValueError, match=r"to_torch expects numbers, got p=cosine\(0.1\) of Dropout"):
        model_with(schedules.cosine(0.1)).to_torch()


def model_with(p):
    return fastbp.Sequential(
        fastbp.Dense(FEATURES, 16, "tanh", rng=0), fastbp.Residual(fastbp.Dropout(p)), fastbp.Dense(16, 3, rng=1)
    )


def test_a_constant_schedule_has_the_bits_of_the_number():
    x, y = some_data()
    asked = {"epochs": 2, "batch_size": BATCH, "rng": 1, "progress": False}
    number = fastbp.Trainer(model_with(0.3), optimizer=fastbp.SGD(0.1, momentum=0.9, weight_decay=0.01))
    curve = fastbp.Trainer(
        model_with(schedules.constant(0.3)),
        optimizer=fastbp.SGD(
            schedules.constant(0.1), momentum=schedules.constant(0.9), weight_decay=schedules.constant(0.01)
        ),
    )
    number.fit(x, y, **asked)
    curve.fit(x, y, **asked)
    assert number.model._params.tobytes() == curve.model._params.tobytes()
    assert_array_equal(number.model.predict(x), curve.model.predict(x))


class Stop(Exception):
    pass


class StopAt(fastbp.Callback):
    every = 1

    def __init__(self, step, path=None):
        self.step, self.path = step, path

    def on_steps_end(self, trainer):
        if trainer.steps == self.step:
            if self.path:
                trainer.save_checkpoint(self.path)
            raise Stop


@pytest.mark.parametrize("how", ["same", "pickle", "checkpoint"])
@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS, STEPS + 3])
def test_a_run_resumed_at_any_step_ends_as_if_never_interrupted(how, step, tmp_path):
    x, y = some_data()
    asked = {"epochs": 3, "batch_size": BATCH, "rng": 2, "progress": False}
    whole = everything()
    expected = whole.fit(x, y, **asked)
    part, path = everything(), tmp_path / "run.checkpoint"
    with pytest.raises(Stop):
        part.fit(x, y, callbacks=[StopAt(step, path)], **asked)
    if how == "pickle":
        part = pickle.loads(pickle.dumps(part))
    elif how == "checkpoint":
        part = fastbp.Trainer.load_checkpoint(path, schedules=[half])
    history = part.fit(x, y, resume=True, **asked)
    assert part.model._params.tobytes() == whole.model._params.tobytes()
    assert part._state.tobytes() == whole._state.tobytes()
    assert dict(history) == dict(expected)


def test_a_run_resumed_for_more_epochs_goes_on_along_the_curve_of_all_of_them():
    x, y = np.zeros((ROWS, 2)), np.zeros((ROWS, 1))
    schedule = schedules.linear(1.0)
    model = fastbp.Sequential(fastbp.Dense(2, 1, dtype="float64", rng=0))
    trainer = fastbp.Trainer(model, slope_of_one, fastbp.SGD(schedule))
    seen = Steps(lambda trainer: float(trainer.model[0].bias[0]))
    asked = {"batch_size": BATCH, "callbacks": [seen], "progress": False, "resume": True}
    trainer.fit(x, y, epochs=2, **asked)
    trainer.fit(x, y, epochs=5, **asked)
    rates = -np.diff([0.0, *seen.seen])
    expected = [*schedule.values(2 * STEPS), *schedule.values(5 * STEPS, 2 * STEPS)]
    assert_allclose(rates, expected, rtol=1e-12)
    before = len(seen.seen)
    trainer.fit(x, y, epochs=1, batch_size=BATCH, callbacks=[seen], progress=False)  # a new run begins its own
    assert_allclose(-np.diff(seen.seen[before - 1 :]), schedule.values(STEPS), rtol=1e-12)


def test_total_steps_counts_all_updates_of_a_trainer():
    x, y = some_data()
    total = 3 * STEPS
    whole, pieces = everything(total_steps=total), everything(total_steps=total)
    whole.fit(x, y, epochs=3, batch_size=BATCH, shuffle=False, rng=9, progress=False)
    pieces._set_draws(int(whole._settings[SEED]), 0)
    for i in range(total):
        rows = slice(i % STEPS * BATCH, (i % STEPS + 1) * BATCH)
        if i % 3:
            pieces.step(x[rows], y[rows])
        else:
            _, dz = pieces.loss.evaluate(pieces.forward(x[rows]), y[rows])
            pieces.backward(dz)
            pieces.update()
        if i == 5:
            pieces = pickle.loads(pickle.dumps(pieces))
    assert pieces.model._params.tobytes() == whole.model._params.tobytes()
    before = whole.model._params.copy()
    whole.optimizer.weight_decay = 0.0
    whole.step(x, y)  # beyond its end the cosine stays at 0
    assert_array_equal(whole.model._params, before)
    assert whole.total_steps == total


@pytest.mark.parametrize("which", ["lr", "p"])
def test_steps_outside_of_fit_are_refused_without_total_steps(which):
    x, y = some_data()
    if which == "lr":
        trainer = fastbp.Trainer(fastbp.mlp([FEATURES, 3], rng=0), optimizer=fastbp.SGD(schedules.cosine(0.1)))
    else:
        trainer = fastbp.Trainer(model_with(schedules.cosine(0.1)))
    before = trainer.model._params.copy()
    for call in (lambda: trainer.step(x, y), lambda: trainer.forward(x)):
        with pytest.raises(ValueError, match="Trainer expects total_steps"):
            call()
    trainer.model.gradients()["0.bias"][:] = 1
    with pytest.raises(ValueError, match="Trainer expects total_steps"):
        trainer.update()
    assert_array_equal(trainer.model._params, before)
    trainer.fit(x, y, progress=False)
    with pytest.raises(ValueError, match="Trainer expects total_steps"):
        trainer.step(x, y)


def test_callbacks_may_set_scale_and_replace_a_schedule():
    x, y = np.zeros((ROWS, 2)), np.zeros((ROWS, 1))
    schedule, other = schedules.linear(1.0), schedules.cosine(2.0)

    class Change(fastbp.Callback):
        every = 1

        def on_steps_end(self, trainer):
            seen.append(float(trainer.model[0].bias[0]))
            if trainer.steps == 3:
                trainer.optimizer.lr /= 2
            elif trainer.steps == 5:
                trainer.optimizer.lr = 0.25
            elif trainer.steps == 8:
                trainer.optimizer = fastbp.SGD(other)

    seen = []
    trainer = fastbp.Trainer(
        fastbp.Sequential(fastbp.Dense(2, 1, dtype="float64", rng=0)), slope_of_one, fastbp.SGD(schedule)
    )
    trainer.fit(x, y, epochs=2, batch_size=BATCH, callbacks=[Change()], progress=False)
    n = 2 * STEPS
    expected = [*schedule.values(n, 0, 3), *schedule.values(n, 3, 2) / 2, *[0.25] * 3, *other.values(n, 8)]
    assert_allclose(-np.diff([0.0, *seen]), expected, rtol=1e-12)


def test_a_step_of_a_callback_has_the_numbers_of_the_runs_next_step():
    schedule = schedules.linear(1.0)
    trainer = fastbp.Trainer(
        fastbp.Sequential(fastbp.Dense(2, 1, dtype="float64", rng=0)), slope_of_one, fastbp.SGD(schedule)
    )

    class Own(fastbp.Callback):
        every = 1

        def on_steps_end(self, trainer):
            before = float(trainer.model[0].bias[0])
            trainer.step(np.zeros((3, 2)), np.zeros((3, 1)))
            moved.append(before - float(trainer.model[0].bias[0]))

    moved = []
    trainer.fit(np.zeros((ROWS, 2)), np.zeros((ROWS, 1)), batch_size=BATCH, callbacks=[Own()], progress=False)
    assert_allclose(moved, schedule.values(STEPS, 1, STEPS), rtol=1e-12)


def out_of_range(progress):
    return 1.5 if progress > 0.5 else 0.5


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("lr", "<lambda> expects its result at 0.5.* to be a number, got 'a'"),
        ("momentum", "SGD expects momentum at least 0, got -1"),
        ("p", r"dropout expects p in \[0, 1\], got 1.5"),
        ("beta", r"Adam expects betas\[1\] in \[0, 1\), got 1.5"),
    ],
)
def test_a_function_that_gives_what_cannot_be_ends_the_fit_before_its_steps(place, message):
    x, y = some_data()
    optimizer, p = fastbp.SGD(0.1), 0.1
    if place == "lr":
        optimizer = fastbp.SGD(schedules.function(lambda t: "a" if t > 0.5 else 0.1))
    elif place == "momentum":
        optimizer = fastbp.SGD(0.1, momentum=schedules.function(lambda t: -1.0 if t > 0.5 else 0.1))
    elif place == "p":
        p = schedules.function(out_of_range)
    else:
        optimizer = fastbp.Adam(betas=(0.9, schedules.function(out_of_range)))
    trainer = fastbp.Trainer(model_with(p), optimizer=optimizer)
    before = trainer.model._params.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        trainer.fit(x, y, batch_size=BATCH, progress=False)
    assert_array_equal(trainer.model._params, before)


def test_files_have_functions_by_name_and_digest(tmp_path):
    x, y = some_data()
    trainer = everything(dropout=schedules.function(half))
    trainer.fit(x, y, progress=False, rng=0)
    trainer.save_checkpoint(tmp_path / "a")
    trainer.model.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="function 'half' of your own"):
        fastbp.Trainer.load_checkpoint(tmp_path / "a")
    with pytest.raises(ValueError, match="function 'half' of your own"):
        fastbp.load(tmp_path / "m.safetensors")
    loaded = fastbp.load(tmp_path / "m.safetensors", schedules=[half])
    assert_array_equal(loaded.predict(x), trainer.model.predict(x))
    assert loaded[1].layers[0].p == schedules.function(half)
    twin = fastbp.Trainer.load_checkpoint(tmp_path / "a", schedules=[half])
    assert twin.optimizer == trainer.optimizer
    other = lambda t: 0.5  # noqa: E731
    other.__name__ = "half"
    with pytest.warns(UserWarning, match="another source"):
        fastbp.Trainer.load_checkpoint(tmp_path / "a", schedules=[other])
    with pytest.raises(TypeError, match="load_checkpoint expects schedules to be functions of your own, got 3"):
        fastbp.Trainer.load_checkpoint(tmp_path / "a", schedules=[3])


def test_a_fit_with_schedules_allocates_as_much_for_many_steps_as_for_few():
    """But for the order of the rows and the record of the steps: 8 bytes a row, and 32 a step."""
    batch, few, many = 8, 500, 2_000
    x, y = np.zeros((many * batch, 2), np.float32), np.zeros((many * batch, 1), np.float32)
    peaks = []
    for steps in (few, few, many):
        model = fastbp.Sequential(fastbp.Dropout(schedules.linear(0.5)), fastbp.Dense(2, 1, rng=0))
        lr = schedules.cosine(0.1)
        optimizer = fastbp.Adam(lr, (schedules.linear(0.9), 0.99), weight_decay=schedules.linear(0.1))
        trainer = fastbp.Trainer(model, "mse", optimizer)
        rows = slice(0, steps * batch)
        gc.collect()
        tracemalloc.start()
        trainer.fit(x[rows], y[rows], batch_size=batch, progress=False, rng=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    a_step = (peaks[2] - peaks[1]) / (many - few)
    assert a_step < 2 * (8 * batch + 32)


def test_a_step_whose_loss_is_not_finite_ends_a_run_with_schedules():
    x, y = some_data()
    x[70] = np.nan
    trainer, twin = everything(), everything()
    with pytest.raises(fastbp.NotFiniteError):
        trainer.fit(x, y, batch_size=BATCH, shuffle=False, rng=0, progress=False)
    with pytest.raises(Stop):
        twin.fit(x, y, batch_size=BATCH, shuffle=False, rng=0, callbacks=[StopAt(70 // BATCH)], progress=False)
    assert trainer.model._params.tobytes() == twin.model._params.tobytes()
    assert trainer._state.tobytes() == twin._state.tobytes()


def test_ctrl_c_at_any_moment_changes_no_number(monkeypatch):
    monkeypatch.setattr("fastbp._base.pace.CALL_SECONDS", 0.0)
    x, y = some_data()
    asked = {"epochs": 60, "batch_size": BATCH, "rng": 0, "progress": False, "resume": True}
    straight, trainer = everything(), everything()
    straight.fit(x, y, **asked)
    rng, interrupts, ended = np.random.default_rng(0), 0, False
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        while not ended:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 4e-3))
                trainer.fit(x, y, **asked)
                signal.setitimer(signal.ITIMER_REAL, 0)
                ended = True
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts % 10 == 0:
                    trainer = pickle.loads(pickle.dumps(trainer))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 5
    assert trainer.steps == straight.steps
    assert trainer.model._params.tobytes() == straight.model._params.tobytes()
    assert dict(trainer.history) == dict(straight.history)
