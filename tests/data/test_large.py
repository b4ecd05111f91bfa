"""A table that is read a block at a time is the one in memory: its rows, and what its columns become."""

import gzip
import resource

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp.data.columns import survey
from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import features_of, find_roles
from fastbp.data.columns.scale import Scale
from fastbp.data.columns.target import find_target
from fastbp.data.reading import blocks, copied, large
from fastbp.data.reading.files import read_table
from fastbp.data.reading.large import open_large
from fastbp.data.reading.table import ReadOptions, TableError

pa = pytest.importorskip("pyarrow")
from pyarrow import feather, parquet  # noqa: E402


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Make blocks of few rows, and gather few values at a time."""
    for module in (blocks, copied):
        monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(survey, "AT_ONCE", 5)


NUMBERS = st.integers(-3, 3) | st.floats(-1e6, 1e6, width=32) | st.integers(-(2**60), 2**60) | st.floats(allow_nan=True)
VALUES = {
    "numbers": NUMBERS,
    "few": st.integers(0, 3),
    "whole": st.integers(-(2**62), 2**62),
    "words": st.sampled_from(["a", "b", "c", "long name", "ä", "-", "None"]),
    "texts": st.text("abc xyz", max_size=5),
    "booleans": st.sampled_from(["yes", "no"]),
    "dates": st.dates().map(str),
    "german": st.sampled_from(["1,5", "2,25", "1.234,5", "7"]),
    "thousands": st.sampled_from(["1,234", "12", "999", "1,234,567"]),
    "codes": st.sampled_from(["001", "010", "100"]),
    "constant": st.just("x"),
    "missing": st.none(),
}


@st.composite
def tables(draw):
    """Draw columns of text, as they are written in a file."""
    rows = draw(st.integers(1, 40))
    columns = {"id": [str(i) for i in range(rows)]} if draw(st.booleans()) else {}
    for j, kind in enumerate(draw(st.lists(st.sampled_from(list(VALUES)), min_size=2, max_size=5))):
        values = draw(st.lists(st.none() | VALUES[kind] | VALUES[kind], min_size=rows, max_size=rows))
        columns[f"{kind} {j}"] = [None if value is None else str(value) for value in values]
    if draw(st.booleans()):
        columns["again"] = list(columns.values())[-1]
    return columns


def answers(find):
    """Return what is found, or the error that says why nothing is."""
    try:
        return find()
    except TableError as error:
        return str(error)


def check_same(whole, parted):
    """Compare all that is known of a table in memory and of one in blocks."""
    assert len(whole) == len(parted)
    assert (whole.read_as, whole.decimal, whole.header, whole.index, whole.first_line) == (
        parted.read_as,
        parted.decimal,
        parted.header,
        parted.index,
        parted.first_line,
    )
    rows = [block.columns for block in parted.blocks()]
    assert pa.concat_tables(rows).to_pylist() == pa.table(whole.columns).to_pylist() or has_nan(whole)
    name = whole.column_names[-1]
    for task in (None, "classification", "regression"):
        assert answers(lambda: find_target(whole, [name], task)) == answers(lambda: find_target(parted, [name], task))  # noqa: B023
    options = ColumnOptions(target=(name,))
    roles = answers(lambda: find_roles(whole, options))
    assert roles == answers(lambda: find_roles(parted, options))
    if not isinstance(roles, str) and list(features_of(roles)):
        encoder, other = Encoder.fit(whole, roles), Encoder.fit(parted, roles)
        assert encoder.to_dict() == other.to_dict()
        x = encoder.transform(whole)
        np.testing.assert_array_equal(np.concatenate([other.transform(block) for block in parted.blocks()]), x)


def has_nan(table):
    return any(str(field.type) in ("float", "double") for field in table.schema)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=tables(), quoted=st.booleans())
def test_text_in_blocks_is_the_text_in_memory(columns, quoted, tmp_path):
    path = tmp_path / "t.csv"
    lines = [columns, *zip(*columns.values(), strict=True)]
    mark = '"' if quoted else ""
    text = "\n".join(";".join("" if cell is None else f"{mark}{cell}{mark}" for cell in line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    whole = answers(lambda: read_table(str(path)))
    parted = answers(lambda: open_large(str(path)))
    if isinstance(whole, str) or isinstance(parted, str):
        assert whole == parted
    else:
        check_same(whole, parted)


TYPES = {
    "numbers": st.floats(width=32),
    "doubles": st.floats(-1e300, 1e300),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "few": st.integers(0, 3),
    "texts": st.sampled_from(["a", "b", "c"]),
    "flags": st.booleans(),
    "days": st.dates(),
    "times": st.datetimes(),
    "nothing": st.none(),
}
KINDS = {"numbers": pa.float32(), "whole": pa.int64(), "nothing": pa.null(), "texts": pa.string()}


@st.composite
def typed(draw):
    """Draw a table of columns that have types."""
    rows, columns = draw(st.integers(1, 40)), {}
    for j, kind in enumerate(draw(st.lists(st.sampled_from(list(TYPES)), min_size=2, max_size=5))):
        values = draw(st.lists(st.none() | TYPES[kind] | TYPES[kind], min_size=rows, max_size=rows))
        column = pa.array(values, KINDS.get(kind))
        columns[f"{kind} {j}"] = column.dictionary_encode() if kind == "texts" and draw(st.booleans()) else column
    return pa.table(columns)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=typed(), size=st.integers(1, 50), kind=st.sampled_from(["parquet", "arrow", "feather", "copy"]))
def test_typed_files_in_blocks_are_those_in_memory(columns, size, kind, tmp_path):
    path = tmp_path / ("t.parquet" if kind in ("parquet", "copy") else "t.arrow")
    with pytest.MonkeyPatch.context() as patch:
        if kind == "arrow":
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, columns.schema) as writer:
                writer.write_table(columns, max_chunksize=size)
        elif kind == "feather":
            feather.write_feather(columns, path, chunksize=size)
        else:
            parquet.write_table(columns, path, row_group_size=size)
        if kind == "copy":
            patch.setattr(large, "MOST_BYTES", 1)
        parted = open_large(str(path))
    assert (parted.copied > 0) == (kind == "copy")
    check_same(read_table(str(path)), parted)


@settings(max_examples=50)
@given(
    values=st.lists(st.floats(allow_nan=False) | st.floats(-2, 2).map(round).map(float), min_size=1, max_size=60)
    | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60),
    size=st.integers(1, 20),
)
def test_values_at_ranks_are_those_of_all_sorted(values, size):
    array = np.array(values, np.int64 if isinstance(values[0], int) else np.float64)
    parts = survey.Column(lambda: [array[i : i + size] for i in range(0, len(array), size)])
    ranks = list(range(len(array)))
    assert survey.at_ranks(parts, len(array), ranks).tolist() == sorted(values)
    assert survey.count_distinct(parts, len(array)) == len(np.unique(array))
    assert Scale.fit(parts) == Scale.fit(array)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_text_of_any_encoding_and_packing_is_read_in_blocks(tmp_path, encoding):
    text = "# a title\n" + "name\tsize\n" + "".join(f"Jürgen {i}\t{i}.5\n" for i in range(50))
    plain, packed = tmp_path / "t.tsv", tmp_path / "p.tsv.gz"
    plain.write_bytes(text.encode(encoding) + b"\x1a" * (encoding == "cp1252"))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        check_same(read_table(str(path)), open_large(str(path)))


def test_several_files_are_one_table(tmp_path):
    for i in range(3):
        (tmp_path / f"part-{i}.csv").write_text("a,b\n" + "".join(f"{i},{j}\n" for j in range(10)))
    check_same(read_table(str(tmp_path / "part-*.csv")), open_large(str(tmp_path / "part-*.csv")))
    check_same(read_table(str(tmp_path)), open_large(str(tmp_path)))
    folder = tmp_path / "typed"
    folder.mkdir()
    parquet.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), folder / "0.parquet")
    parquet.write_table(pa.table({"b": ["x", "y"], "a": [0.5, None]}), folder / "1.parquet")
    check_same(read_table(str(folder)), open_large(str(folder)))


def test_files_whose_types_do_not_hold_each_others_values_are_refused_as_in_memory(tmp_path):
    parquet.write_table(pa.table({"a": [2**53 + 1] * 9}), tmp_path / "0.parquet")
    parquet.write_table(pa.table({"a": [0.5] * 9}), tmp_path / "1.parquet")
    said = answers(lambda: read_table(str(tmp_path)))
    assert "differ in type" in said
    assert said == answers(lambda: list(open_large(str(tmp_path)).blocks()))


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_full_disk_is_told_by_its_folder(tmp_path, monkeypatch, kind):
    path, temporary = tmp_path / f"t.{kind}", tmp_path / "temporary"
    temporary.mkdir()
    if kind == "parquet":
        parquet.write_table(pa.table({"a": np.arange(99_999)}), path)
        monkeypatch.setattr(large, "MOST_BYTES", 1)
        monkeypatch.setattr(copied, "ROWS", 9999)
    else:
        text = b"a,b\n" + b"1.25,x\n" * 9999
        path.write_bytes(gzip.compress(text) if kind == "csv.gz" else text)
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="TMPDIR names the folder") as raised:
            open_large(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (raised.value.filename, list(temporary.iterdir())) == (str(temporary), [])


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a,b\n1,2\n3\n4,5\n6,7,8\n", ReadOptions()),
        ('a,b\n1,2\n3,"x\n4,5\n', ReadOptions(quote='"')),
        ("a,b\n" + "1,2\n" * 30 + "1,\0\n", ReadOptions()),
        ("a,b\n", ReadOptions()),
        ("", ReadOptions()),
        ('a,b\n1,"two\nlines"\n3,4\n', ReadOptions()),
        ("a\n1\n\n3\n", ReadOptions()),
        ("a b\n1  2\n3 4\n", ReadOptions()),
        ("a,b\n1,x\n3,gone\n", ReadOptions(missing=("gone",))),
        ("a,b,\n1,x,\n3,y,\n", ReadOptions()),
        (",a\nr1,2\nr2,3\n", ReadOptions()),
        ('a, b\n1, "x, y"\n2, "z"\n', ReadOptions()),
    ],
)
def test_odd_text_is_read_and_refused_as_in_memory(tmp_path, text, options):
    path = tmp_path / "t.csv"
    path.write_text(text, newline="")
    whole = answers(lambda: read_table(str(path), options))
    parted = answers(lambda: open_large(str(path), options))
    if isinstance(whole, str):
        assert whole == parted
    else:
        check_same(whole, parted)


def test_what_cannot_be_read_in_blocks_is_refused_by_name(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('[{"a": 1}]')
    for name in (str(path), "-"):
        with pytest.raises(TableError, match=r"cannot be read a block at a time .--no-stream gets past it"):
            open_large(name)
