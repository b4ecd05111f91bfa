"""Model files: safetensors, with what JSON can say of the model in the header. Reading one runs no code."""

import json
import os
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fastbp._files import write_atomically

FORMAT = 1


def write_model(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> None:
    """Write tensors and header; the file appears whole or not at all."""
    text = json.dumps({"format": FORMAT, **header})
    write_atomically(path, to_bytes(tensors, {"fastbp": text}))


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and tensors; FileNotFoundError, or ValueError that says what is wrong with the file."""
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"load expects a model file, and there is none at {name}")
    try:
        with safe_open(name, framework="numpy") as file:
            header = _header(name, (file.metadata() or {}).get("fastbp"))
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{name} is no safetensors file, or is damaged: {error}") from None


def _header(name: str, text: str | None) -> dict[str, Any]:
    if text is None:
        raise ValueError(f"{name} holds tensors but no fastbp model: its header has no architecture")
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is damaged: its header is no JSON ({error})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else header
        raise ValueError(f"{name} should be of format {FORMAT}, and is of format {found!r}")
    return header
