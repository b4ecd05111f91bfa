"""What a source holds: raw features and targets, before any encoding or splitting."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.kinds import kind_of
from fastbp.data.arrays import Features, as_features, npz_keys, read_npy, read_npz
from fastbp.data.idx import FILE_NAME, find_idx_files, read_idx
from fastbp.data.tables import SUFFIXES, read_features, read_table, read_target


@dataclass(frozen=True, eq=False)
class Parts:
    """What a reader found: raw targets, and the test rows that the source itself holds out."""

    x: Features
    y: NDArray[np.generic]
    x_test: Features | None = None
    y_test: NDArray[np.generic] | None = None
    feature_names: tuple[str, ...] = field(default=(), kw_only=True)


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load 1797 handwritten digits, 8×8 pixels each.

    The test set of the UCI data set *Optical Recognition of Handwritten Digits* [1]_, in the values
    and the order of scikit-learn's ``load_digits``. It comes with fastbp; nothing is downloaded.

    Returns
    -------
    x : ndarray of float32, (1797, 64)
        Pixels, 0 (paper) to 16 (ink).
    y : ndarray of int64, (1797,)
        The digits, 0 to 9.

    References
    ----------
    .. [1] E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49, CC BY 4.0.

    Examples
    --------
    >>> x, y = load_digits()
    >>> x.shape, x.max(), y[:5]
    ((1797, 64), np.float32(16.0), array([0, 1, 2, 3, 4]))
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as digits:
        return digits["x"].astype(np.float32), digits["y"].astype(np.int64)


def load_features(
    source: str | os.PathLike[str], *, feature_names: Sequence[str] | None = None, keep_bytes: bool = False
) -> Features:
    """Load features alone, to predict from.

    Parameters
    ----------
    source : str or path
        ``"digits"`` (all of them), a ``.csv``, ``.parquet``, ``.npy`` or IDX file, an ``.npz`` file (its ``x``,
        ``X``, ``x_test`` or ``X_test``), or a folder of IDX files (its test images).
    feature_names : sequence of str, optional
        The columns of a table to read, in this order; others are ignored. Without it all.
    keep_bytes : bool, default False
        Whether bytes, as of images, stay uint8, a quarter of the memory; see `fastbp.Scaled`.

    Returns
    -------
    x : ndarray of float32, (rows, features)
        As in the file: neither scaled nor standardised.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As in `load_dataset`.
    """
    name = os.fspath(source)
    if name == "digits":
        return load_digits()[0]
    path = _existing(name)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return read_features(read_table(path), path, feature_names)[0]
    if suffix == ".npz":
        key = _first(("x", "X", "x_test", "X_test"), npz_keys(path), path)
        return as_features(read_npz(path, key), f"{path}: {key}", keep_bytes)
    if suffix == ".npy":
        return as_features(read_npy(path), str(path), keep_bytes)
    if path.is_dir():
        images = find_idx_files(path).get("t10k-images")
        if images is None:
            raise ValueError(f"{path} holds no t10k-images-idx3-ubyte or .gz")
        return as_features(read_idx(images), str(images), keep_bytes)
    if FILE_NAME.fullmatch(path.name) or suffix == ".idx" or "-idx" in path.name:
        return as_features(read_idx(path), str(path), keep_bytes)
    raise ValueError(
        f"{path} is of no known kind: expected 'digits', .csv, .parquet, .npz, .npy, an IDX file "
        f"(such as t10k-images-idx3-ubyte.gz) or a folder of them; it is {kind_of(path)}"
    )


def read_parts(name: str, target: str | None, feature_names: Sequence[str] | None, keep_bytes: bool) -> Parts:
    """Read a source of `load_dataset`, which documents the arguments."""
    path = Path(name)
    if path.suffix.lower() in SUFFIXES:
        return _read_table_parts(_existing(name), target, feature_names)
    for option, value in (("target", target), ("feature_names", feature_names)):
        if value:
            raise ValueError(f"{option} names columns of a .csv or .parquet file, and {name} is neither: got {value!r}")
    if name == "digits":
        return Parts(*load_digits())
    if _existing(name).is_dir():
        return _read_idx_parts(path, keep_bytes)
    if path.suffix.lower() == ".npz":
        return _read_npz_parts(path, keep_bytes)
    raise ValueError(
        f"{name} is of no known kind: expected 'digits', a folder of IDX files, .npz, .csv or .parquet; "
        f"it is {kind_of(path)}"
    )


def _read_table_parts(path: Path, target: str | None, feature_names: Sequence[str] | None) -> Parts:
    table = read_table(path)
    if target is None:
        raise ValueError(f"{path} needs target, the column to predict; it has {', '.join(table.column_names)}")
    y = read_target(table, path, target)
    x, names = read_features(table, path, feature_names, exclude=target)
    return Parts(x, y, feature_names=names)


def _read_npz_parts(path: Path, keep_bytes: bool) -> Parts:
    held = npz_keys(path)
    x = _first(("x_train", "X_train", "x", "X"), held, path)
    if x.endswith("_train"):
        keys = [x, _first(("y_train",), held, path)]
        if any(key.endswith("_test") for key in held):
            keys += [_first((x.replace("train", "test"),), held, path)]
            keys += [_first(("y_test",), held, path)]
    else:
        keys = [x, _first(("y",), held, path)]
    return _paired(keep_bytes, *((f"{path}: {key}", read_npz(path, key)) for key in keys))


def _read_idx_parts(folder: Path, keep_bytes: bool) -> Parts:
    found = find_idx_files(folder)
    keys = ["train-images", "train-labels"]
    if "t10k-images" in found or "t10k-labels" in found:
        keys += ["t10k-images", "t10k-labels"]
    for key in keys:
        if key not in found:
            dims = "idx3" if key.endswith("images") else "idx1"
            raise ValueError(
                f"{folder} holds no {key}-{dims}-ubyte or {key}-{dims}-ubyte.gz; "
                f"of MNIST's files it holds {', '.join(p.name for p in found.values()) or 'none'}"
            )
    return _paired(keep_bytes, *((str(found[key]), read_idx(found[key])) for key in keys))


def _paired(keep_bytes: bool, *arrays: tuple[str, NDArray[np.generic]]) -> Parts:
    """Make parts of named x, y and maybe test x, y; check that they belong together."""
    parts: list[NDArray[Any]] = []
    for (name, x), (y_name, y) in zip(arrays[::2], arrays[1::2], strict=True):
        features = as_features(x, name, keep_bytes)
        if y.ndim == 0 or len(features) != len(y):
            raise ValueError(f"{name} and {y_name} should have as many rows, got shapes {x.shape} and {y.shape}")
        parts += [features, y]
    for (name, ours), (test_name, test) in zip(arrays[:2], arrays[2:], strict=False):
        if ours.shape[1:] != test.shape[1:]:
            raise ValueError(
                f"{name} and {test_name} should differ in rows alone, got shapes {ours.shape} and {test.shape}"
            )
    return Parts(*parts)


def _first(wanted: Sequence[str], held: Sequence[str], path: Path) -> str:
    for key in wanted:
        if key in held:
            return key
    raise ValueError(f"{path} should hold an array {' or '.join(wanted)}, got {', '.join(held) or 'none'}")


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {name!r}; the data set that comes with fastbp is 'digits'")
    return path
