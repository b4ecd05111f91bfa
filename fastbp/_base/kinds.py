"""What a file is by its first bytes: for errors about one that is something else than it should be."""

import os

TEXT = "text"
NPY, PARQUET, GZIP, IDX = "a .npy array", "a Parquet file", "a file packed by gzip", "an IDX file"
ZIP, EMPTY_ZIP = "a zip archive, as .npz files are", "an empty zip archive"
# How files of a kind begin
_BEGINNINGS = {
    b"\x93NUMPY": NPY,
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": EMPTY_ZIP,
    b"PAR1": PARQUET,
    b"\x1f\x8b": GZIP,
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    **{bytes([0x80, version]): "a Python pickle" for version in range(2, 6)},
    **{bytes([0, 0, dtype]): IDX for dtype in (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)},
}
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
    if _is_text(start):  # a table may have a column named GIF89
        return TEXT
    return next((kind for beginning, kind in _BEGINNINGS.items() if start.startswith(beginning)), UNKNOWN)


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if len(start) < _SEEN or len(start) - error.start > 3:  # not just the last character, cut where the look ends
            return False
        text = start[: error.start].decode()
    return all(c.isprintable() or c.isspace() for c in text)
