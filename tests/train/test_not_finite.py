"""`fit` ends before the first step whose loss is not finite, says why, and goes on where that is mended."""

import pickle

import numpy as np
import pytest

import fastbp

LOSSES = {
    "softmax_cross_entropy": lambda rng, n: rng.integers(0, 4, n),
    "probabilities": lambda rng, n: rng.dirichlet(np.ones(4), n),
    "mse": lambda rng, n: rng.standard_normal((n, 4)),
    "binary_cross_entropy_with_logits": lambda rng, n: rng.random((n, 4)),
    "gaussian_nll": lambda rng, n: rng.standard_normal((n, 2)),
}
OPTIMIZERS = [
    lambda: fastbp.SGD(0.01),
    lambda: fastbp.SGD(0.01, momentum=0.9, nesterov=True),
    lambda: fastbp.Adam(0.01),
    lambda: fastbp.AdamW(0.01),
    lambda: fastbp.RMSprop(0.001),
]


class Spoil(fastbp.Callback):
    """Spoils something at the end of an epoch."""

    def __init__(self, epoch, spoil):
        self.epoch, self.spoil = epoch, spoil

    def on_epoch_end(self, trainer, epoch, figures):
        if epoch == self.epoch:
            self.spoil(trainer)


def case(seed):
    """Return a random run: data, what makes its trainer, the arguments of `fit`."""
    rng = np.random.default_rng(seed)
    name = list(LOSSES)[seed % len(LOSSES)]
    dtype = rng.choice(["float32", "float64"])
    rows = int(rng.integers(5, 90)) if seed % 7 else 1100  # gradients in chunks
    x = rng.standard_normal((rows, 5)).astype(dtype)
    y = LOSSES[name](rng, rows)
    y = y if y.dtype == np.int64 else y.astype(dtype)
    sizes = [5, *rng.integers(1, 30, rng.integers(0, 3)).tolist(), 4]
    activation = rng.choice(["relu", "tanh", "gelu", "softplus"])
    optimizer = OPTIMIZERS[rng.integers(len(OPTIMIZERS))]
    loss = "softmax_cross_entropy" if name == "probabilities" else name
    asked = {
        "epochs": 4, "batch_size": int(rng.integers(1, 25)) if seed % 7 else 1100, "rng": seed, "progress": False
    }  # fmt: skip
    return x, y, lambda: fastbp.Trainer(fastbp.mlp(sizes, activation, dtype=dtype, rng=seed), loss, optimizer()), asked


