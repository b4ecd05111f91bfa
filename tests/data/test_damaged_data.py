"""Data files that were made to do harm, and those that long runs found: refused by name, no memory taken, no code run.

`torture/readers.py` makes others at random.
"""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from torture.readers import X, Y, idx_header, npy, npz, read, zipped


def npy_header(text, version=(1, 0)):
    body = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(body)) + body


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
    "csv: names that are no text": ("csv", b"\x81,b,kind\n" + b"1,2,a\n" * 5),
    "csv: labels that are no text": ("csv", b"a,b,kind\n" + b"1,2,\x81\n" * 5),
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
