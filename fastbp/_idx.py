"""IDX, the file format of MNIST: a header with dtype and shape, then the values, big-endian.

The format is described at the end of the MNIST page of Y. LeCun, C. Cortes and C. Burges.
"""

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The third byte of a file names its dtype.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# MNIST's own names; copies are found with "." before "idx", and unpacked or not.
FILE_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx\d-\w+(\.gz)?")


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
    data = _read_bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES or data[3] == 0:
        raise ValueError(
            f"{path} is not an IDX file: expected it to begin with 00 00, a dtype code of "
            f"{', '.join(f'{code:02x}' for code in DTYPES)} and a number of dimensions >= 1, "
            f"got {data[:4].hex(' ') or 'nothing'}"
        )
    dtype, ndim = np.dtype(DTYPES[data[2]]), data[3]
    header = 4 + 4 * ndim
    if len(data) < header:
        raise ValueError(
            f"{path} is truncated: expected a header of {header} bytes for {ndim} dimensions, got {len(data)} bytes"
        )
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    expected = header + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        fault = "is truncated" if len(data) < expected else "has bytes after its end"
        raise ValueError(
            f"{path} {fault}: expected {expected} bytes for shape {shape} of {dtype.name}, got {len(data)}"
        )
    values = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Find MNIST's files in a folder: ``"train-images"`` etc. → path.

    Where a file is there twice, the unpacked one is taken.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):  # a name sorts before the same name with .gz
        match = FILE_NAME.fullmatch(path.name)
        if match and path.is_file():
            files.setdefault(f"{match[1]}-{match[2]}", path)
    return files


def _read_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a damaged or truncated gzip file: {error}") from error
