"""ReduceLROnPlateau, beside PyTorch's."""

import numpy as np
import pytest

import fastbp
from fastbp import schedules

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("seed", range(40))
def test_rates_are_those_of_pytorch(seed):
    rng = np.random.default_rng(seed)
    options = {
        "mode": str(rng.choice(["min", "max"])),
        "factor": float(rng.uniform(0.1, 0.9)),
        "patience": int(rng.integers(0, 4)),
        "threshold": float(rng.choice([0.0, 1e-4, 0.1])),
        "threshold_mode": str(rng.choice(["rel", "abs"])),
        "cooldown": int(rng.integers(0, 4)),
        "min_lr": float(rng.choice([0.0, 1e-3])),
        "eps": float(rng.choice([1e-8, 1e-2])),
    }
    values = np.round(rng.standard_normal(40) * rng.uniform(0.1, 1) + rng.choice([0.0, 2.0]), 1).tolist()
    values[int(rng.integers(40))] = float("nan")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    twin = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    trainer = fastbp.Trainer(fastbp.mlp([2, 2], rng=0), optimizer=fastbp.SGD(0.1))
    lower = fastbp.ReduceLROnPlateau("val_loss", **options)
    lower.on_fit_begin(trainer)
    for epoch, value in enumerate(values, 1):
        if epoch == 20:  # as a run that goes on elsewhere
            state, lower = lower.state_dict(), fastbp.ReduceLROnPlateau("val_loss", **options)
            lower.on_fit_begin(trainer)
            lower.load_state_dict(state)
        twin.step(value)
        assert lower.on_epoch_end(trainer, epoch, {"val_loss": value}) is None
        assert trainer.optimizer.lr == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"factor": 1.0}, ValueError, r"ReduceLROnPlateau expects factor in \[0, 1\), got 1.0"),
        ({"mode": "best"}, ValueError, "ReduceLROnPlateau expects mode to be one of auto, min, max"),
        ({"threshold_mode": "x"}, ValueError, "ReduceLROnPlateau expects threshold_mode to be one of rel, abs"),
        ({"patience": -1}, ValueError, "ReduceLROnPlateau expects patience of at least 0, got -1"),
        ({"cooldown": 1.5}, TypeError, "ReduceLROnPlateau expects cooldown to be an int, got 1.5"),
    ],
)
def test_what_cannot_be_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        fastbp.ReduceLROnPlateau(**options)


def test_a_scheduled_rate_and_a_missing_figure_are_refused_before_the_first_step():
    x, y = np.eye(4), [0, 1, 2, 0]
    trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0), optimizer=fastbp.SGD(schedules.cosine(0.1)))
    with pytest.raises(TypeError, match=r"expects the optimizer's lr to be a number, got cosine\(0.1\)"):
        trainer.fit(x, y, callbacks=[fastbp.ReduceLROnPlateau("loss")], progress=False)
    with pytest.raises(KeyError, match="val_loss"):
        trainer.fit(x, y, callbacks=[fastbp.ReduceLROnPlateau()], progress=False)
    assert trainer.steps == 0


def test_which_values_are_better_is_known_of_figures_of_the_library():
    larger = {name: fastbp.ReduceLROnPlateau(name)._larger for name in ("val_accuracy", "loss", "val_f1", "rmse")}
    assert larger == {"val_accuracy": True, "loss": False, "val_f1": True, "rmse": False}
    trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0), optimizer=fastbp.SGD(schedules.cosine(0.1)))
    with pytest.raises(ValueError, match="ReduceLROnPlateau expects mode 'min' or 'max' for lr"):
        trainer.fit(np.eye(4), [0, 1, 2, 0], callbacks=[fastbp.ReduceLROnPlateau("lr")], progress=False)


def test_a_run_resumed_in_the_middle_of_an_epoch_lowers_the_rate_as_the_whole_one(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 5)).astype(np.float32), rng.integers(0, 3, 60)
    asked = {"epochs": 8, "batch_size": 10, "rng": 1, "progress": False}

    class Save(fastbp.Callback):
        every = 1

        def on_steps_end(self, trainer):
            trainer.save_checkpoint(tmp_path / f"{trainer.steps}")

    def make():
        return fastbp.Trainer(fastbp.mlp([5, 8, 3], rng=0), optimizer=fastbp.Adam(0.3))

    def lower():
        return fastbp.ReduceLROnPlateau("loss", factor=0.5, patience=0)

    whole = make()
    history = whole.fit(x, y, callbacks=[lower(), Save()], **asked)
    assert history["lr"] == sorted(history["lr"], reverse=True)
    assert history["lr"][0] == 0.3
    assert whole.optimizer.lr < 0.3
    for step in (5, 6, 25, 47):
        part = fastbp.Trainer.load_checkpoint(tmp_path / f"{step}")
        part.fit(x, y, callbacks=[lower()], resume=True, **asked)
        assert part.optimizer.lr == whole.optimizer.lr
        assert part.model._params.tobytes() == whole.model._params.tobytes()
