"""What each column becomes is told in words, and shown by `fastbp describe`."""

import pytest
from typer.testing import CliRunner

from fastbp.app.cli import app
from fastbp.data.columns.describe import described, described_target, left_out
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import find_roles
from fastbp.data.columns.target import find_target
from fastbp.data.reading.table import Table

pa = pytest.importorskip("pyarrow")

COLUMNS = {
    "id": [str(i) for i in range(30)],
    "a": ["1.5", "2.5", None] * 10,
    "b": [f"{i % 3}x" for i in range(30)],
    "c": ["k"] * 30,
    "d": [f"2024-01-{i + 1:02}" for i in range(30)],
    "e": ["yes", "no"] * 15,
    "f": [f"v{i % 6} {i % 10 // 5}" for i in range(30)],
    "y": ["u", "v", "NA"] * 10,
}


def test_description_tells_each_column():
    table = Table(pa.table(COLUMNS), "t.csv")
    roles = find_roles(table, ColumnOptions(target=("y",), categorical=("f",)))
    target = find_target(table, ["y"])
    lines = {line.column: line for line in described(roles, target)}
    assert {name: line.becomes for name, line in lines.items()} == {
        "id": "left out", "a": "number, and is it missing", "b": "category, 3 columns of 0 and 1", "c": "left out",
        "d": "time", "e": "boolean, -1 or 1", "f": "category, an embedding of 12", "y": "target, classification",
    }  # fmt: skip
    assert lines["a"].missing == lines["y"].missing == 10
    assert left_out(roles) == ["id: counts the rows", "c: constant: 'k'"]
    assert described_target(target, 30) == "y: 2 classes (text); 10 of 30 rows without one are left out"


@pytest.fixture
def run(tmp_path):
    """Write the table as a file and run a command on it."""
    from pyarrow import parquet

    file = tmp_path / "t.parquet"
    parquet.write_table(pa.table(COLUMNS), file)
    return lambda *arguments: CliRunner().invoke(app, ["describe", str(file), *arguments])


def test_command_shows_each_column_and_why(run):
    result = run("--target", "y", "--drop", "a", "--drop", "e", "--categorical", "f")
    assert result.exit_code == 0
    for part in (
        "2 classes (text)",
        "counts the rows",
        "--drop",
        "an embedding of 12",
        "from 2024-01-01 to 2024-01-30",
    ):
        assert part in result.stdout


def test_command_names_all_that_does_not_fit(run):
    result = run("--target", "z", "--drop", "B", "--weight", "a", "--group", "a")
    assert result.exit_code == 2
    for part in ("--target names no column: 'z'", "'B'; there is 'b'", "--weight and --group both name 'a'"):
        assert part in result.stderr
    assert run("--task", "ranking", "--target", "y").exit_code == 2
    result = CliRunner().invoke(app, ["describe", "nowhere.csv"])
    assert result.exit_code == 2
    assert "no file or folder 'nowhere.csv'" in result.stderr
