"""Predictions as a file: .csv, .npy or .npz, written whole or not at all."""

import csv
import io
import mmap
import os
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import numpy as np

from fastbp._base.files import write_atomically
from fastbp.app.pipeline import Array, Pipeline
from fastbp.data.reading.temporary import temporary_file

Columns = dict[str, Array]


class Answers(NamedTuple):
    """What rows are answered with: columns, and what only some kinds of files have, see `answers_of`."""

    columns: Columns
    more: Columns


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for a file that `write_answers` cannot write, before anything is computed."""
    if _ending(path) not in _WRITERS:
        raise ValueError(f"--out expects a file that ends in {', '.join(_WRITERS)}; got {os.fspath(path)}")


def answers_of(pipeline: Pipeline, z: Array, first: Columns) -> Answers:
    """Return what the network's outputs say, a row a row, behind the columns that come first.

    Classes: ``class``, the most probable one's name, and its ``probability``; a .csv has the probability of each class
    too, ``probability of NAME``, and an .npz the ``probabilities`` of all ``classes``. Quantities: the target's name,
    or ``prediction``; one column an output.
    """
    more: Columns = {}
    if pipeline.classes:
        p = pipeline.probabilities(z)
        columns: Columns = {"class": np.array(pipeline.classes)[z.argmax(axis=1)], "probability": p.max(axis=1)}
        more = {"classes": np.array(pipeline.classes), "probabilities": p}
    else:
        columns = dict(zip(pipeline.answers, pipeline.quantities(z).T, strict=True))
    if twice := [name for name in first if name in columns or name in more]:
        raise ValueError(f"predict expects --id of another name than a column of the answers, got {twice[0]}")
    return Answers({**first, **columns}, more)


def write_answers(path: str | os.PathLike[str], blocks: Iterator[Answers]) -> tuple[str, ...]:
    """Write answers, block by block; return the names of the columns.

    A .csv is written as they come; what .npy and .npz hold is kept until the last one is there.
    """
    with temporary_file() as file:
        names = _WRITERS[_ending(path)](file, blocks)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            write_atomically(path, memoryview(content))
    return names


def _ending(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(path)[1].lower()


def _csv(file: IO[bytes], blocks: Iterator[Answers]) -> tuple[str, ...]:
    names: tuple[str, ...] = ()
    for columns, more in blocks:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        shown = dict(columns)
        if more:
            each = zip(more["classes"], more["probabilities"].T, strict=True)
            shown |= {f"probability of {name}": p for name, p in each}
        if not names:
            names = tuple(columns)
            writer.writerow(shown)
        # float32 is what the network computed in: more digits would say nothing.
        values = (v.astype(np.float32) if v.dtype.kind == "f" else v for v in shown.values())
        writer.writerows(zip(*values, strict=True))
        file.write(text.getvalue().encode())
    return names


def _joined(blocks: Iterator[Answers]) -> Answers:
    """Return the answers of all blocks in one."""
    first, *others = blocks
    if not others:
        return first
    parts = [first, *others]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns}
    more = {name: np.concatenate([part.more[name] for part in parts]) for name in first.more if name != "classes"}
    return Answers(columns, first.more | more)


def _npy(file: IO[bytes], blocks: Iterator[Answers]) -> tuple[str, ...]:
    columns, _ = _joined(blocks)
    if len(columns) == 1:
        (array,) = columns.values()
    else:
        array = np.empty(len(next(iter(columns.values()))), [(name, v.dtype) for name, v in columns.items()])
        for name, values in columns.items():
            array[name] = values
    np.lib.format.write_array(file, array, allow_pickle=False)
    return tuple(columns)


def _npz(file: IO[bytes], blocks: Iterator[Answers]) -> tuple[str, ...]:
    columns, more = _joined(blocks)
    with zipfile.ZipFile(file, "w") as archive:  # np.savez takes no array by the name of "file"
        for name, values in {**columns, **more}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
    return tuple(columns)


_WRITERS: dict[str, Callable[[IO[bytes], Iterator[Answers]], tuple[str, ...]]] = {
    ".csv": _csv,
    ".npy": _npy,
    ".npz": _npz,
}
