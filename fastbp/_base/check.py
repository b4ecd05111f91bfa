"""Every error about what a user passes is raised from here, before anything is changed."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base.frames import as_array
from fastbp._base.inputs import Input, Readable, numbers_input
from fastbp._base.sparse import StoredRows, is_sparse, stored_rows
from fastbp.kernels import entries

Array = NDArray[Any]
T = TypeVar("T")
Rows = TypeVar("Rows", Array, Input, Array | Input, Array | Input | StoredRows)

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
INT64 = np.dtype(np.int64)
# So many numbers NumPy converts in less time than it takes to say to a kernel where they stand.
FEW_NUMBERS = 1 << 16


def float_dtype(dtype: DTypeLike, who: str) -> np.dtype[Any]:
    """Return float32 or float64; TypeError for any other."""
    try:
        result = None if dtype is None else np.dtype(dtype)  # NumPy takes None for float64
    except TypeError:
        result = None
    if result is None or result not in FLOATS:
        raise TypeError(f"{who} expects dtype float32 or float64, got {dtype!r}")
    return result


def integer(value: Any, who: str, name: str, smallest: int = 1, largest: int = 2**53) -> int:
    """Return a whole number from `smallest` to `largest`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{who} expects {name} to be an int, got {value!r}")
    if value < smallest:
        raise ValueError(f"{who} expects {name} of at least {smallest}, got {value}")
    if value > largest:
        raise ValueError(f"{who} expects {name} of at most {largest}, got {value}")
    return int(value)


def number(
    value: Any, who: str, name: str, low: float = 0.0, high: float = np.inf, *, open_high: bool = False
) -> float:
    """Return a finite number in [low, high], or in [low, high) with `open_high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{who} expects {name} to be a number, got {value!r}")
    try:
        result = float(value)
    except OverflowError:  # of an int
        result = np.inf
    if not (low <= result <= high and np.isfinite(result)) or (open_high and result == high):
        bounds = f"at least {low:g}" if high == np.inf else f"in [{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{who} expects {name} {bounds}, got {value!r}")
    return result


def flag(value: Any, who: str, name: str) -> bool:
    """Return True or False; the numbers 1 and 0 stand for them, and nothing else does."""
    if not isinstance(value, (bool, np.bool_, int)) or value not in (0, 1):
        raise TypeError(f"{who} expects {name} to be True or False, got {value!r}")
    return bool(value)


def choice(value: Any, options: Mapping[str, T] | Sequence[str], who: str, name: str) -> Any:
    """Return what a name stands for in `options`, or the name itself."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{who} expects {name} to be one of {', '.join(options)}; got {value!r}")
    return options[value] if isinstance(options, Mapping) else value


def several(values: Any, who: str, name: str, of: str) -> tuple[Any, ...]:
    """Return the values of a list, or of another iterable that is no string; `of` says in errors what they are."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{who} expects {name} to be a list of {of}, got {values!r}")
    return tuple(values)


def generator(rng: Any, who: str) -> np.random.Generator:
    """Return a Generator from a seed, a Generator, or None for fresh entropy."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or (isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0):
        return np.random.default_rng(rng)
    raise TypeError(f"{who} expects rng to be a non-negative int or a numpy.random.Generator, got {rng!r}")


def floats(x: Any, dtype: np.dtype[Any], who: str, name: str) -> Array:
    """Return numbers as a C-contiguous, aligned, writable-typed array of `dtype`; a copy only where it has to be.

    Real numbers of other types are converted, once, here. What is no real number is a TypeError.
    """
    same = _as_it_is(x, dtype)
    if same is not None:
        return same
    if isinstance(x, Readable):
        return x._input(dtype).copy()
    return _converted(numbers(x, dtype, who, name), dtype)


def _converted(x: Array, dtype: np.dtype[Any]) -> Array:
    array = np.require(x, dtype, ("C", "A"))
    return array if array.flags.writeable else _alias(array)


