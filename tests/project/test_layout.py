"""Functions are short enough to be read at once, and kernels take few arguments: operands travel as records."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 80  # of a function, its docstring not counted
MOST_PARAMETERS = 8  # of what is compiled; entries take arrays one by one, as Python has them
COMPILED = {"kernel", "outlined", "shared", "op", "method"}


def functions():
    """Yield "file: function" and its number of lines, for each function of the two rooms."""
    paths = [*(ROOT / "kernels").rglob("*.py")]
    paths += [path for path in (ROOT / "fastbp").rglob("*.py") if "kernels" not in path.parts[len(ROOT.parts) :]]
    for path in sorted(paths):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path.relative_to(ROOT).as_posix()}: {node.name}", length(node)


def length(function):
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def test_no_function_is_longer_than_a_screen():
    assert [name for name, lines in functions() if lines > MOST_LINES] == []


def test_the_docstring_does_not_count():
    (function,) = ast.parse('def f():\n    """Do.\n\n    More.\n    """\n    return 1\n').body
    assert length(function) == 2


def decorators(function):
    """Return the names of a function's decorators: ``@shared(_types)`` is "shared"."""
    return {ast.unparse(decorator).split("(")[0] for decorator in function.decorator_list}


def test_no_kernel_takes_many_parameters():
    many, seen = [], 0
    for path in sorted((ROOT / "kernels").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and decorators(node) & COMPILED:
                seen += 1
                if len(node.args.args) > MOST_PARAMETERS:
                    many.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert many == []
    assert seen > 80  # or the decorators have other names


@pytest.mark.parametrize("room", ["fastbp/train", "fastbp/nn", "fastbp/schedules", "fastbp/tables", "kernels/compile"])
def test_the_map_has_every_file_of_a_room(room):
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (title,) = re.findall(rf"^### .*`{room}/`$", text, re.MULTILINE) or [f"| `{room}/` |"]
    part = text.split(title)[1].split("\n#" if title[0] == "#" else "\n")[0]
    named = re.findall(r"`(\w+\.py)`", part)
    there = [path.name for path in (ROOT / room).glob("*.py") if path.name != "__init__.py"]
    assert set(named) == set(there)
