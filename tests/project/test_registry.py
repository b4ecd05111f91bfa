"""What there is of activations, losses and optimizers stands in one place, and everything else is made from it."""

import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fastbp
from fastbp._base.docs import listed, with_lists
from fastbp.app import cli
from fastbp.app.options import RATES
from fastbp.kernels import losses as loss_table
from fastbp.kernels import optimizers as rule_table
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.ops.kinds import KINDS
from fastbp.kernels.registry import Number, Public, add
from fastbp.nn import losses, made_functions
from fastbp.train import optimizers

MANUAL = (Path(__file__).parents[2] / "kernels" / "README.md").read_text(encoding="utf-8")


def words(text):
    """Return the words of a text, without the frames around it."""
    return set(re.findall(r"[\w-]+", text))


def test_every_activation_stands_in_docstring_help_and_manual():
    assert ACTIVATIONS.keys() <= words(fastbp.Dense.__doc__)
    help = CliRunner().invoke(cli.app, ["train", "--help"], env={"COLUMNS": "300"}).output
    assert ACTIVATIONS.keys() <= words(help)
    (errors,) = re.findall(r"^\| \| exp \|.*$", MANUAL, re.MULTILINE)
    assert words(errors) == {"exp", "log", "log1p"} | {name for name, kind in ACTIVATIONS.items() if kind.stores_slope}


def test_every_activation_stands_in_the_docstring_of_the_torch_door(torch):
    from fastbp.torch import Linear

    assert ACTIVATIONS.keys() - {"identity"} <= words(Linear.__doc__)


def test_every_loss_and_optimizer_stands_in_fastbp_docstring_and_help():
    kinds = losses.KINDS | optimizers.KINDS
    assert kinds.keys() | made_functions.FUNCTIONS.keys() <= {*fastbp.__all__}
    for name in fastbp.__all__:
        assert hasattr(fastbp, name)
    assert losses.LOSSES.keys() | optimizers.KINDS.keys() <= words(fastbp.Trainer.__doc__)
    help = CliRunner().invoke(cli.app, ["train", "--help"], env={"COLUMNS": "400"}).output
    assert optimizers.OPTIMIZERS.keys() == RATES.keys() == rule_table.RULES.keys() <= words(help)
    assert optimizers.OPTIMIZERS.keys() <= words(fastbp.Trainer.__doc__)
    assert loss_table.LOSSES.keys() | rule_table.RULES.keys() | KINDS.keys() <= words(MANUAL.split("## How to add")[1])


class TestMadeFromAnEntry:
    """The classes and the function that fastbp makes from an entry with public names."""

    @pytest.fixture
    def kinds(self, monkeypatch):
        for module in (losses, optimizers):
            monkeypatch.setattr(module, "KINDS", dict(module.KINDS))
        monkeypatch.setattr(losses, "LOSSES", dict(losses.LOSSES))
        monkeypatch.setattr(optimizers, "OPTIMIZERS", {})
        mse, sgd = loss_table.LOSSES["mse"], rule_table.RULES["momentum"]
        numbers = (Number("knee", 2.0, "A number.", positive=True), Number("both", (0.5, 0.25), "Two.", below=1.0))
        loss = loss_table.Loss("bent", 900, mse.twin, numbers=numbers, public=Public("BentLoss", "Bent", "bent_loss"))
        chosen = (Number("lr", 0.5, "A rate.", place=rule_table.LR), Number("mu", 0.9, "Kept.", place=rule_table.FIRST))
        rule = rule_table.Rule(
            "heavy", 900, sgd.formula, sgd.twin, 1, ("lr",), chosen=chosen, public=Public("Heavy", "H")
        )
        yield losses.publish(loss), optimizers.publish(rule)
        del losses.BentLoss, optimizers.Heavy

    def test_have_their_fields_and_numbers_in_their_places(self, kinds):
        bent, heavy = kinds
        assert repr(bent(knee=3.0)) == "BentLoss(reduction='mean', knee=3.0, both=(0.5, 0.25))"
        assert bent(knee=3.0).options()[loss_table.OWN :].tolist() == [3.0, 0.5, 0.25]
        assert repr(heavy(0.1)) == "Heavy(lr=0.1, mu=0.9)"
        assert heavy(0.1).numbers() == (0.1, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0)
        assert optimizers.named_optimizer("heavy", mu=0.5) == heavy(mu=0.5)
        with pytest.raises(ValueError, match="Heavy expects no weight_decay in groups"):
            heavy(groups={"*": {"weight_decay": 0.0}})
        assert losses.named_loss("bent") == bent()

    def test_say_what_they_are(self, kinds):
        for kind, name in zip(kinds, ("knee : float", "mu : float or schedule"), strict=True):
            assert f"\n{name}, default" in kind.__doc__
            assert ">>> import fastbp\n" in kind.__doc__

    def test_are_copied_and_pickled(self, kinds):
        for kind in kinds:
            assert pickle.loads(pickle.dumps(kind())) == copy.deepcopy(kind()) == kind()

    @pytest.mark.parametrize(
        ("which", "options", "error", "match"),
        [
            (0, {"knee": 0}, ValueError, "bent_loss expects knee greater than 0, got 0"),
            (0, {"knee": "1"}, TypeError, "bent_loss expects knee to be a number"),
            (0, {"both": 0.5}, TypeError, "bent_loss expects both to be two numbers, got 0.5"),
            (0, {"both": (0.5, 1)}, ValueError, r"bent_loss expects both\[1\] in \[0, 1\), got 1"),
            (1, {"lr": -1}, ValueError, "Heavy expects lr at least 0"),
            (1, {"mu": float("nan")}, ValueError, "Heavy expects mu at least 0"),
        ],
    )
    def test_refuse_numbers_out_of_range(self, kinds, which, options, error, match):
        with pytest.raises(error, match=match):
            kinds[which](**options)

    def test_an_entry_without_public_names_is_refused(self):
        with pytest.raises(ValueError, match="'mse' without"):
            losses.publish(loss_table.LOSSES["mse"])
        with pytest.raises(ValueError, match="'sgd' without"):
            optimizers.publish(rule_table.RULES["sgd"])


def test_a_name_or_a_code_is_given_once():
    table, entry = {}, ACTIVATIONS["tanh"]
    assert add(table, entry) is entry
    with pytest.raises(ValueError, match="'tanh' expects a name and a code of its own"):
        add(table, entry)
    assert list(table) == ["tanh"]


def test_a_list_in_a_docstring_is_filled_to_the_line():
    @with_lists(names=listed("abc"), long=listed(["a" * 60, "b" * 60]))
    def function():
        """One of {names}.

        x : {long}, {other}
        """

    lines = inspect.cleandoc(function.__doc__).splitlines()
    assert lines == ["One of a, b or c.", "", f"x : {'a' * 60} or", f"{'b' * 60}, {{other}}"]
