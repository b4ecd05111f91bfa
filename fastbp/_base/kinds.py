"""What a file is by its first bytes: for errors about one that is something else than it should be."""

import os

TEXT = "text"
NPY, PARQUET, ARROW, IDX = "a .npy array", "a Parquet file", "an Arrow file", "an IDX file"
GZIP, BZIP2, XZ, ZSTD = (f"a file packed by {program}" for program in ("gzip", "bzip2", "xz", "zstd"))
ZIP, EMPTY_ZIP = "a zip archive, as .npz files are", "an empty zip archive"
# How files of a kind begin
_BEGINNINGS = {
    b"\x93NUMPY": NPY,
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": EMPTY_ZIP,
    b"PAR1": PARQUET,
    b"ARROW1": ARROW,
    b"FEA1": ARROW,  # Feather's first version
    b"\xff\xff\xff\xff": ARROW,  # a stream
    b"\x1f\x8b": GZIP,
    b"BZh": BZIP2,
    b"\xfd7zXZ\0": XZ,
    b"\x28\xb5\x2f\xfd": ZSTD,
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3\0": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document",
    **{bytes([0x80, version]): "a Python pickle" for version in range(2, 6)},
    **{bytes([0, 0, dtype]): IDX for dtype in (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)},
}
# How text begins that is marked up; in small letters
_MARKED_UP = {"<!doctype html": "an HTML page", "<html": "an HTML page", "<?xml": "an XML document"}
_SEEN = 512  # bytes that are looked at
TENSORS = ("a checkpoint of fastbp", "a model of fastbp", "a safetensors file")
UNKNOWN = "binary data of no known kind"


def kind_of(path: str | os.PathLike[str]) -> str:
    """Say what a file is, as far as its first bytes tell: ``"text"``, ``"a PNG image"`` ...

    Nothing else is read, and what is no regular file not at all.
    """
    if os.path.isdir(path):
        return "a folder"
    if not os.path.isfile(path):
        return "no regular file"
    with open(path, "rb") as file:
        return kind_of_bytes(file.read(_SEEN))


def check_kind(path: str | os.PathLike[str], wanted: str, *kinds: str) -> None:
    """Raise ValueError for a file that is to be a `wanted` one and is plainly another; it may be damaged still."""
    kind = kind_of(path)
    if kind not in (*kinds, UNKNOWN):
        raise ValueError(f"{os.fspath(path)} is no {wanted} file: it is {kind}")


def kind_of_bytes(content: bytes) -> str:
    """Return the kind of a file that begins with these bytes."""
    start = content[:_SEEN]
    if not start:
        return "empty"
    if start[8:9] == b"{" and start[4:8] == bytes(4):  # after the length of this header
        checkpoint, model, other = TENSORS
        return checkpoint if b'"fastbp.checkpoint"' in start else model if b'"fastbp"' in start else other
    text = _text(start)
    if text is not None:  # a table may have a column named GIF89
        words = text.lstrip().lower()
        return next((kind for beginning, kind in _MARKED_UP.items() if words.startswith(beginning)), TEXT)
    return next((kind for beginning, kind in _BEGINNINGS.items() if start.startswith(beginning)), UNKNOWN)


def _text(start: bytes) -> str | None:
    """Return the text that a file begins with, or None where it is none."""
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(start) < _SEEN or len(start) - error.start > 3:  # not just the last character, cut where the look ends
            return None
        text = start[: error.start].decode("utf-8-sig")
    return text if all(c.isprintable() or c.isspace() for c in text) else None
