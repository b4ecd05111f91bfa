"""Model files and checkpoints: safetensors, what JSON can say in the header, a checksum. Reading one runs no code."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from fastbp._base.files import write_atomically
from fastbp._base.kinds import TENSORS, UNKNOWN, kind_of, kind_of_bytes

# Keys of the header's text in a file's metadata, and what such a file is.
MODEL, CHECKPOINT = "fastbp", "fastbp.checkpoint"
KINDS = {MODEL: "model", CHECKPOINT: "checkpoint"}
FORMAT = 1
LARGEST_HEADER = 100_000_000  # bytes; safetensors reads no larger one
# The checksum is of the whole file, with these zeros in its place. It stands in the header's text, which is a string in
# the JSON of safetensors: its quotes are escaped.
ZEROS = "0" * 64
CHECKSUM = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')


def write_tensors(path: str | os.PathLike[str], kind: str, header: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write tensors and header; the file appears whole or not at all.

    TypeError or ValueError if the header holds what `read_tensors` would not bring back.
    """
    who = f"a {KINDS[kind]} file"

    def refuse(value: Any) -> None:
        raise TypeError(f"{who} expects metadata that JSON can hold, got {type(value).__name__}")

    try:
        check_names(header, who)
        text = json.dumps({"format": FORMAT, "sha256": ZEROS, **header}, default=refuse)
        json.loads(text)
    except RecursionError:
        raise ValueError(f"{who} expects tables and lists that are not nested as deep") from None
    content = to_bytes(tensors, {kind: text})
    end = _header_end(content)
    place = CHECKSUM.search(content, 8, end)
    assert place is not None
    view = memoryview(content)
    write_atomically(path, view[: place.start(1)], _checksum(view, place).encode(), view[place.end(1) :])


def check_table(value: Any, who: str, name: str) -> None:
    """Raise TypeError if this is no dictionary: what is read back as metadata has to be one."""
    if not isinstance(value, dict):
        raise TypeError(f"{who} expects {name} to be a dict, got {type(value).__name__}")


def check_names(value: Any, who: str) -> None:
    """Raise TypeError if a name in a table, or in one inside it, is no string: JSON would make one of it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{who} expects names in its tables to be strings, got {key!r}")
            check_names(inner, who)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            check_names(inner, who)


def read_tensors(path: str | os.PathLike[str], kind: str, who: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and tensors; FileNotFoundError, or ValueError that says what is wrong with the file."""
    name = os.fspath(path)
    if not os.path.isfile(name):
        what = f": that is {kind_of(name)}" if os.path.exists(name) else ""
        raise FileNotFoundError(f"{who} expects a {KINDS[kind]} file, and there is none at {name}{what}")
    with open(name, "rb") as file:
        content = file.read()
    if (found := kind_of_bytes(content)) not in (*TENSORS, UNKNOWN):
        raise ValueError(f"{name} is no {KINDS[kind]} file: it is {found}")
    try:
        end = _header_end(content)
        place = CHECKSUM.search(content, 8, end)
        if place is not None and place[1].decode() != _checksum(memoryview(content), place):
            raise ValueError("its content does not fit its checksum")
        tensors = from_bytes(content)
        metadata = json.loads(content[8:end]).get("__metadata__", {})
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no safetensors file, or is damaged: {error}") from None
    header = _header(name, kind, metadata)
    if place is None and (kind == CHECKPOINT or "sha256" in header):  # model files of fastbp 0.1.0 have none
        raise ValueError(f"{name} is damaged: its checksum is missing")
    return header, tensors


def _header_end(content: bytes) -> int:
    end = 8 + int.from_bytes(content[:8], "little")
    if not 8 < end <= 8 + LARGEST_HEADER:
        raise ValueError("it does not begin with the length of a header")
    if end > len(content):
        raise ValueError(f"it is cut short in its header, at byte {len(content)} of {end}")
    return end


def _checksum(content: memoryview, place: re.Match[bytes]) -> str:
    digest = hashlib.sha256(content[: place.start(1)])
    digest.update(ZEROS.encode())
    digest.update(content[place.end(1) :])
    return digest.hexdigest()


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
