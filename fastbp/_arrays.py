"""NumPy's files, and the two forms that every reader ends in: features and targets."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray


def read_npy(path: Path) -> NDArray[np.generic]:
    """Read the one array of an ``.npy`` file; pickled objects are refused."""
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an .npy file: {error}") from error
    if not isinstance(values, np.ndarray):
        values.close()
        raise ValueError(f"{path} is an .npz archive, expected one .npy array")
    return values


def npz_keys(path: Path) -> list[str]:
    """Name the arrays of an ``.npz`` file."""
    # np.load takes whatever is no archive for an array or a pickle; zipfile says what is wrong.
    try:
        with zipfile.ZipFile(path) as archive:
            return [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or not an .npz file: {error}") from error


def read_npz(path: Path, key: str) -> NDArray[np.generic]:
    """Read one array of an ``.npz`` file, and no other; pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            values: NDArray[np.generic] = archive[key]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: array {key!r} cannot be read: {error}") from error
    return values


def as_features(values: ArrayLike, name: str) -> NDArray[np.float32]:
    """Convert to (rows, features), float32, C-contiguous, finite; never a view of `values`.

    Further axes, as of images, become one. `name` is what errors call the values.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} should hold numbers, got dtype {values.dtype}")
    if values.ndim < 2:
        raise ValueError(f"{name} should have shape (rows, features), got {values.shape}")
    if values.size == 0:
        raise ValueError(f"{name} should have rows and features, got shape {values.shape}")
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
        values = np.char.decode(values, "utf-8")
    found, labels = np.unique(values, return_inverse=True)
    names = [str(label) for label in found.tolist()]
    if classes is None:
        return labels.astype(np.int64), tuple(names)
    unknown = [label for label in names if label not in classes]
    if unknown:
        raise ValueError(f"{name} should hold the classes {', '.join(classes)}, got {unknown[0]!r}")
    codes = np.array([list(classes).index(label) for label in names], np.int64)
    return codes[labels], tuple(classes)


def as_quantities(values: ArrayLike, name: str) -> NDArray[np.float32]:
    """Convert targets of a regression to (rows, outputs), float32, finite."""
    values = np.asarray(values)
    return as_features(values[:, None] if values.ndim == 1 else values, name)
