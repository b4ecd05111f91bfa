"""Readers of data files: whatever a file holds, it is read or refused by its name, and takes little memory."""

import gzip
import io
import struct
import tempfile
import traceback
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp.data.datasets import load_dataset, load_features

from .frame import Result
from .memory import MIB, room_for

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.arange(12) % 3


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


def zipped(method=zipfile.ZIP_DEFLATED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def parquet():
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"a": X[:, 0], "b": X[:, 1], "kind": [f"class {i}" for i in Y]})
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
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


def readers(times, kinds=tuple(KINDS)):
    """Read damaged files of each kind in a process that has little memory."""
    result = Result(f"damaged data files: {'; '.join(kinds)}")
    for kind in kinds:
        problem = result.call(kind, 60 + times, read_often, kind, times)
        if problem is not None:
            result.expect(not problem, f"{kind}: {problem}")
            result.times += times - 1
    return result


def read_often(kind, times):
    """Return what was wrong with the smallest file that was, or ""."""
    whole = KINDS[kind][1]()

    @settings(max_examples=times, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(whole), st.binary(max_size=200)))
    def check(content):
        read(kind, content, folder)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if read(kind, whole, folder) is None:
            return "a whole file was refused"
        try:
            with room_for(256 * MIB):
                check()
        except Exception as problem:
            return "".join(traceback.format_exception_only(problem))
    return ""
