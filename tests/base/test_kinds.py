"""A file of one kind given to the reader of another is an error that says what it is, and what is expected."""

import gzip
import os
import struct
import zlib

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import fastbp
from fastbp._base.kinds import kind_of, kind_of_bytes
from fastbp.app.cli import app
from torture.readers import KINDS as DATA

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 1, 1, 8, 2, 0, 0, 0) + zlib.compress(b"\0" * 4)
CONTENTS = {
    "a .npy array": DATA["npy"][1],
    "a zip archive": DATA["npz"][1],
    "an IDX file": DATA["idx"][1],
    "a file packed by gzip": DATA["idx.gz"][1],
    "text": DATA["csv"][1],
    "a PNG image": lambda: PNG,
    "a JPEG image": lambda: b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100),
    "a Python pickle": lambda: b"\x80\x04\x95" + bytes(50),
    "an empty zip archive": lambda: b"PK\x05\x06" + bytes(18),
    "empty": lambda: b"",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a file of every kind, without an ending that says so."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind, make in CONTENTS.items():
        (folder / kind).write_bytes(make())
    model = fastbp.mlp([2, 2], rng=0)
    model.save(folder / "a model of fastbp")
    fastbp.Trainer(model).save_checkpoint(folder / "a checkpoint of fastbp")
    save_file({"w": np.zeros(3)}, folder / "a safetensors file")
    (folder / "a folder").mkdir()
    return {path.name: path for path in folder.iterdir()}


def test_each_kind_is_known(files):
    assert len(files) == len(CONTENTS) + 4
    for kind, path in files.items():
        assert kind_of(path).startswith(kind)
    assert kind_of("/dev/null") == "no regular file"
    for size in range(500, 520):  # letters of two bytes, cut where the look ends
        assert kind_of_bytes(("x" * (size % 2) + "ü" * size).encode()) == "text"
    assert kind_of_bytes(b"\x1b[31m, \xfc") == "binary data of no known kind"


# Readers by what they read, the ending they go by, and what they take without an error
READERS = {
    "model": (fastbp.load, "", {"a model of fastbp"}),
    "checkpoint": (fastbp.Trainer.load_checkpoint, "", {"a checkpoint of fastbp"}),
    **{
        f"{ending} {load.__name__}": (load, ending, takes)
        for load in (fastbp.load_features, fastbp.load_dataset)
        for ending, takes in {
            ".csv": {"text"}, ".parquet": set(), ".npz": {"a zip archive"}, ".npy": {"a .npy array"},
            "-idx3": {"an IDX file", "a file packed by gzip"}, ".txt": {"text"}, "": {"text"},
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_the_wrong_kind_of_file_is_named(files, reader, tmp_path):
    if reader.startswith((".csv", ".parquet")):
        pytest.importorskip("pyarrow")
    load, ending, takes = READERS[reader]
    for kind in files.keys() - takes:
        path = tmp_path / f"x{ending}"
        path.unlink(missing_ok=True)
        path.symlink_to(files[kind])
        with pytest.raises((ValueError, OSError)) as found:
            load(path)
        text = str(found.value)
        assert str(path) in text
        if {"a folder": "holds no", "an empty zip archive": "array"}.get(kind, str(path)) in text.replace(
            str(path), ""
        ):
            continue  # both may hold data: it says what is missing
        word = {"a model of fastbp": "model", "a checkpoint of fastbp": "checkpoint", "a safetensors file": "tensors"}
        assert word.get(kind, kind) in text, text
        assert len(text) < len(str(path)) + 250


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(tmp_path):
    for name in ("x.csv", "x.npy", "x.npz", "x-idx3"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} is no .* file: it is no regular file"):
            fastbp.load_features(tmp_path / name)


def test_pairs_of_files_on_the_command_line_are_one_line_each(files, tmp_path):
    """`evaluate MODEL DATA` and `predict MODEL FILE` with any two files: the first that is wrong is named."""
    draw = np.random.default_rng(0)
    names = list(files)
    for _ in range(60):
        first, second = (files[name] for name in draw.choice(names, 2))
        line = (
            ["evaluate", first, second]
            if draw.random() < 0.5
            else ["predict", first, second, "--out", tmp_path / "a.csv"]
        )
        result = CliRunner().invoke(app, [str(part) for part in line])
        assert result.exit_code == 2, result.output
        (error,) = result.stderr.splitlines()
        assert first.name in error
        assert error.startswith("fastbp: ")
        assert not (tmp_path / "a.csv").exists()


def test_the_digits_are_features_too(tmp_path):
    x, _ = fastbp.load_digits()
    np.testing.assert_array_equal(fastbp.load_features("digits"), x)


def test_a_gzip_file_of_something_else_is_no_idx_file(tmp_path):
    (tmp_path / "x-idx3.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(ValueError, match=r"x-idx3\.gz is not an IDX file: expected it to begin"):
        fastbp.load_features(tmp_path / "x-idx3.gz")
