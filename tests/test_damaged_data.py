"""Data files that are damaged, or made to do harm: an error with the file's name, no memory taken, no code run."""

import gzip
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp.datasets import load_dataset, load_features

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.arange(12) % 3
EXAMPLES = 60  # some seconds for all; what longer runs found is below by name


def idx_header(code, *shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_header(text, version=(1, 0)):
    body = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(body)) + body


def zipped(method=zipfile.ZIP_DEFLATED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def parquet():
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"a": X[:, 0], "b": X[:, 1], "kind": [f"class {i}" for i in Y]})
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def csv():
    return b"a,b,kind\n" + b"".join(b"%g,%g,class %d\n" % (*row, label) for row, label in zip(X, Y, strict=True))


# How a file of each kind is named, made and read
KINDS = {
    "idx": ("x-idx2-ubyte", lambda: idx_header(0x0D, 12, 2) + X.astype(">f4").tobytes(), load_features),
    "idx.gz": ("x-idx2-ubyte.gz", lambda: gzip.compress(idx_header(0x08, 12, 2) + bytes(24)), load_features),
    "npy": ("x.npy", lambda: npy(X), load_features),
    "npz": ("x.npz", lambda: npz(x=X, y=Y), load_dataset),
    "npz, stored": ("x.npz", lambda: zipped(zipfile.ZIP_STORED, x=npy(X), y=npy(Y)), load_dataset),
    "csv": ("x.csv", csv, lambda path: load_dataset(path, target="kind")),
    "parquet": ("x.parquet", parquet, lambda path: load_dataset(path, target="kind")),
}


def read(kind, content, folder):
    """Return what a file of this content holds, or None: then it was refused by its name."""
    name, _, load = KINDS[kind]
    path = folder / name
    path.write_bytes(content)
    try:
        return load(path)
    except ValueError as error:
        if str(path) in str(error):
            return None
        raise


@st.composite
def damaged(draw, content):
    """Bytes of a file, some of them changed, cut out, repeated or put in; numbers at their limits above all."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 16))
        piece = draw(
            st.one_of(
                st.binary(max_size=16),
                st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x80", b"nan", b"1e999", b'"', b"\n"]),
                st.just(bytes(content[at : at + length])),
            )
        )
        content[at : at + length] = piece
    return bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_by_name(kind, tmp_path):
    whole = KINDS[kind][1]()
    assert read(kind, whole, tmp_path) is not None

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(whole), st.binary(max_size=200)))
    def check(content):
        read(kind, content, tmp_path)

    check()


HUGE = (2**31, 2**29)  # 2**60 numbers
HARMFUL = {
    "idx: 2**60 numbers": ("idx", idx_header(0x0E, *HUGE) + bytes(100)),
    "idx: 2**60 numbers in gzip": ("idx.gz", gzip.compress(idx_header(0x0E, *HUGE) + bytes(100))),
    "idx: far more than it says": ("idx.gz", gzip.compress(idx_header(0x08, 12, 2) + bytes(1 << 27))),
    "idx: 255 dimensions": ("idx", idx_header(0x08, *[1] * 255) + bytes(1)),
    "idx: nothing times much": ("idx", idx_header(0x08, 0, *[2**32 - 1] * 7)),
    "npy: 2**60 numbers": ("npy", npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {HUGE}}}")),
    "npy: 16 GB": ("npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2147483648,)}")),
    "npy: a negative shape": ("npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -24)}")),
    "npy: no shape": ("npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': None}")),
    "npy: deep brackets": ("npy", npy_header("(" * 5000)),
    "npy: code": ("npy", npy_header("__import__('os').abort()")),
    "npy: another version": ("npy", npy_header("{}", (7, 7))),
    "npz: 2**60 numbers": (
        "npz", zipped(x=npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {HUGE}}}"), y=npy(Y)),
    ),
    "npz: far more than it says": ("npz", zipped(x=npy(X) + bytes(1 << 27), y=npy(Y))),
    "npz: a pickle": ("npz", zipped(x=b"cos\nabort\n(tR.", y=npy(Y))),
    "npz: labels that are no text": ("npz", npz(x=X, y=np.array([b"\xff", b"a"] * 6))),
    "csv: names that are no text": ("csv", b"\xff,b,kind\n" + b"1,2,a\n" * 5),
    "csv: labels that are no text": ("csv", b"a,b,kind\n" + b"1,2,\xff\n" * 5),
    "csv: one very long label": ("csv", b"a,b,kind\n" + b"1,2,c\n" * 50_000 + b"1,2," + b"x" * (1 << 20) + b"\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_file_is_refused_and_takes_no_memory(name, tmp_path):
    kind, content = HARMFUL[name]
    if kind == "csv":
        pytest.importorskip("pyarrow")
    tracemalloc.start()
    try:
        assert read(kind, content, tmp_path) is None
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
