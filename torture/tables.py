"""Tables of text: files written in any usual way, whose right reading is known, are read right without an option."""

import bz2
import csv
import gzip
import io
import lzma
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp.data.reading.files import read_table

from .frame import Result

WORDS = (
    "New York",
    "a, b",
    "x;y",
    'say "hi"',
    "it's",
    "two\nlines",
    "a\ttab",
    "p|q",
    "Zürich",
    "naïve",
    "3rd",
    "NA",
    "",
)
NAMES = ("alpha", "beta 2", "größe", "d, e", "f;g", 'h"i', "Jay", "k_1")
SEPARATORS = (",", ";", "\t", "|", " ")


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", content)
    return file.getvalue()


def zstd(content):
    import pyarrow as pa

    file = pa.BufferOutputStream()
    with pa.CompressedOutputStream(file, "zstd") as stream:
        stream.write(content)
    return file.getvalue().to_pybytes()


PACKED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": zipped, ".zst": zstd}


@dataclass
class Written:
    """A file and what it must be read as."""

    name: str
    content: bytes
    columns: dict
    decimal: str
    header: bool


@st.composite
def files(draw):
    """Write a table of one to five columns, the first one of numbers with decimals."""
    separator, decimal = draw(st.sampled_from(SEPARATORS)), draw(st.sampled_from(".,"))
    header = draw(st.booleans())
    numbers = st.integers(-99999, 99999).filter(lambda n: n % 100).map(lambda n: f"{n / 100:.2f}".replace(".", decimal))
    whole = st.integers(-50, 5000).map(str)
    words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(lambda two: " and ".join(two).strip())
    kinds = [numbers] + draw(st.lists(st.sampled_from([numbers, whole, words]), max_size=4))
    if len(kinds) == 1 and decimal == ",":
        kinds.append(whole)  # "1,5" alone may be two columns
    count = draw(st.integers(3, 12))
    rows = [[draw(kind) for kind in kinds] for _ in range(count)]
    names = draw(st.permutations(NAMES))[: len(kinds)]
    lines = ([names] if header else []) + rows
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    # Python quotes no "\n" where lines end in "\r"
    always = separator == " " or end == "\r"
    quoting = csv.QUOTE_ALL if always else draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end).writerows(lines)
    text = text.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(end)
    if draw(st.booleans()):
        text += 2 * end
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]))
    ending, pack = draw(st.sampled_from(sorted(PACKED.items())))
    keys = names if header else [str(j) for j in range(len(kinds))]
    columns = {key: [row[j] or None for row in rows] for j, key in enumerate(keys)}
    return Written(f"table.csv{ending}", pack(text.encode(encoding)), columns, decimal, header)


def tables(times):
    """Read so many files."""
    result = Result("tables of text in any separator, quoting, encoding, decimal mark, with a header or none, packed")

    @settings(
        max_examples=times,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(files())
    def check(written):
        (folder / written.name).write_bytes(written.content)
        table = read_table(str(folder / written.name))
        assert table.columns.to_pydict() == written.columns, table.read_as
        assert (table.decimal, table.header) == (written.decimal, written.header), table.read_as
        result.times += 1

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            check()
        except Exception as problem:
            notes = getattr(problem, "__notes__", [])
            result.expect(False, f"{type(problem).__name__}: {problem} {' '.join(notes)}")
    return result
