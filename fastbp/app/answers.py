"""Predictions as a file: .csv, .npy or .npz, written whole or not at all."""

import csv
import io
import os
import zipfile
from collections.abc import Callable

import numpy as np

from fastbp._base.files import write_atomically
from fastbp.app.pipeline import Array, Pipeline

Columns = dict[str, Array]


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for a file that `write_answers` cannot write, before anything is computed."""
    if _ending(path) not in _WRITERS:
        raise ValueError(f"--out expects a file that ends in {', '.join(_WRITERS)}; got {os.fspath(path)}")


def write_answers(path: str | os.PathLike[str], pipeline: Pipeline, z: Array, first: Columns) -> Columns:
    """Write what the network's outputs say, a row a row, behind the columns that come first; return the columns.

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
    columns = {**first, **columns}
    write_atomically(path, _WRITERS[_ending(path)](columns, more))
    return columns


def _ending(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(path)[1].lower()


def _csv(columns: Columns, more: Columns) -> bytes:
    if more:
        columns = columns | {
            f"probability of {name}": p for name, p in zip(more["classes"], more["probabilities"].T, strict=True)
        }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # float32 is what the network computed in: more digits would say nothing.
    writer.writerows(zip(*(v.astype(np.float32) if v.dtype.kind == "f" else v for v in columns.values()), strict=True))
    return text.getvalue().encode()


def _npy(columns: Columns, more: Columns) -> bytes:
    if len(columns) == 1:
        (array,) = columns.values()
    else:
        array = np.empty(len(next(iter(columns.values()))), [(name, v.dtype) for name, v in columns.items()])
        for name, values in columns.items():
            array[name] = values
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _npz(columns: Columns, more: Columns) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # np.savez takes no array by the name of "file"
        for name, values in {**columns, **more}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
    return file.getvalue()


_WRITERS: dict[str, Callable[[Columns, Columns], bytes]] = {".csv": _csv, ".npy": _npy, ".npz": _npz}
