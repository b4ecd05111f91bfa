"""Checkpoints: a trainer as a file, with all that it takes to go on to the same bits."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.guard import set_unguarded
from fastbp._base.version import __version__
from fastbp.kernels.optimizers import EXEMPT
from fastbp.kernels.run.frame import RECORD_ROWS
from fastbp.nn.losses import LOSSES
from fastbp.nn.modelfile import CHECKPOINT, check_names, check_table, read_tensors, write_tensors
from fastbp.nn.saving import build, parameter_shapes
from fastbp.train.history import History
from fastbp.train.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastbp.train.position import NOT_MADE, Listener, Position

if TYPE_CHECKING:
    from fastbp.train.trainer import Trainer

Array = NDArray[Any]
Table = dict[str, Any]
_LOSSES = {kind.__name__: kind for kind in LOSSES.values()}
_OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, Adam, AdamW, RMSprop)}
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def write_checkpoint(path: str | os.PathLike[str], trainer: "Trainer") -> None:
    """Write a trainer; see `Trainer.save_checkpoint`."""
    model, position = trainer.model, trainer._position
    check_table(model.metadata, "save_checkpoint", "the model's metadata")
    trainer._check_optimizer()
    header: Table = {
        "versions": {"fastbp": __version__, "numpy": np.__version__},
        "layers": model._config(),
        "metadata": model.metadata,
        "loss": _described(trainer.loss, _LOSSES),
        "optimizer": _described(trainer.optimizer, _OPTIMIZERS),
        "steps": trainer._steps,
        "history": list(trainer.history),
        "position": None,
    }
    arrays = {"params": model._params, "state": trainer._state, "hyper": trainer._hyper[:EXEMPT]}
    arrays["history"] = _columns(trainer.history)
    if position is not None:
        header["position"], more = _position_to_file(position)
        arrays |= {f"position.{name}": array for name, array in more.items()}
    write_tensors(path, CHECKPOINT, header, arrays)


def read_checkpoint(path: str | os.PathLike[str], make: "type[Trainer]") -> "Trainer":
    """Make the trainer that was written; see `Trainer.load_checkpoint`."""
    header, arrays = read_tensors(path, CHECKPOINT, "load_checkpoint")
    try:
        return _restored(header, arrays, make)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        what = f"it has no {error.args[0]}" if isinstance(error, KeyError) else error
        raise ValueError(f"{os.fspath(path)} is damaged, or of another version of fastbp: {what}") from None


def _restored(header: Table, arrays: dict[str, Array], make: "type[Trainer]") -> "Trainer":
    if sum(map(math.prod, parameter_shapes(header["layers"]).values())) != arrays["params"].size:
        raise ValueError(f"its layers do not have the {arrays['params'].size} parameters that are there")
    model = build(header["layers"], header["metadata"])
    trainer = make(model, _made(header["loss"], _LOSSES), _made(header["optimizer"], _OPTIMIZERS))
    for name, target in (("params", model._params), ("state", trainer._state), ("hyper", trainer._hyper[:EXEMPT])):
        if arrays[name].dtype != target.dtype:
            raise TypeError(f"its {name} should be {target.dtype}, got {arrays[name].dtype}")
        target[...] = check.exact_shape(arrays[name], target.shape, "load_checkpoint", name)
    trainer._steps = check.integer(header["steps"], "load_checkpoint", "steps", 0)
    set_unguarded(trainer, "history", _history(header["history"], arrays["history"]))
    if header["position"] is not None:
        begin = "position."
        rest = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
        trainer._position = _position_from_file(header["position"], rest)
    return trainer


def _described(thing: Any, kinds: Mapping[str, type[Any]]) -> Table:
    kind = type(thing)
    if kinds.get(kind.__name__) is not kind:
        raise TypeError(f"save_checkpoint knows {', '.join(kinds)}; got {kind.__name__}")
    return {
        "kind": kind.__name__,
        "options": _plain({field.name: getattr(thing, field.name) for field in fields(thing)}),
    }


def _made(description: Table, kinds: Mapping[str, type[Any]]) -> Any:
    kind = check.choice(description["kind"], kinds, "load_checkpoint", "kind")
    options = {
        name: tuple(value) if isinstance(value, list) else value for name, value in description["options"].items()
    }
    return kind(**options)


def _columns(history: History) -> Array:
    return np.array(list(history.values()), np.float64).reshape(len(history), history.epochs)


def _history(names: Iterable[str], columns: Array) -> History:
    return History(dict(zip(names, columns, strict=True)))


def _position_to_file(position: Position) -> tuple[Table, dict[str, Array]]:
    """Return of a position what JSON can hold, and the arrays."""
    arrays = {"history": _columns(position.history)}
    if position.order.size:
        arrays |= {"order": position.order, "record": np.ascontiguousarray(position.record[:, : position.done])}
    callbacks = []
    for i, listener in enumerate(position.listeners):
        state = listener.current_state()
        check_names(state, f"save_checkpoint of {listener.kind}")
        own = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
        arrays |= {f"callbacks.{i}.{name}": np.asarray(array, order="C") for name, array in own.items()}
        rest = {name: value for name, value in state.items() if name not in own}
        callbacks.append({"kind": listener.kind, "told": listener.told, "step": listener.step, "state": _plain(rest)})
    generator = _plain(position.generator.bit_generator.state)
    check.choice(generator["bit_generator"], _GENERATORS, "save_checkpoint", "the generator")
    header = {
        "rows": position.rows,
        "batch_size": position.batch_size,
        "shuffle": position.shuffle,
        "generator": generator,
        "history": list(position.history),
        "stopped": position.stopped,
        "callbacks": callbacks,
    }
    return header, arrays


def _position_from_file(header: Table, arrays: dict[str, Array]) -> Position:
    position = Position(
        check.integer(header["rows"], "load_checkpoint", "rows"),
        check.integer(header["batch_size"], "load_checkpoint", "batch_size"),
        bool(header["shuffle"]),
        _generator(header["generator"]),
        _history(header["history"], arrays["history"]),
        bool(header["stopped"]),
    )
    if "order" in arrays:
        # The kernels do not check rows and steps.
        order, record = arrays["order"], arrays["record"]
        check.exact_shape(order, (position.rows,), "load_checkpoint", "order")
        if order.dtype != np.int64 or not np.array_equal(np.sort(order), np.arange(position.rows)):
            raise ValueError("its order does not hold each row once")
        if record.dtype != np.float64 or len(record) != RECORD_ROWS or record.shape[1] > position.steps:
            raise ValueError(f"its record is of {record.shape[1]} steps, and an epoch has {position.steps}")
        position.order = order
        position.record = np.full((RECORD_ROWS, position.steps), NOT_MADE)
        position.record[:, : record.shape[1]] = record
    for i, listener in enumerate(header["callbacks"]):
        begin = f"callbacks.{i}."
        own = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
        state = {**listener["state"], **own}
        step = check.integer(listener["step"], "load_checkpoint", "step", 0)
        position.listeners.append(Listener(str(listener["kind"]), None, state, bool(listener["told"]), step))
    return position


def _generator(state: Table) -> np.random.Generator:
    name = check.choice(state["bit_generator"], _GENERATORS, "load_checkpoint", "the generator")
    # NumPy does not check these places in its buffers.
    check.integer(state.get("buffer_pos", 0), "load_checkpoint", "buffer_pos", 0, 4)
    check.integer(state["state"].get("pos", 0), "load_checkpoint", "pos", 0, 624)
    bits = getattr(np.random, name)(0)
    bits.state = state
    return np.random.Generator(bits)


def _plain(value: Any) -> Any:
    """Return tables, lists, arrays and numbers of NumPy's as Python's, which JSON can hold; floats stay exact."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
