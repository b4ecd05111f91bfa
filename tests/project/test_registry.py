"""What there is of activations, losses and optimizers stands in one place, and everything else is made from it."""

import inspect
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fastbp
from fastbp._base.docs import listed, with_lists
from fastbp.app import cli
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.registry import add

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