def numbers(x: Any, dtype: np.dtype[Any], who: str, name: str) -> Array:
    """Return real numbers as NumPy has them, x itself if it is an array; `dtype` is what they are wanted as."""
    no_mask(x, who, name)
    if type(x).__module__.split(".")[0] == "scipy":
        raise TypeError(f"{who} expects {name} to be a dense array, got {type(x).__name__}; call .toarray() first")
    try:
        array = as_array(x, dtype, who, name)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{who} expects {name} to be an array of numbers: {error}") from None
    except RuntimeError as error:  # a torch tensor that wants a gradient
        raise TypeError(f"{who} expects {name} to be an array of numbers: {error}") from None
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(f"{who} expects {name} of real numbers up to 64 bits, got dtype {array.dtype}")
    return array


def read_later(x: Any, dtype: np.dtype[Any], who: str, name: str) -> Array | Input:
    """Return numbers as `floats` does, or as an input: many that would have to be copied, and stand in rows."""
    same = _as_it_is(x, dtype)
    if same is not None:
        return same
    if isinstance(x, Readable):
        return x._input(dtype)
    array = numbers(x, dtype, who, name)
    if array.size <= FEW_NUMBERS or array.ndim != 2 or _is_plain(array, dtype):
        return _converted(array, dtype)
    return numbers_input(array, dtype)


def _is_plain(x: Array, dtype: np.dtype[Any]) -> bool:
    """Whether rows stand in memory as kernels take arrays."""
    return x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned


def no_mask(x: Any, who: str, name: str) -> None:
    """Refuse a masked array: NumPy's conversions drop the mask and show what it hides."""
    # np.ma would import that, which takes a while, and a child forked meanwhile by another thread would wait for ever.
    # Who has a masked array has imported it.
    if type(x) is not np.ndarray and isinstance(x, getattr(sys.modules.get("numpy.ma.core"), "MaskedArray", ())):
        raise TypeError(f"{who} expects {name} without a mask, got a masked array; fill it first")


def _as_it_is(x: Any, dtype: np.dtype[Any]) -> Array | None:
    """Return an array that kernels can read without a copy; None for any other."""
    if type(x) is np.ndarray and x.dtype is dtype:
        flags = x.flags
        if flags.c_contiguous and flags.aligned:
            return x if flags.writeable else _alias(x)
    return None


