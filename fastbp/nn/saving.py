"""Reading a model back."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastbp._base import check
from fastbp._base.schedule_file import Functions, functions_by_name
from fastbp.nn.layer import made, shapes_of
from fastbp.nn.modelfile import MODEL, read_tensors
from fastbp.nn.own_activations import OwnActivation, activations_by_name, without_labels
from fastbp.nn.sequential import Sequential

__all__ = ["build", "load", "parameter_shapes", "tensor_shapes"]

Shapes = dict[str, tuple[int, ...]]


def load(
    path: str | os.PathLike[str],
    activations: Iterable[OwnActivation] = (),
    schedules: Iterable[Callable[[float], float]] = (),
) -> Sequential:
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : str or path
    activations : iterable of OwnActivation, default ()
        Those of your own that the model has: the file has their names alone.
    schedules : iterable of callable, default ()
        Functions of your own that its schedules are by (`fastbp.schedules.function`), likewise.

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
    own, functions = activations_by_name(activations, "load"), functions_by_name(schedules, "load")
    header, tensors = read_tensors(path, MODEL, "load")
    try:
        layers, metadata = header.get("layers"), header.get("metadata")
        for name, shape in tensor_shapes(layers).items():
            if name not in tensors:
                raise ValueError(f"damaged, its layers have {name} and its tensors do not")
            check.exact_shape(tensors[name], shape, "load", name)
        model = build(layers, metadata, own, functions)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: {error.args[0] if error.args else error}") from None
    return model


def parameter_shapes(layers: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a header's layers give the parameters, by name.

    To be compared with what is there before a model is made: a header may name sizes that no memory holds.
    """
    return _shapes(layers, shapes_of)


def tensor_shapes(layers: Any) -> dict[str, tuple[int, ...]]:
    """Return those of parameters and buffers."""
    return _shapes(layers, lambda config: shapes_of(config, buffers=True))


def _shapes(layers: Any, of: Callable[[Any], Shapes]) -> Shapes:
    if not isinstance(layers, list):
        raise ValueError("damaged, the header describes no layers")
    return {f"{i}.{name}": shape for i, config in enumerate(layers) for name, shape in of(config).items()}


def build(layers: Any, metadata: Any, own: Mapping[str, OwnActivation], functions: Functions) -> Sequential:
    """Make a model as a header describes it, its parameters zero.

    own, functions : activations of the user's, and functions that schedules are by, by name
    """
    if not isinstance(metadata, dict):
        raise ValueError("damaged, the metadata is no table")
    model = Sequential(*(made(without_labels(config, own, functions)) for config in layers))
    model.metadata = metadata
    return model
