"""Reading tables: what is found out by itself, what is said of it, and what is refused, all of it at once."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from fastbp.data.columns.encoder import Encoder  # noqa: E402
from fastbp.data.columns.roles import find_roles  # noqa: E402
from fastbp.data.reading.files import read_table  # noqa: E402
from fastbp.data.reading.frames import read_frame  # noqa: E402
from fastbp.data.reading.table import ReadOptions, TableError  # noqa: E402

FILES = Path(__file__).parent / "tables"


@pytest.fixture
def read(tmp_path):
    """Write some content and read it."""

    def read(content, name="t.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(str(path), ReadOptions(**options))

    return read


# --- what is found out ----------------------------------------------------------------------------

# A text, how it is read, and its columns, a field as it stands
FOUND = {
    "quoted separators": (
        'a,b\n"x, y",1\nz,2\n',
        "',' separated, UTF-8, header",
        {"a": ["x, y", "z"], "b": ["1", "2"]},
    ),
    "lines in quotes": ('a,b\n"x\ny",1\nz,2\n', "',' separated, UTF-8, header", {"a": ["x\ny", "z"], "b": ["1", "2"]}),
    "trailing separators": ("a,b,\n1,2,\n3,4,\n", "',' separated, UTF-8, header", {"a": ["1", "3"], "b": ["2", "4"]}),
    "trailing in rows": ("a,b\n1,2,\n3,4,\n", "',' separated, UTF-8, header", {"a": ["1", "3"], "b": ["2", "4"]}),
    "blank lines": ("a,b\n\n1,2\n  \n3,4\n\n", "',' separated, UTF-8, header", {"a": ["1", "3"], "b": ["2", "4"]}),
    "comments above": (
        "# x\n# y, z\na,b\n1,2\n",
        "',' separated, UTF-8, line 1 left out, line 2 left out, header",
        {"a": ["1"], "b": ["2"]},
    ),
    "a column named #": ("#,n\n1,x\n2,y\n", "',' separated, UTF-8, header", {"#": ["1", "2"], "n": ["x", "y"]}),
    "a title": (
        "Sales\n\na;b;c\n1;2;3\n",
        "';' separated, UTF-8, line 1 left out, header",
        {"a": ["1"], "b": ["2"], "c": ["3"]},
    ),
    "one column": ("x\n1\n\n3\n", "one column, UTF-8, header", {"x": ["1", None, "3"]}),
    "one column of text": (
        "t\nhi, you\nfoo\n",
        "one column, UTF-8, header assumed (nothing tells it from the rows)",
        {"t": ["hi, you", "foo"]},
    ),
    "a header of numbers": ("0,1,2\n5,6,7\n", "',' separated, UTF-8, header", {"0": ["5"], "1": ["6"], "2": ["7"]}),
    "years": (
        "land,2001,2002,2003\nA,5,6,7\n",
        "',' separated, UTF-8, header",
        {"land": ["A"], "2001": ["5"], "2002": ["6"], "2003": ["7"]},
    ),
    "one row": ("1,2\n", "',' separated, UTF-8, no header", {"0": ["1"], "1": ["2"]}),
    "text that tells nothing": (
        "red,big\nblue,low\n",
        "',' separated, UTF-8, header assumed (nothing tells it from the rows)",
        {"red": ["blue"], "big": ["low"]},
    ),
    "text that comes again": (
        "red,big\nblue,low\nred,low\n",
        "',' separated, UTF-8, no header",
        {"0": ["red", "blue", "red"], "1": ["big", "low", "low"]},
    ),
    "a first value that is missing": (
        "?,5\n1,6\n2,7\n",
        "',' separated, UTF-8, no header",
        {"0": ["?", "1", "2"], "1": ["5", "6", "7"]},
    ),
    "dates": ("d t,y\n2020-01-01 10:00,5\n", "',' separated, UTF-8, header", {"d t": ["2020-01-01 10:00"], "y": ["5"]}),
    "decimal commas": ("a;b\n1,5;x\n", "';' separated, decimal comma, UTF-8, header", {"a": ["1,5"], "b": ["x"]}),
    "thousands and a decimal comma": (
        "a;b\n1.234,5;x\n",
        "';' separated, decimal comma, UTF-8, header",
        {"a": ["1.234,5"], "b": ["x"]},
    ),
    "thousands": ('a,b\n"1,234",x\n999,y\n', "',' separated, UTF-8, header", {"a": ["1,234", "999"], "b": ["x", "y"]}),
    "thousands, parted by ;": (
        "a;b\n1,234;x\n999;y\n",
        "';' separated, UTF-8, header",
        {"a": ["1,234", "999"], "b": ["x", "y"]},
    ),
    "lists in fields": (
        "n,g,y\nx,A;B,1\ny,A;C,2\n",
        "',' separated, UTF-8, header",
        {"n": ["x", "y"], "g": ["A;B", "A;C"], "y": ["1", "2"]},
    ),
    "tabs in a .csv": ("a\tb\n1\t\n2\t3\n", "tab separated, UTF-8, header", {"a": ["1", "2"], "b": [None, "3"]}),
    "runs of spaces": (
        "a b  c\n 1  2 3\n4 5   6\n",
        "separated by spaces, UTF-8, header",
        {"a": ["1", "4"], "b": ["2", "5"], "c": ["3", "6"]},
    ),
    "spaces after separators": (
        '1, u, "x, y"\n2, v, z\n3, u, z\n',
        "',' separated, UTF-8, no header",
        {"0": ["1", "2", "3"], "1": ["u", "v", "u"], "2": ["x, y", "z", "z"]},
    ),
    "no last end of line": ("a|b\n1|2", "'|' separated, UTF-8, header", {"a": ["1"], "b": ["2"]}),
    "CRLF": ("a,b\r\n1,2\r\n", "',' separated, UTF-8, header", {"a": ["1"], "b": ["2"]}),
    "CR": ("a,b\r1,2\r", "',' separated, UTF-8, header", {"a": ["1"], "b": ["2"]}),
    "a mark of UTF-8": (b"\xef\xbb\xbfa,b\n1,2\n", "',' separated, UTF-8, header", {"a": ["1"], "b": ["2"]}),
    "UTF-16 without a mark": (
        "a,b\n1,2\n".encode("utf-16-le"),
        "',' separated, UTF-16, header",
        {"a": ["1"], "b": ["2"]},
    ),
    "Latin-1": ("a,b\nKöln,2\n".encode("latin-1"), "',' separated, cp1252, header", {"a": ["Köln"], "b": ["2"]}),
    "single quotes": (
        "a,b\n'x, y',1\n'z',2\n",
        "',' separated, quote ', UTF-8, header",
        {"a": ["x, y", "z"], "b": ["1", "2"]},
    ),
    "names in single quotes": ("'a'\t'b'\n1\t2\n", "tab separated, quote ', UTF-8, header", {"a": ["1"], "b": ["2"]}),
    "spaces in all fields but names": (
        "who,day,price\nX,Jan 1 2000,3.5\nY,Feb 1 2000,4.5\n",
        "',' separated, UTF-8, header",
        {"who": ["X", "Y"], "day": ["Jan 1 2000", "Feb 1 2000"], "price": ["3.5", "4.5"]},
    ),
    "escaped quotes": (
        'a,b\n"x ""y"" \\"q\\", z",1\n"w",2\n',
        "',' separated, UTF-8, header",
        {"a": ['x "y" "q", z', "w"], "b": ["1", "2"]},
    ),
    "a quote that is none": (
        'a,b\n1,"x\n2,y\n',
        "',' separated, no quotes, UTF-8, header",
        {"a": ["1", "2"], "b": ['"x', "y"]},
    ),
    "rows longer than a block": (
        "a,b\n1," + "x" * 3_000_000 + "\n2,y\n",
        "',' separated, UTF-8, header assumed (nothing tells it from the rows)",
        {"a": ["1", "2"], "b": ["x" * 3_000_000, "y"]},
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_a_text_is_read_right_and_that_is_said(read, what):
    content, said, columns = FOUND[what]
    table = read(content)
    assert table.read_as == said
    assert table.columns.to_pydict() == columns


@pytest.mark.parametrize(
    ("content", "index", "names"),
    [
        (",a,b\n0,1,2\n1,3,4\n", "Unnamed: 0", ["a", "b"]),
        (",0,1\n3,1,2\n7,3,4\n", "Unnamed: 0", ["0", "1"]),
        ('"mpg" "cyl"\n"Mazda RX4" 21 6\n"Datsun" 22 4\n', "Unnamed: 0", ["mpg", "cyl"]),  # as R writes it
    ],
)
def test_a_column_without_a_name_that_numbers_or_names_the_rows_is_an_index(read, content, index, names):
    table = read(content)
    assert (table.index, table.names) == ((index,), names)


def test_a_message_names_a_row_and_its_line_where_rows_are_lines(read):
    assert read("# x\na,b\n1,2\n3,4\n").where(1) == "row 2 (line 4)"
    assert read('a,b\n"1\n",2\n3,4\n').where(1) == "row 2"


def test_a_column_far_down_decides_on_the_decimal_mark(read):
    rows = "".join(f"{i};x\n" for i in range(20_000))
    assert read(f"a;b\n{rows}1,5;y\n").decimal == ","


# --- what is given --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "columns"),
    [
        ("a,b\n1,2\n", {"header": False}, {"0": ["a", "1"], "1": ["b", "2"]}),
        ("1,2\n3,4\n", {"header": True}, {"1": ["3"], "2": ["4"]}),
        ("a,b;c\n1,2;3\n", {"separator": ";"}, {"a,b": ["1,2"], "c": ["3"]}),
        ("a^b\n1^2\n", {"separator": "^"}, {"a": ["1"], "b": ["2"]}),
        ("a,b\n'1',2\n", {"quote": '"'}, {"a": ["'1'"], "b": ["2"]}),
        ("a,b\nж,2\n".encode("cp1251"), {"encoding": "cp1251"}, {"a": ["ж"], "b": ["2"]}),
    ],
)
def test_options_override_what_would_be_found(read, content, options, columns):
    assert read(content, **options).columns.to_pydict() == columns


def test_a_decimal_mark_may_be_given(read):
    assert read("a;b\n1,234;2\n2,345;3\n", decimal=".").decimal == "."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "::"}, "separator should be one character, got '::'"),
        ({"separator": ""}, "separator should be one character, got ''"),
        ({"decimal": ";"}, "decimal should be '.' or ',', got ';'"),
        ({"separator": ",", "decimal": ","}, "separator and decimal should differ"),
        ({"encoding": "utf-99"}, "encoding should be one that Python knows, got 'utf-99'"),
    ],
)
def test_options_that_no_file_could_be_read_by_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ReadOptions(**options)


def test_options_of_text_are_refused_for_other_files(read):
    with pytest.raises(TableError, match=r"x\.json is no table of text, and so takes no --separator"):
        read('{"a": 1}', "x.json", separator=";")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3\n4,5,6\n7,8\n", ": line 3 should have 2 fields, got 1; line 4 should have 2 fields, got 3$"),
        ('a,b\n"x\ny",2\n"3\n4"\n5,6\n', ": line 4 should have 2 fields, got 1$"),
        ("a,b\r\n1,2\r\n\r\n3\r\n", ": line 4 should have 2 fields, got 1$"),
        ("a,b\n" + "1\n2,3\n" * 20, r": line 2 should .*; line 16 should have 2 fields, got 1; and 12 more$"),
        ("a,b\n1,\0002\n3,4\n5,\0\n", ": line 2 holds a NUL byte, which no text does; line 4 holds"),
        ("a,a,y\n1,2,3\n", " has several columns named 'a'"),
        ("a,b\n", r" holds no rows below its header \(--no-header gets past it\)"),
        ("\n\n", " holds no rows"),
        ("", " is no .csv file: it is empty"),
        ("<!DOCTYPE html>\n<html><body>", " is no .csv file: it is an HTML page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), " is no .csv file: it is a PNG image"),
        (b"\1\2\3,4\n", " is binary data of no known kind"),
        ("a,b\nKö,2\n".encode() + "Kö,3\n".encode("latin-1"), ": line 3 is not UTF-8, .*--encoding cp1252 gets past"),
        (b"a,b\n\x81,2\n", r": line 2 is in no encoding that can be told \(--encoding NAME"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_all_at_once(read, content, message):
    with pytest.raises(TableError, match=rf"t\.csv{message}"):
        read(content)


def test_a_quote_that_is_open_to_the_end_is_named_by_its_line(read):
    rows = "".join(f'{i},"x y"\n' for i in range(150_000))  # more than the sample
    with pytest.raises(TableError, match=r"line 150002 opens a quote \" that is not closed"):
        read(f'a,b\n{rows}1,"x\n2,y\n3,z\n')


# --- other files ----------------------------------------------------------------------------------


def zipped(content, *others):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a.csv", *others):
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "pack", "said"),
    [
        ("t.csv.gz", gzip.compress, "gzip"),
        ("t.csv", gzip.compress, "gzip"),  # whatever the name says
        ("t.csv.bz2", bz2.compress, "bzip2"),
        ("t.csv.xz", lzma.compress, "xz"),
        ("t.zip", zipped, "zip"),
    ],
)
def test_packed_files_are_unpacked(read, name, pack, said):
    table = read(pack(b"a,b\n1,2\n"), name)
    assert table.columns.to_pydict() == {"a": ["1"], "b": ["2"]}
    assert table.read_as == f"',' separated, UTF-8, header, {said}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"a,b\n1,2\n")[:-5], "is a file packed by gzip that is damaged"),
        (bz2.compress(b"a,b\n1,2\n")[:-5], "is a file packed by bzip2 that is damaged"),
        (lzma.compress(b"a,b\n1,2\n")[:-5], "is a file packed by xz that is damaged"),
        (zipped(b"a,b\n1,2\n", "b.csv"), r"that holds 2 files \(a\.csv, b\.csv\), and a table is one: unpack it"),
        (zipped(b"<x>", "xl/workbook.xml"), r"an Excel workbook; save its sheet as \.csv"),
        (gzip.compress(b"\x89PNG\r\n\x1a\n\0"), "it is a PNG image in a file packed by gzip"),
    ],
    ids=["gzip", "bzip2", "xz", "two files", "workbook", "image"],
)
def test_packed_files_that_are_refused(read, content, message):
    with pytest.raises(TableError, match=message):
        read(content)


def test_typed_files_keep_their_types(tmp_path):
    from pyarrow import feather, ipc, parquet

    table = pa.table({"n": [1, None], "s": ["00501", "x"], "k": pa.array(["u", "v"]).dictionary_encode()})
    parquet.write_table(table, tmp_path / "t.parquet")
    feather.write_feather(table, tmp_path / "t.feather")
    with ipc.new_stream(tmp_path / "t.arrow", table.schema) as stream:
        stream.write(table)
    for path in sorted(tmp_path.iterdir()):
        found = read_table(str(path))
        assert found.columns.equals(table), path.name
        assert (found.read_as, found.first_line, found.index) == ("", None, ())


def test_the_index_of_pandas_is_an_index():
    table = read_table(str(FILES / "index_train.parquet"))
    assert (table.index, table.names) == (("__index_level_0__",), ["noise", "y"])


@pytest.mark.parametrize("as_lines", [True, False])
def test_json_is_read_by_lines_and_by_records(read, as_lines):
    rows = [{"a": 1, "b": "x"}, {"a": 2.5, "c": True}, {"b": 7}]
    text = "\n".join(map(json.dumps, rows)) if as_lines else json.dumps(rows)
    table = read(text, "t.json")
    assert table.columns.to_pydict() == {"a": [1.0, 2.5, None], "b": ["x", None, "7"], "c": [None, True, None]}


@pytest.mark.parametrize(
    "text",
    ['{"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": null}}', '{"a": [1, 2],\n "b": ["x", null]}'],
)
def test_json_is_read_by_columns_as_pandas_writes_it(read, text):
    assert read(text, "t.json").columns.to_pydict() == {"a": [1, 2], "b": ["x", None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n[2]\n{"a"\n', r"line 2 is no JSON object: expected an object a row.*; line 3 is no JSON object"),
        ('[{"a": 1}, 2]', "row 2 is no object"),
        ('[{"a": 1}', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_json_that_is_no_table_is_refused(read, text, message):
    with pytest.raises(TableError, match=message):
        read(text, "t.jsonl")


# --- several files, the standard input, data frames -------------------------------------------------


def test_files_of_one_schema_are_one_table(tmp_path):
    (tmp_path / "part-1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "part-2.csv").write_text("b;a\n4,5;3\n")
    (tmp_path / "notes.md").write_text("no table")
    for name in (str(tmp_path), str(tmp_path / "part-*.csv")):
        table = read_table(name)
        assert table.columns.to_pydict() == {"a": ["1", "3"], "b": ["2", "4,5"]}
        assert (
            table.read_as == "',' separated, decimal comma, UTF-8, header / ';' separated, decimal comma, UTF-8, header"
        )


def test_files_whose_schemas_differ_are_named(tmp_path):
    for i, names in enumerate(("a,b", "a,c", "a,b,d")):
        (tmp_path / f"{i}.csv").write_text(f"{names}\n" + ",".join("1" * len(names.split(","))) + "\n")
    with pytest.raises(
        TableError, match=r"1\.csv lacks 'b' and has 'c' besides, other than .*0\.csv; .*2\.csv has 'd'"
    ):
        read_table(str(tmp_path))


def test_the_standard_input_is_a_table(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a;b\n1;2\n"))))
    table = read_table("-")
    assert (table.name, table.columns.to_pydict()) == ("standard input", {"a": ["1"], "b": ["2"]})


def test_data_frames_are_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": [1.5, None], 7: ["x", None], "k": pandas.Categorical(["u", "v"])}, index=[5, 3])
    table = read_frame(frame)
    assert table.columns.to_pydict() == {"n": [1.5, None], "7": ["x", None], "k": ["u", "v"]}
    assert read_frame(pa.table({"a": [1]})).columns.to_pydict() == {"a": [1]}
    with pytest.raises(TableError, match=r"column 'a' holds objects of several kinds: .*; column 'b' holds"):
        read_frame(pandas.DataFrame({"a": [1, "x"], "b": ["x", {}]}, dtype=object))


@pytest.mark.parametrize("as_frame", [True, False])
def test_frames_of_polars_become_what_those_of_pandas_do(peer, tmp_path, as_frame):
    polars = peer("polars")
    when = [datetime(2020, 1, 1, 5) + timedelta(hours=31 * i) for i in range(60)]
    columns = {
        "number": [None if i % 7 == 0 else i / 2 for i in range(60)],
        "text": [f"x{i % 3}" for i in range(60)],
        "many": polars.Series([None if i == 3 else f"k{i % 10}" for i in range(60)], dtype=polars.Categorical),
        "few": polars.Series(["u", "v"] * 30, dtype=polars.Enum(["u", "v", "w"])),
        "day": [time.date() for time in when],
        "when": polars.Series(when).dt.replace_time_zone("Europe/Oslo"),
        "clock": [time.time() for time in when],
        "took": [timedelta(seconds=i**2) for i in range(60)],
        "price": [Decimal(i**2) / 100 for i in range(60)],
        "flag": [i % 3 == 0 for i in range(60)],
        "lists": [[1, 2]] * 60,
        "nothing": [None] * 60,
        "small": polars.Series([i % 5 for i in range(60)], dtype=polars.UInt8),
    }
    frame = polars.DataFrame(columns)
    if as_frame:
        table = read_frame(polars.concat([frame[:9], frame[9:]], rechunk=False))
    else:
        frame.write_ipc(tmp_path / "t.arrow")
        table = read_table(str(tmp_path / "t.arrow"))
    found = find_roles(table)
    kinds = ["number", "category", "category", "category", "time", "time", "time", "number", "number", "boolean"]
    assert [role.kind for role in found] == [*kinds, "left out", "left out", "number"]
    pandas = pytest.importorskip("pandas")
    flat = frame.drop("lists")
    same = pandas.DataFrame(flat.to_dict(as_series=False))
    same["many"], same["when"] = same["many"].astype("category"), pandas.Series(when).dt.tz_localize("Europe/Oslo")
    encoder = Encoder.fit(table, found)
    np.testing.assert_array_equal(encoder.transform(table), encoder.transform(read_frame(same)))


@pytest.mark.parametrize(
    ("name", "said", "rows"),
    [
        ("headerless.csv", "',' separated, UTF-8, no header", 39),
        ("latin1_label.csv", "',' separated, cp1252, header", 40),
        ("utf16.csv", "',' separated, UTF-16, header", 40),
        ("semicolon.csv", "';' separated, UTF-8, header", 40),
        ("plain.csv.gz", "',' separated, UTF-8, header, gzip", 40),
        ("all_troubles.csv", "',' separated, UTF-8, header", 4),
        ("leading_zero.csv", "',' separated, UTF-8, header", 40),
    ],
)
def test_kinds_of_files_that_people_have(name, said, rows):
    table = read_table(str(FILES / name))
    assert (table.read_as, len(table)) == (said, rows)
    assert name != "leading_zero.csv" or set(table.columns["y"].to_pylist()) == {"00501", "10001"}


# Files that scikit-learn brings (BSD), two of which begin with a line of counts
@pytest.mark.parametrize(
    ("name", "rows", "columns", "header"),
    [
        ("iris.csv", 150, 5, True),
        ("breast_cancer.csv", 569, 31, False),
        ("wine_data.csv", 178, 14, False),
        ("linnerud_exercise.csv", 20, 3, True),
        ("diabetes_data_raw.csv.gz", 442, 10, False),
        ("diabetes_target.csv.gz", 442, 1, False),
        ("digits.csv.gz", 1797, 65, False),
    ],
)
def test_files_of_scikit_learn(name, rows, columns, header):
    sklearn = pytest.importorskip("sklearn")
    table = read_table(str(Path(sklearn.__file__).parent / "datasets" / "data" / name))
    assert (len(table), len(table.names), table.header) == (rows, columns, header)
