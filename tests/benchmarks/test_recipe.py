"""The benchmark of a recipe: PyTorch trains the same."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
QUICK = ["digits", "--threads", "1", "--hidden", "16,8", "--batch-size", "200", "--epochs", "3", "--lr", "0.01"]


@pytest.fixture
def recipe(monkeypatch, torch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))  # of the processes
    return importlib.import_module("recipe")


def test_pytorch_trains_what_fastbp_does_but_for_roundings(recipe):
    schedule = ["--optimizer", "adamw", "--schedule", "cosine", "--warmup", "0.2", "--no-decay", "*.bias"]
    words = [*QUICK, *schedule, "--weight-decay", "0.5", "--norm", "layer_norm", "--clip-norm", "0.5"]
    (ours, accuracy), (theirs, other) = recipe.compare(words).values()
    assert len(ours) == len(theirs) == 3
    assert [loss for _, loss, _ in ours] == pytest.approx([loss for _, loss, _ in theirs], rel=1e-4)
    assert [right for *_, right in ours] == pytest.approx([right for *_, right in theirs], abs=0.01)
    assert accuracy == pytest.approx(other, abs=0.01)


def test_fewer_turns_than_epochs_give_ratios_alone(recipe, monkeypatch, capsys):
    asked = []

    def compare(words, turns):
        asked.append((words, turns))
        return {
            "fastbp": ([(0.1, 0.5, 0.9), (0.2, 0.4, 0.8)], None),
            "torch": ([(0.3, 0.5, 0.9), (0.4, 0.4, 0.8)], None),
        }

    monkeypatch.setattr(recipe, "compare", compare)
    recipe.main(["--turns", "2", *QUICK])
    assert asked == [(QUICK, 2)]
    said = capsys.readouterr().out
    assert "times as fast: median 2.50, 2.00 to 3.00 of 2 epochs" in said
    assert "test rows" not in said


@pytest.mark.parametrize("options", [["--optimizer", "sgd"], ["--ema", "0.9"], ["--validation-fraction", "0"]])
def test_what_pytorch_would_do_otherwise_is_refused(recipe, options):
    with pytest.raises(ValueError, match=r"recipe.py expects"):
        recipe.run_of([*QUICK, *options])