def assert_same_run(one, other):
    for name in ("_state", "_hyper"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert one.model._params.tobytes() == other.model._params.tobytes()
    assert one.steps == other.steps


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("what", ["x", "y", "sample_weight"])
def test_a_bad_number_ends_fit_before_its_step_is_made(what, seed):
    rng = np.random.default_rng(seed)
    x, y, make, asked = case(seed)
    weight = rng.uniform(0.5, 2, len(x)).astype(x.dtype) if what == "sample_weight" or seed % 2 else None
    spoilt = {"x": x, "y": y, "sample_weight": weight}[what]
    if spoilt.dtype == np.int64:  # labels cannot be NaN
        spoilt, what = x, "x"
    epoch, row = int(rng.integers(1, asked["epochs"])), int(rng.integers(len(x)))
    # relu and an infinity may make a zero
    value = np.nan if what != "sample_weight" else np.inf
    clean = spoilt.copy()

    def spoil(trainer):
        spoilt[row] = value

    trainer, stepped, straight = make(), make(), make()
    with pytest.raises(fastbp.NotFiniteError, match=f"{what} in row {row}") as found:
        trainer.fit(x, y, sample_weight=weight, callbacks=[Spoil(epoch, spoil)], **asked)
    spoilt[:] = clean

    orders, batch = np.random.default_rng(seed), asked["batch_size"]
    for number in range(1, epoch + 2):
        order = orders.permutation(len(x))
        for start in range(0, len(x), batch):
            rows, step = order[start : start + batch], start // batch + 1
            if number == epoch + 1 and row in rows:
                break
            stepped.step(x[rows], y[rows], None if weight is None else weight[rows])
    assert (found.value.epoch, found.value.step, found.value.rows.tolist()) == (epoch + 1, step, [row])
    assert pickle.loads(pickle.dumps(found.value)).step == step
    assert trainer.history.epochs == epoch
    assert_same_run(trainer, stepped)

    trainer.fit(x, y, sample_weight=weight, callbacks=[Spoil(0, None)], resume=True, **asked)
    straight.fit(x, y, sample_weight=weight, **asked)
    assert_same_run(trainer, straight)
    assert dict(trainer.history) == dict(straight.history)


@pytest.mark.parametrize("seed", range(10))
def test_a_parameter_that_is_not_finite_is_named(seed):
    rng = np.random.default_rng(seed)
    x, y, make, asked = case(seed)
    trainer = make()
    name = str(rng.choice(list(trainer.model.parameters())))

    def spoil(trainer):
        trainer.model.parameters()[name].flat[0] = np.nan

    with pytest.raises(fastbp.NotFiniteError, match=f"Not finite: .*parameter {name}") as found:
        trainer.fit(x, y, callbacks=[Spoil(2, spoil)], **asked)
    assert (found.value.epoch, found.value.step) == (3, 1)
    assert trainer.history.epochs == 2
    assert str(found.value).count("row") <= 1
    assert len(str(found.value)) < 400


@pytest.mark.parametrize("loss", ["mse", "softmax_cross_entropy", fastbp.MSELoss(reduction="sum")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rate_that_is_too_large_is_said(loss, dtype):
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(dtype)
    y = np.arange(40) % 2 if loss == "softmax_cross_entropy" else x[:, :2]
    trainer = fastbp.Trainer(fastbp.mlp([3, 8, 2], dtype=dtype, rng=0), loss, fastbp.SGD(1e30))
    with pytest.raises(FloatingPointError) as found:
        trainer.fit(x, y, epochs=100, batch_size=8, rng=0, progress=False)
    assert trainer.steps == found.value.step - 1 + 5 * (found.value.epoch - 1)
    assert "outputs grew too large; a smaller lr may help" in str(found.value) or "Not finite: " in str(found.value)
    assert np.isnan(trainer.step(x * np.nan, y))  # a single step goes on
    assert np.isnan(trainer.model._params).any()


def test_what_counts_for_nothing_does_not_end_it():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)), rng.integers(0, 2, 40)
    weight = np.ones(40)
    y[::5], weight[8:16] = -100, 0  # rows that are ignored, and a batch in which nothing counts
    x[::5] = np.nan
    trainer = fastbp.Trainer(fastbp.mlp([3, 8, 2], rng=0))
    history = trainer.fit(x, y, epochs=3, batch_size=8, shuffle=False, sample_weight=weight, progress=False)
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(trainer.model._params).all()
    trainer.fit(x * 1e6, y, epochs=3, batch_size=8, rng=0, progress=False)  # huge, and finite
    x[9], weight[8] = np.nan, 1
    with pytest.raises(fastbp.NotFiniteError, match="x in row 9"):  # 0 * NaN would reach the weights
        trainer.fit(x, y, batch_size=8, shuffle=False, sample_weight=weight, progress=False)


def dead(rows):
    """Return a run whose loss is finite until an update of infinity times 0 makes a weight NaN."""
    x, y = np.zeros((rows, 1), np.float32), np.zeros((rows, 1), np.float32)
    trainer = fastbp.Trainer(fastbp.mlp([1, 1, 1], "relu", rng=0), "mse", fastbp.SGD(0.1))
    trainer.model[0].weight[...] = -1
    x[-1] = np.inf
    return trainer, x, y


def test_a_row_that_counts_for_nothing_is_named_where_a_layer_couples_rows():
    x, y = np.random.default_rng(0).standard_normal((12, 3)), np.arange(12) % 4
    x[5, 1] = np.nan  # its label is the ignored one
    asked = {"batch_size": 4, "shuffle": False, "progress": False}
    loss = fastbp.CrossEntropyLoss(ignore_index=1)
    layers = lambda: [fastbp.Dense(3, 8, rng=0), fastbp.Dense(8, 4, rng=1)]  # noqa: E731
    fastbp.Trainer(fastbp.Sequential(*layers()), loss).fit(x, y, **asked)
    first, last = layers()
    trainer = fastbp.Trainer(fastbp.Sequential(first, fastbp.BatchNorm(8), last), loss)
    with pytest.raises(fastbp.NotFiniteError, match=r"nan, from rows 4, 6, 7\. Not finite: x in row 5\.") as found:
        trainer.fit(x, y, **asked)
    assert found.value.rows.tolist() == [4, 6, 7]
    assert trainer.steps == 1


def test_a_nan_that_the_last_update_made_is_found_at_the_end_of_the_epoch(tmp_path):
    for rows in (1, 2, 5):
        trainer, x, y = dead(rows)
        saves = fastbp.Checkpoint(tmp_path / "c", every_epochs=1, every_seconds=0)
        for _ in range(2):  # going on does not help
            with pytest.raises(fastbp.NotFiniteError, match=rf"after step {rows} in epoch 1, .* NaN: 0\.weight\.") as e:
                trainer.fit(
                    x, y, batch_size=1, shuffle=False, callbacks=[saves], progress=False, resume=True
                )  # fmt: skip
            assert e.value.rows.size == 0
            assert trainer.steps == rows
            assert trainer.history.epochs == 0
        trainer, x, y = dead(rows)
        with pytest.raises(
            fastbp.NotFiniteError, match=rf"step {rows + 1} in epoch 1.*Not finite: parameter 0\.weight"
        ):
            trainer.fit(*(np.vstack([a, 0 * y]) for a in (x, y)), batch_size=1, shuffle=False, progress=False)
        assert trainer.steps == rows


def test_the_best_parameters_and_the_last_good_checkpoint_are_named_and_kept(tmp_path):
    x, y = fastbp.load_digits()
    x = (x / 16).astype(np.float32)
    trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0))
    stop, saves = fastbp.EarlyStopping("loss"), fastbp.Checkpoint(tmp_path / "c", every_epochs=1)
    best = []

    def spoil(trainer):
        best.append(trainer.model._params.copy())
        x[5, 5] = np.nan

    with pytest.raises(fastbp.NotFiniteError) as found:
        trainer.fit(x, y, epochs=9, rng=0, callbacks=[stop, saves, Spoil(3, spoil)], progress=False)
    assert "x in row 5. EarlyStopping has the parameters of epoch 3" in str(found.value)
    assert f"{tmp_path / 'c'} has the run as of 45 steps." in str(found.value)
    assert fastbp.Trainer.load_checkpoint(tmp_path / "c").history.epochs == 3
    stop.on_fit_end(trainer)
    assert trainer.model._params.tobytes() == best[0].tobytes()
