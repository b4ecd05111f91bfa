"""What the README says is so, and the pages on recipes and on deployment."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from fastbp.app.cli import app
from fastbp.tables.recipes.names import PRESETS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").replace("\\\n", "")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README + RECIPES, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = "\n".join(code for language, code in BLOCKS if language == "sh") + "\n".join(
    re.findall(r"`(fastbp [^`]*)`", README + RECIPES)
)


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_first_example_reads_the_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON[0], "README.md", "exec"), {"__name__": "__main__"})
    assert float(re.search(r"'accuracy': ([\d.]+)", capsys.readouterr().out)[1]) > 0.95


def test_function_of_the_deployment_page_answers():
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(code, names)
    assert len(names["handler"]([[0.0] * 64] * 3)) == 3


def test_commands_and_options_exist():
    commands = typer.main.get_command(app).commands
    named = re.findall(r"fastbp (\w+)", SHELL)
    assert set(commands) == set(named)
    for line in SHELL.splitlines():
        if found := re.search(r"fastbp (\w+)(.*)", line):
            known = {opt for parameter in commands[found[1]].params for opt in parameter.opts} | {"--help"}
            assert set(re.findall(r"--[\w-]+", found[2])) <= known


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)|`make (\w+)`", README, re.MULTILINE):
        assert f"\n{''.join(target)}:" in makefile


@pytest.mark.parametrize(
    "document", ["README.md", "docs/recipes.md", "docs/architecture.md", "docs/deployment.md", "CONTRIBUTING.md"]
)
def test_named_files_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:kernels|fastbp|docs|examples|benchmarks|tests)/[\w./]*)`", text))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_defaults_are_those_of_the_plain_preset():
    plain = PRESETS["plain"]["classification"]
    assert f"--hidden {','.join(map(str, plain.hidden))} --epochs {plain.epochs}" in README


def test_help_explains_every_option_of_train():
    result = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    for parameter in typer.main.get_command(app).commands["train"].params:
        assert parameter.name == "help" or parameter.help, parameter.name
