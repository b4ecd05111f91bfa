"""What the blocks of a column say together: sums, extremes, values at ranks, distinct ones. It is exact."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.labels import Labels
from fastbp.data.columns.values import Array, Read

AT_ONCE = 1 << 21  # values that are gathered, of a column that is not in memory
MOST_LABELS = 1_000_000  # of such a column
BITS = 16  # by which ranks are narrowed down in a pass
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class Numbers:
    """Numbers or times of all blocks.

    Attributes
    ----------
    known, missing : int
        Rows with a value and without one; those that are wrong are neither.
    low, high : number or None
        Of those that are known.
    whole : bool
        Whether all of them are whole numbers.
    dtype : dtype
        int64 where float64 would lose digits of one.
    digest : bytes
        Differs where values, or which are missing, do.
    """

    known: int
    missing: int
    low: Any
    high: Any
    whole: bool
    dtype: np.dtype[Any]
    digest: bytes


def survey(reads: Column[Read]) -> Numbers:
    """Go through the blocks of a column once."""
    known = missing = 0
    ends: list[Any] = []
    whole, wide = True, False
    places, digest = hashlib.blake2b(), hashlib.blake2b()
    for read in reads:
        values = read.known
        if len(values):
            both = [*ends, values.min(), values.max()]
            ends = [min(both), max(both)]
            with np.errstate(invalid="ignore"):
                whole = whole and bool(values.dtype == np.int64 or (values == np.rint(values)).all())
        known, missing = known + len(values), missing + int(read.missing.sum())
        wide = wide or read.values.dtype == np.int64
        places.update(np.packbits(read.missing).tobytes())
        digest.update(np.where(read.missing, 0, read.values).tobytes())
    digest.update(places.digest())
    low, high = ends or (None, None)
    dtype = np.dtype(np.int64 if wide else np.float64)
    return Numbers(known, missing, low, high, whole, dtype, digest.digest())


def known_values(reads: Column[Read], dtype: np.dtype[Any]) -> Column[Array]:
    """Return the values that are known, all of one dtype."""
    return reads.map(lambda read: read.known.astype(dtype, copy=False))


def count_distinct(values: Column[Array], count: int) -> int:
    """Return how many values differ, of so many: some of them at a time, by a hash."""
    parts = 1 if values.in_memory else -(-count // AT_ONCE)
    differing = 0
    for part in range(parts):
        found: Array = np.empty(0)
        for block in values:
            some = block if parts == 1 else block[_hash(block) % np.uint64(parts) == part]
            found = np.unique(np.concatenate([found.astype(block.dtype), some]))
        differing += len(found)
    return differing


def at_ranks(values: Column[Array], count: int, ranks: Sequence[int]) -> Array:
    """Return the values at these places of their order, the first of which is 0; of `count` numbers, none of them NaN.

    What is not in memory is narrowed down: a pass counts values by their next bits, until few are left to be gathered.
    """
    if values.in_memory:
        (block,) = values
        return np.asarray(np.partition(block, sorted(set(ranks)))[list(ranks)])
    found: dict[int, int] = {}
    dtype = next(iter(values)).dtype
    shift, open_ = 64, {0: (0, count, sorted(set(ranks)))}  # by the bits known: values below, inside, and ranks
    while open_:
        step = min(BITS, shift)
        gathered: dict[int, list[Array]] = {start: [] for start, (_, size, _) in open_.items() if size <= AT_ONCE}
        counts = {start: np.zeros(1 << step, np.int64) for start in open_ if start not in gathered}
        for block in values:
            keys = _keys(block)
            above = keys >> np.uint64(shift) if shift < 64 else np.zeros_like(keys)
            for start in open_:
                inside = keys if shift == 64 else keys[above == start]
                if start in gathered:
                    gathered[start].append(inside)
                else:
                    bits = (inside >> np.uint64(shift - step)) & np.uint64((1 << step) - 1)
                    counts[start] += np.bincount(bits.astype(np.int64), minlength=1 << step)
        narrowed: dict[int, tuple[int, int, list[int]]] = {}
        for start, (below, _, wanted) in open_.items():
            if start in gathered:
                keys = np.sort(np.concatenate(gathered[start]))
                found |= {rank: int(keys[rank - below]) for rank in wanted}
                continue
            ends = below + np.cumsum(counts[start])
            for rank in wanted:
                bits = int(np.searchsorted(ends, rank, side="right"))
                size = int(counts[start][bits])
                entry = narrowed.setdefault((start << step) + bits, (int(ends[bits]) - size, size, []))
                entry[2].append(rank)
        shift -= step
        if shift == 0:  # all that is left inside is the same
            found |= {rank: key for key, (_, _, wanted) in narrowed.items() for rank in wanted}
            narrowed = {}
        open_ = narrowed
    return _values(np.array([found[rank] for rank in ranks], np.uint64), dtype)


@dataclass(frozen=True)
class Names:
    """Labels of all blocks.

    Attributes
    ----------
    names, stood : tuple of str
        As of `Labels`; the first ones where there are too many.
    known, missing : int
        Rows with a label and without one.
    digest : bytes
        Differs where labels of rows do.
    too_many : bool
        Whether there are more than are counted of a column that is not in memory.
    """

    names: tuple[str, ...]
    stood: tuple[str, ...]
    known: int
    missing: int
    digest: bytes
    too_many: bool = False


def survey_labels(blocks: Column[Labels]) -> Names:
    """Go through the blocks of a column once."""
    stood: list[str] = []
    place: dict[str, int] = {}
    known = missing = 0
    digest, too_many = hashlib.blake2b(), False
    for labels in blocks:
        lacking = int((labels.codes < 0).sum())
        known, missing = known + len(labels.codes) - lacking, missing + lacking
        if too_many:
            continue
        codes = labels.codes
        if not place:  # the places are those of the first block
            place, stood = dict(zip(labels.names, range(len(labels.names)), strict=True)), list(labels.stood)
        else:
            for name, text in zip(labels.names, labels.stood, strict=True):
                if name not in place:
                    place[name] = len(place)
                    stood.append(text)
            codes = np.array([*map(place.__getitem__, labels.names), -1])[codes]
        digest.update(codes.tobytes())
        too_many = len(place) > MOST_LABELS and not blocks.in_memory
    digest.update(repr(tuple(place)).encode("utf-8", "surrogatepass"))
    return Names(tuple(place), tuple(stood), known, missing, digest.digest(), too_many)


def first_of(column: Column[Any], wrong: Callable[[Any], NDArray[np.bool_]]) -> tuple[int, Any, int]:
    """Return the first row of a column that is wrong, its value, and how many are; -1, None and 0 without one."""
    start, row, value, count = 0, -1, None, 0
    for block in column:
        mask = wrong(block)
        if mask.any() and row < 0:
            first = int(np.argmax(mask))
            row, value = start + first, block[first].as_py()
        start, count = start + len(block), count + int(mask.sum())
    return row, value, count


def _bits(values: Array) -> NDArray[np.uint64]:
    values = values + 0.0 if values.dtype == np.float64 else values  # -0.0 is 0.0
    return np.ascontiguousarray(values).view(np.uint64)


def _hash(values: Array) -> NDArray[np.uint64]:
    return np.asarray((_bits(values) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32))


def _keys(values: Array) -> NDArray[np.uint64]:
    """Return whole numbers in the order of values of float64 or int64."""
    bits = _bits(values)
    if values.dtype == np.int64:
        return bits ^ _SIGN
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(keys: NDArray[np.uint64], dtype: np.dtype[Any]) -> Array:
    """Return the values of keys."""
    if dtype == np.int64:
        return (keys ^ _SIGN).view(np.int64)
    return np.where(keys & _SIGN, keys ^ _SIGN, ~keys).view(np.float64)
