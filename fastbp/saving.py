"""Reading a model back."""

import os
from typing import Any

from fastbp._modelfile import read_model
from fastbp.layers import Dense
from fastbp.sequential import Sequential

__all__ = ["load"]

_ARGUMENTS = {"in_features", "out_features", "activation", "bias", "dtype"}


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Sequential
        With its parameters and its metadata.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, is damaged, holds no fastbp model, or its tensors do not fit the architecture.

    Examples
    --------
    >>> import os, tempfile, fastbp
    >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
    >>> fastbp.mlp([4, 3], rng=0).save(path)
    >>> fastbp.load(path).predict([[0, 0, 0, 0]])
    array([[0., 0., 0.]], dtype=float32)
    """
    header, tensors = read_model(path)
    try:
        model = _build(header)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: {error.args[0] if error.args else error}") from None
    return model


def _build(header: dict[str, Any]) -> Sequential:
    layers, metadata = header.get("layers"), header.get("metadata")
    if not isinstance(layers, list) or not all(isinstance(d, dict) and d.keys() == _ARGUMENTS for d in layers):
        raise ValueError("damaged, the header describes no layers")
    if not isinstance(metadata, dict):
        raise ValueError("damaged, the metadata is no table")
    model = Sequential(*(Dense(**d, init="zeros") for d in layers))
    model.metadata = metadata
    return model
