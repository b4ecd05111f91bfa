"""Presets of `fastbp train`: recipes of tables, what overrides them, and what the commands after it make of them."""

import csv
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import fastbp
from fastbp._base.program import INTERRUPTED
from fastbp.app.cli import app
from fastbp.tables.recipes.fitting import BestEpoch
from fastbp.tables.recipes.names import PRESETS

pytest.importorskip("pyarrow")

QUICK = ["--threads", "1", "--epochs", "4", "--hidden", "8"]


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """Draw no pictures, and give the threads back."""
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    threads = fastbp.get_num_threads()
    yield
    fastbp.set_num_threads(threads)


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    rows = [["a", "shop", "y", "z"]]
    for _ in range(400):
        a, shop = rng.normal(), rng.integers(12)
        rows.append([f"{a:.4f}", f"shop {shop}", "yes" if a + (shop > 5) > 0.4 else "no", f"{3 * a + shop:.3f}"])
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return str(tmp_path / "t.csv")


def command(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "plain"])
@pytest.mark.parametrize("target", ["y", "z"])
def test_model_of_a_preset_is_evaluated_and_predicts_as_table_model_does(tmp_path, source, preset, target):
    other = {"y": "z", "z": "y"}[target]
    out = tmp_path / "run"
    said = command("train", source, "--target", target, "--drop", other, "--preset", preset, *QUICK, "--out", out)
    assert preset in said
    assert "coslog4" in said or preset not in ("realmlp", "realmlp-td-s")
    model = fastbp.TableModel.load(out / "model.safetensors")
    assert model.network.metadata["options"]["preset"] == preset
    assert model.network.metadata["options"]["validation_fraction"] == 0.2
    evaluated = command("evaluate", out / "model.safetensors", source)
    assert "the test rows, which training did not see" in evaluated
    command("predict", out / "model.safetensors", source, "--out", tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as found:
        np.testing.assert_array_equal(found["class" if target == "y" else "z"], model.predict(source))


def test_run_of_a_preset_goes_on_to_the_same_bits(tmp_path, source, monkeypatch):
    asked = ["train", source, "--target", "z", "--drop", "y", "--preset", "realmlp", *QUICK, "--epochs", 6]
    command(*asked, "--out", tmp_path / "whole")
    ended = BestEpoch.on_epoch_end

    def interrupted(self, trainer, epoch, figures):
        if epoch == 4:
            raise KeyboardInterrupt
        return ended(self, trainer, epoch, figures)

    with monkeypatch.context() as patch:
        patch.setattr(BestEpoch, "on_epoch_end", interrupted)
        command(*asked, "--out", tmp_path / "part", code=INTERRUPTED)
    command("train", source, "--resume", "--out", tmp_path / "part")
    whole, part = (fastbp.load(tmp_path / name / "model.safetensors") for name in ("whole", "part"))
    np.testing.assert_array_equal(whole._params, part._params)
    refused = command("train", source, "--resume", "--out", tmp_path / "part", "--preset", "realmlp-td-s", code=2)
    assert "--preset" in refused


def test_what_is_asked_for_beside_a_preset_counts(tmp_path, source):
    asked = ["--lr", 0.01, "--dropout", 0, "--batch-size", 50, "--activation", "relu", "--schedule", "cosine"]
    asked += ["--weight-decay", 0, "--label-smoothing", 0, "--monitor", "val_loss"]
    command("train", source, "--target", "y", "--preset", "realmlp", *asked, *QUICK, "--out", tmp_path / "run")
    model = fastbp.load(tmp_path / "run" / "model.safetensors")
    options = model.metadata["options"]
    names = ("lr", "batch_size", "activation", "schedule", "weight_decay", "label_smoothing")
    assert [options[name] for name in names] == [0.01, 50, "relu", "cosine", 0.0, 0.0]
    assert not any(type(layer).__name__ == "Dropout" for layer in model)
    assert any(getattr(layer, "activation", "") == "relu" for layer in model)


@pytest.mark.parametrize(
    "option", [["--norm", "layer_norm"], ["--init", "he_normal"], ["--warmup", "0.1"], ["--no-decay", "*.bias"],
               ["--optimizer", "sgd"]],
)  # fmt: skip
def test_what_a_preset_cannot_have_is_refused(tmp_path, source, option):
    said = command("train", source, "--target", "y", "--preset", "realmlp", *option, "--out", tmp_path / "run", code=2)
    assert option[0] in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "plain"])
def test_an_activation_that_a_preset_does_not_have_is_refused(tmp_path, source, preset):
    asked = ["--preset", preset, "--activation", "foo", "--out", tmp_path / "run"]
    assert "train expects activation to be one of" in command("train", source, "--target", "y", *asked, code=2)


def test_presets_are_of_tables(tmp_path):
    said = command("train", "digits", "--preset", "realmlp", "--out", tmp_path / "run", code=2)
    assert "digits is no table, and so takes no --preset realmlp" in said
    assert "--preset" in command("train", "digits", "--preset", "nothing", "--out", tmp_path / "run", code=2)


def test_blocks_of_rows_train_by_a_preset_too(tmp_path, source):
    out = tmp_path / "run"
    command("train", source, "--target", "z", "--drop", "y", "--preset", "realmlp", "--stream", *QUICK, "--out", out)
    model = fastbp.TableModel.load(out / "model.safetensors")
    assert model.limits is not None
    assert np.isfinite(model.predict(source)).all()
