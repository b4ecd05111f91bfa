"""Functions are short enough to be read at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 80  # of a function, its docstring not counted

# Longer ones, each with its reason.
LONGER = {
    "kernels/run/train.py: train": "the whole of a training step, which is one compiled function",
    "kernels/simd/microkernel.py: _emit_tile": "writes one loop of machine code, from its loads to its stores",
}


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
    long = {name for name, lines in functions() if lines > MOST_LINES}
    assert long == set(LONGER), "shorten it, or say in LONGER why it is long; one that is short again leaves LONGER"


def test_the_docstring_does_not_count():
    (function,) = ast.parse('def f():\n    """Do.\n\n    More.\n    """\n    return 1\n').body
    assert length(function) == 2