class _Alias:
    """A read-only array as a writable one."""

    def __init__(self, x: Array) -> None:
        interface = dict(x.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__, self.keep_alive = interface, x


def _alias(x: Array) -> Array:
    """Return a writable-typed view of a read-only array; kernels only read it.

    Numba would compile every kernel once more for read-only arrays.
    """
    return np.asarray(_Alias(x))


def overlaps(x: Array, *others: Array) -> bool:
    """Return whether x may share memory with one of these arrays."""
    owner = x if x.base is None else x.base
    known = type(owner) is np.ndarray and owner.base is None
    for other in others:
        if known and other.base is None:  # the usual case, and three times as fast
            if owner is other:
                return True
        elif np.may_share_memory(x, other):
            return True
    return False


def apart(x: Rows, *written: Array) -> Rows | Array:
    """Return x, or a copy of it if it may share memory with what a kernel writes meanwhile."""
    if isinstance(x, (Input, StoredRows)):
        shared = any(overlaps(each, *written) for each in x.memory)
    else:
        shared = overlaps(x, *written)
    return x.copy() if shared else x


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as it is written: (3, 4)."""
    return str(tuple(int(n) for n in shape))


def rows(x: Any, features: int, dtype: np.dtype[Any], who: str, name: str = "x") -> Array:
    """Return a (batch, features) array with batch >= 1."""
    array = floats(x, dtype, who, name)
    batch_of(array.shape, features, who, name)
    return array


def inputs(x: Any, features: int, dtype: np.dtype[Any], who: str, name: str = "x") -> Array | Input | StoredRows:
    """Return (batch, features) rows with batch >= 1, which are copied a batch at a time if they have to be.

    Of a sparse matrix they are what is stored.
    """
    same = _as_it_is(x, dtype)
    if same is not None:  # the usual case, found out first
        batch_of(same.shape, features, who, name)
        return same
    sparse = is_sparse(x)
    found = x if sparse else read_later(x, dtype, who, name)
    batch_of(found.shape, features, who, name)
    return stored_rows(found, dtype, who, name) if sparse else found


def batch_of(shape: tuple[int, ...], features: int, who: str, name: str) -> None:
    """Raise ValueError if this is no shape of rows."""
    if len(shape) != 2 or shape[1] != features:
        raise ValueError(f"{who} expects {name} of shape (batch, {features}), got {shape_text(shape)}")
    if shape[0] == 0:
        raise ValueError(f"{who} expects {name} with at least one row, got {shape_text(shape)}")


def exact_shape(array: Rows, shape: tuple[int, ...], who: str, name: str) -> Rows:
    """Return the array, or the input, if it has this shape."""
    if array.shape != shape:
        raise ValueError(f"{who} expects {name} of shape {shape_text(shape)}, got {shape_text(array.shape)}")
    return array


def labels(y: Any, batch: int, classes: int, who: str, ignore_index: int) -> Array:
    """Return class indices 0..classes-1 (or `ignore_index`), int64, (batch,), of whole numbers of any type.

    y : (batch,), or one column
    """
    no_mask(y, who, "targets")
    array = np.asarray(y)
    if array.dtype.kind not in "iubf":
        raise TypeError(f"{who} expects targets of class indices to be integers, got dtype {array.dtype}")
    if array.shape == (batch, 1):
        array = array[:, 0]
    exact_shape(array, (batch,), who, "targets")
    given = array
    if array.dtype.kind == "f":
        broken = array != np.rint(array)  # NaN is; infinity is too large below
        if broken.any():
            at = int(np.argmax(broken))
            raise ValueError(f"{who} expects targets of class indices to be whole numbers, got {array[at]} in row {at}")
        given = np.clip(array.astype(np.float64), -(2.0**62), 2.0**62)
    elif array.dtype == np.uint64:
        given = np.minimum(array, np.uint64(2**62))
    # Numbers that int64 does not hold would wrap: too large they are all the same.
    result = _as_it_is(given, INT64)
    if result is None:
        result = _converted(given, INT64)
    at = entries.first_wrong_label(result, classes, ignore_index)
    if at >= 0:
        raise ValueError(
            f"{who} expects targets in 0..{classes - 1} (or ignore_index {ignore_index}), got {array[at]} in row {at}"
        )
    return result


def no_nan(array: Array, who: str, name: str) -> Array:
    """Return the array if it has no NaN."""
    if np.isnan(array).any():
        raise ValueError(f"{who} expects {name} without NaN, got {np.isnan(array).sum()} of them")
    return array


def weights(w: Any, length: int, dtype: np.dtype[Any], who: str, name: str, smallest: float = 0.0) -> Array:
    """Return finite weights of at least `smallest`, (length,); an empty array for None."""
    if w is None:
        return np.empty(0, dtype)
    array = exact_shape(floats(w, dtype, who, name), (length,), who, name)
    wrong = ~((array >= smallest) & np.isfinite(array))
    if wrong.any():
        at = int(np.argmax(wrong))
        sign = " and not negative" if smallest == 0 else ""
        raise ValueError(f"{who} expects {name} to be finite{sign}, got {array[at]} at {at}")
    return array


def output(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], who: str, *inputs: Array) -> Array:
    """Return the array that receives a result: the caller's, if it fits and overlaps no input, or a new one."""
    if out is None:
        return np.empty(shape, dtype)
    if type(out) is not np.ndarray or out.dtype != dtype:
        raise TypeError(f"{who} expects out to be a {dtype} array, got {getattr(out, 'dtype', type(out).__name__)}")
    exact_shape(out, shape, who, "out")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError(f"{who} expects out to be C-contiguous, aligned and writable")
    if overlaps(out, *inputs):
        raise ValueError(f"{who} expects out to share no memory with its inputs")
    return out


def distribution(p: Any, who: str, name: str) -> NDArray[np.float64]:
    """Return probabilities: not negative, summing to 1 over the last axis."""
    array = floats(p, np.dtype(np.float64), who, name)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(
            f"{who} expects {name} to hold probabilities along its last axis, got {shape_text(array.shape)}"
        )
    if not (array >= 0).all():
        raise ValueError(f"{who} expects probabilities in {name} that are not negative, got {array.min()}")
    sums = array.sum(-1)
    if not np.allclose(sums, 1, rtol=0, atol=1e-5):
        worst = float(np.ravel(sums)[np.argmax(np.abs(np.ravel(sums) - 1))])
        raise ValueError(f"{who} expects {name} to sum to 1 along its last axis, got a sum of {worst:.6g}")
    return array
