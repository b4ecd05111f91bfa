"""IDX, the file format of MNIST: a header with dtype and shape, then the values, big-endian.

The format is described at the end of the MNIST page of Y. LeCun, C. Cortes and C. Burges.
"""

import glob
import gzip
import math
import re
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastbp._base.kinds import GZIP, IDX, check_kind

# The third byte of a file names its dtype.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

MOST_DIMENSIONS = 32  # what every NumPy has
PIECE = 1 << 24

# MNIST's own names and those of EMNIST, QMNIST and others; copies are found with "." before "idx", and unpacked or not.
FILE_NAME = re.compile(r"(?P<set>.+-)?(?P<part>train|t10k|test)-(?P<holds>images|labels)[-.]idx\d-\w+(\.gz)?")


def read_idx(path: Path) -> NDArray[np.generic]:
    """Read an IDX file, plain or compressed with gzip.

    Parameters
    ----------
    path : Path
        The file. Its first bytes, not its name, tell whether it is compressed.

    Returns
    -------
    ndarray
        The values in the file's shape, dtype in the machine's byte order.

    Raises
    ------
    ValueError
        If the file is not IDX, or holds fewer or more bytes than its header says.
    """
    check_kind(path, "IDX", IDX, GZIP)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if not compressed:
        with path.open("rb") as file:
            return _read(file, path)
    try:
        with gzip.open(path) as file:
            return _read(file, path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a damaged or truncated gzip file: {error}") from error


def find_idx_files(source: Path) -> dict[str, Path]:
    """Find a data set's files: ``"train-images"``, ``"train-labels"``, ``"test-images"``, ``"test-labels"`` → path.

    Parameters
    ----------
    source : Path
        A folder; its folder ``raw``, or that of one in it, are looked into too, where torchvision leaves files. Or a
        pattern of names, such as ``emnist/emnist-letters-*``.

    Returns
    -------
    dict
        Empty where there are none. Of a file that is there packed and unpacked the unpacked one.

    Raises
    ------
    ValueError
        If files of several data sets are there.
    """
    files: dict[str, Path] = {}
    for path in _candidates(source):
        match = FILE_NAME.fullmatch(path.name)
        assert match is not None
        key = f"{'train' if match['part'] == 'train' else 'test'}-{match['holds']}"
        other = files.setdefault(key, path)
        if _bare(other) != _bare(path):
            sets = sorted({f"{found.parent.name}/{found.name}" for found in (other, path)})
            raise ValueError(
                f"{source} holds several data sets, {' and '.join(sets)}: name the files of one by a pattern"
            )
    return files


def _candidates(source: Path) -> list[Path]:
    """Return the files with names of IDX files; a name comes before the same name with .gz."""
    if not source.is_dir():
        found = [Path(name) for name in sorted(glob.glob(str(source)))]
        return [path for path in found if FILE_NAME.fullmatch(path.name) and path.is_file()]
    for folders in ([source], [source / "raw"], sorted(source.glob("*/raw"))):
        inside = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
        if found := [path for path in inside if FILE_NAME.fullmatch(path.name) and path.is_file()]:
            return found
    return []


def _bare(path: Path) -> tuple[Path, str]:
    """Return the folder and the name of a file but for how copies write it."""
    return path.parent, path.name.removesuffix(".gz").replace(".idx", "-idx")


def _read(file: BinaryIO | gzip.GzipFile, path: Path) -> NDArray[np.generic]:
    data = file.read(4)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES or data[3] == 0:
        raise ValueError(
            f"{path} is not an IDX file: expected it to begin with 00 00, a dtype code of "
            f"{', '.join(f'{code:02x}' for code in DTYPES)} and a number of dimensions >= 1, "
            f"got {data[:4].hex(' ') or 'nothing'}"
        )
    dtype, ndim = np.dtype(DTYPES[data[2]]), data[3]
    if ndim > MOST_DIMENSIONS:
        raise ValueError(f"{path} should have at most {MOST_DIMENSIONS} dimensions, got {ndim}")
    header = 4 + 4 * ndim
    data += file.read(4 * ndim)
    if len(data) < header:
        raise ValueError(
            f"{path} is truncated: expected a header of {header} bytes for {ndim} dimensions, got {len(data)} bytes"
        )
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        raise ValueError(f"{path} should hold values, got shape {shape}")
    content = _read_up_to(file, size + 1)
    if len(content) != size:
        fault = "is truncated" if len(content) < size else "has bytes after its end"
        raise ValueError(
            f"{path} {fault}: expected {header + size} bytes for shape {shape} of {dtype.name}, "
            f"got {header + len(content)}{' or more' * (len(content) > size)}"
        )
    values = np.frombuffer(content, dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(file: BinaryIO | gzip.GzipFile, most: int) -> bytearray:
    """Read up to so many bytes, in pieces: a number in a header takes no memory, only what is there does."""
    content = bytearray()
    while len(content) < most and (piece := file.read(min(PIECE, most - len(content)))):
        content += piece
    return content
