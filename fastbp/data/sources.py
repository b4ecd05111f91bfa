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
from fastbp.data.reading.files import KINDS, holds_tables, is_pattern, is_table, read_table
from fastbp.data.reading.frames import is_frame, read_frame
from fastbp.data.reading.table import FOUND, ReadOptions, Table
from fastbp.data.tables import read_features, read_target


@dataclass(frozen=True, eq=False)
class Parts:
    """What a reader found: raw targets, and the test rows that the source itself holds out."""

    x: Features
    y: NDArray[np.generic]
    x_test: Features | None = None
    y_test: NDArray[np.generic] | None = None
    feature_names: tuple[str, ...] = field(default=(), kw_only=True)
    table: Table | None = field(default=None, kw_only=True)  # that it comes from


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
    source: str | os.PathLike[str] | Any,
    *,
    feature_names: Sequence[str] | None = None,
    keep_bytes: bool = False,
    reading: ReadOptions = FOUND,
    assumed: ReadOptions = FOUND,
) -> Features:
    """Load features alone, to predict from.

    Parameters
    ----------
    source : str, path or data frame
        ``"digits"`` (all of them), a table as in `load_dataset`, an ``.npy`` or IDX file, an ``.npz`` file (its ``x``,
        ``X``, ``x_test`` or ``X_test``), or a folder of IDX files (its test images).
    feature_names : sequence of str, optional
        The columns of a table to read, in this order; others are ignored. Without it all.
    keep_bytes : bool, default False
        Whether bytes, as of images, stay uint8, a quarter of the memory; see `fastbp.Scaled`.
    reading, assumed : ReadOptions, optional
        As in `load_dataset`.

    Returns
    -------
    x : ndarray of float32, (rows, features)
        As in the file: neither scaled nor standardised.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As in `load_dataset`.
    """
    found = opened(source, reading, assumed)
    if isinstance(found, Table):
        return read_features(found, feature_names)[0]
    _refuse_options(found, reading)
    if found == "digits":
        return load_digits()[0]
    path = _existing(found)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        key = _first(("x", "X", "x_test", "X_test"), npz_keys(path), path)
        return as_features(read_npz(path, key), f"{path}: {key}", keep_bytes)
    if suffix == ".npy":
        return as_features(read_npy(path), str(path), keep_bytes)
    if path.is_dir():
        images = find_idx_files(path).get("test-images")
        if images is None:
            raise ValueError(f"{path} holds no t10k-images-idx3-ubyte or .gz")
        return as_features(read_idx(images), str(images), keep_bytes)
    if _is_idx(path):
        return as_features(read_idx(path), str(path), keep_bytes)
    raise ValueError(
        f"{path} is of no known kind: expected 'digits', a table, .npz, .npy, an IDX file "
        f"(such as t10k-images-idx3-ubyte.gz) or a folder of them; it is {kind_of(path)}"
    )


def read_parts(
    source: str | Any,
    target: str | None,
    feature_names: Sequence[str] | None,
    keep_bytes: bool,
    reading: ReadOptions = FOUND,
    assumed: ReadOptions = FOUND,
) -> Parts:
    """Read a source of `load_dataset`, which documents the arguments."""
    name = opened(source, reading, assumed)
    if isinstance(name, Table):
        return _table_parts(name, target, feature_names)
    for option, value in (("target", target), ("feature_names", feature_names)):
        if value:
            raise ValueError(
                f"{option} names columns of a table, such as a .csv file, and {name} is none: got {value!r}"
            )
    _refuse_options(name, reading)
    if name == "digits":
        return Parts(*load_digits())
    path = Path(name)
    if is_pattern(name) or _existing(name).is_dir():
        return _read_idx_parts(path, keep_bytes)
    if path.suffix.lower() == ".npz":
        return _read_npz_parts(path, keep_bytes)
    raise ValueError(
        f"{name} is of no known kind: expected 'digits', a table, a folder of IDX files or .npz; it is {kind_of(path)}"
    )


def opened(source: Any, reading: ReadOptions, assumed: ReadOptions) -> Any:
    """Read a source that is a table into one; return others as they are."""
    if isinstance(source, Table):
        return source
    if is_frame(source):
        if given := reading.given():
            raise ValueError(f"a data frame takes no {', '.join(given)}: these are of text")
        return read_frame(source)
    name = os.fspath(source)
    return read_table(name, reading, assumed) if is_table_source(name) else name


def is_table_source(name: str) -> bool:
    """Whether a source is a table: by its ending, or else by its content."""
    path = Path(name)
    if name == "digits":
        return False
    if path.is_dir() or is_pattern(name):
        return not find_idx_files(path) and (is_pattern(name) or holds_tables(path))
    if is_table(name):
        return True
    return path.suffix.lower() not in (".npz", ".npy") and not _is_idx(_existing(name)) and kind_of(path) in KINDS


def _is_idx(path: Path) -> bool:
    return FILE_NAME.fullmatch(path.name) is not None or path.suffix.lower() == ".idx" or "-idx" in path.name


def _refuse_options(name: str, reading: ReadOptions) -> None:
    if given := reading.given():
        raise ValueError(f"{name} is no table of text, and so takes no {', '.join(given)}")


def _table_parts(table: Table, target: str | None, feature_names: Sequence[str] | None) -> Parts:
    if target is None:
        raise ValueError(f"{table.name} needs target, the column to predict; it has {', '.join(table.names)}")
    y = read_target(table, target)
    x, names = read_features(table, feature_names, exclude=target)
    return Parts(x, y, feature_names=names, table=table)


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
    if "test-images" in found or "test-labels" in found:
        keys += ["test-images", "test-labels"]
    for key in keys:
        if key not in found:
            part, holds = key.split("-")
            other = found.get(f"{part}-{'labels' if holds == 'images' else 'images'}")
            name = "train" if other is None else other.name.split(f"-{'labels' if holds == 'images' else 'images'}")[0]
            name = f"{name}-{holds}-idx{3 if holds == 'images' else 1}-ubyte"
            held = ", ".join(p.name for p in found.values()) or "none"
            raise ValueError(f"{folder} holds no {name} or {name}.gz; of MNIST's files it holds {held}")
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
