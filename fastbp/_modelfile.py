"""Model files and checkpoints: safetensors, what JSON can say in the header, a checksum. Reading one runs no code."""

import hashlib
import json
import os
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from fastbp._files import write_atomically

# Keys of the header's text in a file's metadata, and what such a file is.
MODEL, CHECKPOINT = "fastbp", "fastbp.checkpoint"
KINDS = {MODEL: "model", CHECKPOINT: "checkpoint"}
FORMAT = 1
LARGEST_HEADER = 100_000_000  # bytes; safetensors reads no larger one
# The checksum is of the whole file, with these zeros where it will stand.
ZEROS = b"0" * 64
BEFORE_CHECKSUM = b'"sha256":"'


def write_tensors(path: str | os.PathLike[str], kind: str, header: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write tensors and header; the file appears whole or not at all."""
    text = json.dumps({"format": FORMAT, **header})
    content = memoryview(to_bytes(tensors, {kind: text, "sha256": ZEROS.decode()}))
    start = _checksum_place(content, ZEROS)
    if int.from_bytes(content[:8], "little") > LARGEST_HEADER:
        raise ValueError(f"a {KINDS[kind]} file holds a header of {LARGEST_HEADER} bytes, got metadata of {len(text)}")
    digest = hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content[:start], digest, content[start + len(ZEROS) :])


def read_tensors(path: str | os.PathLike[str], kind: str, who: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and tensors; FileNotFoundError, or ValueError that says what is wrong with the file."""
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"{who} expects a {KINDS[kind]} file, and there is none at {name}")
    with open(name, "rb") as file:
        content = file.read()
    try:
        metadata = _metadata(content)
        _verify(content, metadata)
        tensors = from_bytes(content)
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no safetensors file, or is damaged: {error}") from None
    return _header(name, kind, metadata), tensors


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    if not 8 < 8 + length <= min(len(content), LARGEST_HEADER):
        raise ValueError(f"it says that its header is {length} bytes long")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise TypeError("its metadata is no table of texts")
    return metadata


def _verify(content: bytes, metadata: dict[str, str]) -> None:
    """Raise ValueError if the content is not what was written. Model files of fastbp 0.1.0 have no checksum."""
    if "sha256" not in metadata:
        if CHECKPOINT in metadata:
            raise ValueError("its checksum is missing")
        return
    given = metadata["sha256"].encode()
    view = memoryview(content)
    start = _checksum_place(view, given)
    digest = hashlib.sha256(view[:start])
    digest.update(ZEROS)
    digest.update(view[start + len(given) :])
    if digest.hexdigest().encode() != given:
        raise ValueError("its content does not fit its checksum")


def _checksum_place(content: memoryview, checksum: bytes) -> int:
    header = bytes(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return 8 + header.index(BEFORE_CHECKSUM + checksum + b'"') + len(BEFORE_CHECKSUM)


def _header(name: str, kind: str, metadata: dict[str, str]) -> dict[str, Any]:
    if kind not in metadata:
        found = next((f"a {what}" for key, what in KINDS.items() if key in metadata), "tensors")
        raise ValueError(f"{name} holds {found} but no fastbp {KINDS[kind]}")
    try:
        header = json.loads(metadata[kind])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is damaged: its header is no JSON ({error})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        version = header.get("format") if isinstance(header, dict) else header
        raise ValueError(f"{name} should be of format {FORMAT}, and is of format {version!r}")
    return header
