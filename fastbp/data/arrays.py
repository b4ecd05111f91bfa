"""NumPy's files, and the two forms that every reader ends in: features and targets."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from fastbp._base.kinds import EMPTY_ZIP, NPY, ZIP, check_kind

# The format's two versions for arrays of numbers; a third is for names of fields.
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# Deflate, which .npz files use, makes nothing smaller by more than this factor.
MOST_DEFLATED = 1032


# A damaged file can raise nearly anything in the libraries that read it, so all of it is caught here, once the file is
# open, and gets the file's name.


def read_npy(path: Path) -> NDArray[np.generic]:
    """Read the one array of an ``.npy`` file; pickled objects are refused."""
    check_kind(path, ".npy", NPY)
    with path.open("rb") as file:
        try:
            return _read_array(file, path.stat().st_size)
        except Exception as error:
            raise ValueError(f"{path} cannot be read as an .npy file: {error}") from error


def npz_keys(path: Path) -> list[str]:
    """Name the arrays of an ``.npz`` file."""
    check_kind(path, ".npz", ZIP, EMPTY_ZIP)
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        except Exception as error:
            raise ValueError(f"{path} is damaged or not an .npz file: {error}") from error


def read_npz(path: Path, key: str) -> NDArray[np.generic]:
    """Read one array of an ``.npz`` file, and no other; pickled objects are refused."""
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as member:
                size = archive.getinfo(f"{key}.npy").file_size
                return _read_array(member, min(size, MOST_DEFLATED * path.stat().st_size))
        except Exception as error:
            raise ValueError(f"{path}: array {key!r} cannot be read: {error}") from error


def _read_array(file: IO[bytes], size: int) -> NDArray[np.generic]:
    """Read an array of the .npy format, of at most `size` bytes: NumPy takes what memory the header asks for."""
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"expected format 1.0 or 2.0, got {version[0]}.{version[1]}")
    shape, _, dtype = _HEADERS[version](file)
    wanted, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if wanted > held and not dtype.hasobject:
        raise ValueError(f"its header asks for {wanted} bytes, and there are at most {held}")
    file.seek(0)
    values: NDArray[np.generic] = npy.read_array(file, allow_pickle=False)
    if file.read(1):  # at the end an archive compares its checksum
        raise ValueError("there are bytes after its end")
    return values


Features: TypeAlias = NDArray[np.float32] | NDArray[np.uint8]


def as_features(values: ArrayLike, name: str, keep_bytes: bool = False) -> Features:
    """Convert to (rows, features), float32, C-contiguous, finite; never a view of `values`.

    Further axes, as of images, become one. `name` is what errors call the values. With `keep_bytes` an array of uint8
    stays that, and its memory.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} should hold numbers, got dtype {values.dtype}")
    if values.ndim < 2:
        raise ValueError(f"{name} should have shape (rows, features), got {values.shape}")
    if values.size == 0:
        raise ValueError(f"{name} should have rows and features, got shape {values.shape}")
    if keep_bytes and values.dtype == np.uint8:
        return np.ascontiguousarray(values.reshape(len(values), -1))
    with np.errstate(over="ignore"):
        x = np.array(values.reshape(len(values), -1), dtype=np.float32, order="C")
    finite = np.isfinite(x)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        raise ValueError(
            f"{name} should hold finite float32 numbers, "
            f"got {values.reshape(x.shape)[row, column]} at row {row}, feature {column}"
        )
    return x


def as_labels(
    values: ArrayLike, name: str, classes: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Encode labels as 0..C-1.

    Parameters
    ----------
    values : (rows,) or (rows, 1)
        Integers, bool, strings, or floats that are whole numbers.
    name : str
        What errors call the values.
    classes : sequence of str, optional
        The class names in the order to encode them; without it the labels themselves, sorted.

    Returns
    -------
    labels : ndarray of int64, (rows,)
    classes : tuple of str
    """
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"{name} should hold class labels (rows,), got shape {values.shape}")
    if values.dtype.kind not in "biufUS":
        raise ValueError(f"{name} should hold class labels, got dtype {values.dtype}")
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.rint(values))
        if not whole.all():
            raise ValueError(
                f"{name} should hold class labels, got {values[~whole][0]}: a quantity is task='regression'"
            )
        if len(values) and abs(values).max() > 2**53:
            raise ValueError(f"{name} should hold class labels, got {values[abs(values).argmax()]}, too large for one")
        values = values.astype(np.int64)
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} should hold class labels in UTF-8: {error}") from error
    found, labels = np.unique(values, return_inverse=True)
    names = [str(label) for label in found.tolist()]
    if classes is None:
        return labels.astype(np.int64), tuple(names)
    unknown = [label for label in names if label not in classes]
    if unknown:
        raise ValueError(f"{name} should hold the classes {', '.join(classes)}, got {unknown[0]!r}")
    codes = np.array([list(classes).index(label) for label in names], np.int64)
    return codes[labels], tuple(classes)


def as_quantities(values: ArrayLike, name: str) -> Features:
    """Convert targets of a regression to (rows, outputs), float32, finite."""
    values = np.asarray(values)
    return as_features(values[:, None] if values.ndim == 1 else values, name)
