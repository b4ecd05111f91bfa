"""Checkpoints: a trainer's state as a file."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from inspect import isfunction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.schedule import Schedule
from fastbp._base.schedule_file import Functions, from_file, functions_by_name, to_file
from fastbp._base.version import __version__
from fastbp.kernels.compile.outside import digest_of
from fastbp.kernels.run.frame import RECORD_ROWS
from fastbp.nn.loss import Loss
from fastbp.nn.losses import KINDS as _LOSSES
from fastbp.nn.modelfile import CHECKPOINT, check_names, check_table, read_tensors, write_tensors
from fastbp.nn.own_activations import OwnActivation, activations_by_name
from fastbp.nn.own_losses import FunctionLoss, OwnLoss
from fastbp.nn.saving import build, parameter_shapes, tensor_shapes
from fastbp.train.history import History
from fastbp.train.optimizers import KINDS as _OPTIMIZERS
from fastbp.train.order import NONE
from fastbp.train.state import NOT_MADE, CallbackState, RunState, TrainerState

Array = NDArray[Any]
Table = dict[str, Any]
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def write_checkpoint(path: str | os.PathLike[str], state: TrainerState) -> None:
    """Write a trainer's state; see `Trainer.save_checkpoint`."""
    model = state.model
    check_table(model.metadata, "save_checkpoint", "the model's metadata")
    header: Table = {
        "versions": {"fastbp": __version__, "numpy": np.__version__},
        "layers": model._labels(),
        "metadata": model.metadata,
        "loss": loss_to_file(state.loss),
        "optimizer": _described(state.optimizer, _OPTIMIZERS),
        "clips": state.clips,
        "ema": state.ema,
        "seed": state.seed,
        "steps": state.steps,
        "total_steps": state.total_steps,
        "history": list(state.history),
        "position": None,
    }
    arrays = {"params": model._params, "state": state.optimizer_state, "powers": state.powers}
    arrays["history"] = _columns(state.history)
    arrays |= {f"buffers.{name}": np.array(value, order="C") for name, value in model.buffers().items()}
    if state.run is not None:
        header["position"], more = _run_to_file(state.run)
        arrays |= {f"position.{name}": array for name, array in more.items()}
    write_tensors(path, CHECKPOINT, header, arrays)


def read_checkpoint(
    path: str | os.PathLike[str],
    loss: Any = None,
    activations: Iterable[OwnActivation] = (),
    schedules: Iterable[Callable[[float], float]] = (),
) -> TrainerState:
    """Read the state that was written. Its parts fit each other, but for the sizes of the optimizer's arrays.

    loss, activations, schedules : those of the user's own that it was written with, if there were any
    """
    functions = functions_by_name(schedules, "load_checkpoint")
    own = activations_by_name(activations, "load_checkpoint")
    header, arrays = read_tensors(path, CHECKPOINT, "load_checkpoint")
    loss = loss_from_file(path, header.get("loss"), loss)
    with damaged(path):
        parameters = parameter_shapes(header["layers"])
        if sum(map(math.prod, parameters.values())) != arrays["params"].size:
            raise ValueError(f"its layers do not have the {arrays['params'].size} parameters that are there")
        for name, shape in tensor_shapes(header["layers"]).items():
            if name not in parameters:
                check.exact_shape(arrays[f"buffers.{name}"], shape, "load_checkpoint", name)
        model = build(header["layers"], header["metadata"], own, functions)
        fill(model._params, arrays["params"], "params")
        for name, value in model.buffers().items():
            fill(value, arrays[f"buffers.{name}"], name)
        run = None
        if header["position"] is not None:
            begin = "position."
            rest = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
            run = _run_from_file(header["position"], rest)
        total = header.get("total_steps")
        return TrainerState(
            model,
            loss or _made(header["loss"], _LOSSES, functions),
            _made(header["optimizer"], _OPTIMIZERS, functions),
            tuple(header.get("clips", (None, None))),
            header.get("ema"),
            arrays["state"],
            arrays["powers"] if "hyper" not in arrays else _powers_of_old(arrays["hyper"]),
            check.integer(header.get("seed", 0), "load_checkpoint", "seed", 0, 2**63 - 1),
            check.integer(header["steps"], "load_checkpoint", "steps", 0),
            _history(header["history"], arrays["history"]),
            run,
            None if total is None else check.integer(total, "load_checkpoint", "total_steps"),
        )


def loss_to_file(loss: Loss) -> Table:
    """Describe a loss: one of the user's own by its name and a digest of its source, for nothing of it is stored."""
    if not isinstance(loss, OwnLoss):
        return _described(loss, _LOSSES)
    digest = digest_of(loss.function, of_text=True) if isfunction(loss.function) else None
    return {"own": type(loss).__name__, "name": loss.name, "digest": digest, "options": loss.choices()}


def loss_from_file(path: str | os.PathLike[str], description: Any, given: Any) -> OwnLoss | None:
    """Return the user's loss that a checkpoint was written with, as it is given; None if that was one of ours."""
    own = isinstance(description, dict) and "own" in description
    if not own:
        if given is not None:
            raise TypeError(f"load_checkpoint expects no loss: {os.fspath(path)} was saved with one of fastbp's")
        return None
    name = str(description.get("name"))
    if given is None:
        raise ValueError(
            f"load_checkpoint expects the loss of your own that {os.fspath(path)} was saved with: pass loss={name}"
        )
    loss: OwnLoss = given if isinstance(given, OwnLoss) else FunctionLoss(function=given)
    now = loss_to_file(loss)
    for what, label in (("own", "kind"), ("name", "name"), ("options", "options")):
        if now[what] != description.get(what):
            raise ValueError(f"load_checkpoint expects a loss of the {label} {description.get(what)}, got {now[what]}")
    if now["digest"] != description.get("digest"):
        warnings.warn(
            f"load_checkpoint is given a loss {name} with another source than that {os.fspath(path)} was saved with",
            UserWarning,
            stacklevel=4,
        )
    return loss


@contextmanager
def damaged(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise what a file's content causes inside as a ValueError that names the file."""
    try:
        yield
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        what = f"it has no {error.args[0]}" if isinstance(error, KeyError) else error
        raise ValueError(f"{os.fspath(path)} is damaged, or of another version of fastbp: {what}") from None


def fill(target: Array, array: Array, name: str) -> None:
    """Copy an array of a checkpoint to where it belongs; an error if it is of another dtype or shape."""
    if array.dtype != target.dtype:
        raise TypeError(f"its {name} should be {target.dtype}, got {array.dtype}")
    target[...] = check.exact_shape(array, target.shape, "load_checkpoint", name)


def _described(thing: Any, kinds: Mapping[str, type[Any]]) -> Table:
    kind = type(thing)
    if kinds.get(kind.__name__) is not kind:
        raise TypeError(f"save_checkpoint knows {', '.join(kinds)}; got {kind.__name__}")
    return {
        "kind": kind.__name__,
        "options": _plain({field.name: getattr(thing, field.name) for field in fields(thing)}),
    }


def _made(description: Table, kinds: Mapping[str, type[Any]], functions: Functions) -> Any:
    kind = check.choice(description["kind"], kinds, "load_checkpoint", "kind")
    return kind(**{name: _option(value, functions) for name, value in description["options"].items()})


def _option(value: Any, functions: Functions) -> Any:
    """Return an option as it was: lists were tuples, and schedules are described."""
    return tuple(_option(each, functions) for each in value) if isinstance(value, list) else from_file(value, functions)


def _powers_of_old(hyper: Array) -> Array:
    """Return the powers in a file that has all numbers: five of the optimizer, and the powers of Adam's betas."""
    return np.append(check.exact_shape(hyper, (7,), "load_checkpoint", "hyper")[5:], [0.0, 0.0])


def _columns(history: History) -> Array:
    return np.array(list(history.values()), np.float64).reshape(len(history), history.epochs)


def _history(names: Iterable[str], columns: Array) -> History:
    return History(dict(zip(names, columns, strict=True)))


def _run_to_file(run: RunState) -> tuple[Table, dict[str, Array]]:
    """Return of a run's state what JSON can hold, and the arrays."""
    arrays = {"history": _columns(run.history), "sizes": run.sizes}
    if run.order.size:
        arrays |= {"order": run.order, "record": np.ascontiguousarray(run.record[:, : run.done])}
    callbacks = []
    for i, state in enumerate(run.callbacks):
        check_names(state.values, f"save_checkpoint of {state.kind}")
        own = {name: value for name, value in state.values.items() if isinstance(value, np.ndarray)}
        arrays |= {f"callbacks.{i}.{name}": np.asarray(array, order="C") for name, array in own.items()}
        rest = {name: value for name, value in state.values.items() if name not in own}
        callbacks.append({"kind": state.kind, "told": state.told, "step": state.step, "state": _plain(rest)})
    generator = _plain(run.generator.bit_generator.state)
    check.choice(generator["bit_generator"], _GENERATORS, "save_checkpoint", "the generator")
    header = {
        "rows": run.rows,
        "batch_size": run.batch_size,
        "shuffle": run.shuffle,
        "generator": generator,
        "split": run.split,
        "split_seed": run.split_seed,
        "history": list(run.history),
        "stopped": run.stopped,
        "callbacks": callbacks,
        "drop_last": run.drop_last,
        "window": run.window,
        "order_seed": run.order_seed,
    }
    return header, arrays


def _run_from_file(header: Table, arrays: dict[str, Array]) -> RunState:
    run = RunState(
        check.integer(header["rows"], "load_checkpoint", "rows"),
        check.integer(header["batch_size"], "load_checkpoint", "batch_size"),
        bool(header["shuffle"]),
        _generator(header["generator"]),
        header.get("split"),
        check.integer(header.get("split_seed", 0), "load_checkpoint", "split_seed", 0, 2**63 - 1),
        _history(header["history"], arrays["history"]),
        bool(header["stopped"]),
        drop_last=bool(header.get("drop_last", False)),
        sizes=arrays.get("sizes", NONE),
        window=check.integer(header.get("window", 0), "load_checkpoint", "window", 0),
        order_seed=check.integer(header.get("order_seed", -1), "load_checkpoint", "order_seed", -1, 2**63 - 1),
    )
    _check_sizes(run)
    if "order" in arrays:
        # The kernels do not check rows and steps.
        order, record = arrays["order"], arrays["record"]
        units = run.layout.units
        check.exact_shape(order, (units,), "load_checkpoint", "order")
        if order.dtype != np.int64 or not np.array_equal(np.sort(order), np.arange(units)):
            raise ValueError("its order does not hold each row once")
        if record.dtype != np.float64 or len(record) != RECORD_ROWS or record.shape[1] > run.steps:
            raise ValueError(f"its record is of {record.shape[1]} steps, and an epoch has {run.steps}")
        run.order = order
        run.record = np.full((RECORD_ROWS, run.steps), NOT_MADE)
        run.record[:, : record.shape[1]] = record
    for i, callback in enumerate(header["callbacks"]):
        begin = f"callbacks.{i}."
        own = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
        values = {**callback["state"], **own}
        step = check.integer(callback["step"], "load_checkpoint", "step", 0)
        run.callbacks.append(CallbackState(str(callback["kind"]), values, bool(callback["told"]), step))
    return run


def _check_sizes(run: RunState) -> None:
    sizes = run.sizes
    if sizes.dtype != np.int64 or sizes.ndim != 1 or (sizes.size and (sizes.min() < 1 or sizes.sum() != run.rows)):
        raise ValueError(f"its blocks do not have the {run.rows} rows that are there")
    if bool(sizes.size) != bool(run.window):
        raise ValueError(f"its window is of {run.window} blocks, and there are {sizes.size}")


def _generator(state: Table) -> np.random.Generator:
    name = check.choice(state["bit_generator"], _GENERATORS, "load_checkpoint", "the generator")
    # NumPy does not check these places in its buffers.
    check.integer(state.get("buffer_pos", 0), "load_checkpoint", "buffer_pos", 0, 4)
    check.integer(state["state"].get("pos", 0), "load_checkpoint", "pos", 0, 624)
    bits = getattr(np.random, name)(0)
    bits.state = state
    return np.random.Generator(bits)


def _plain(value: Any) -> Any:
    """Return tables, lists, arrays, numbers of NumPy's and schedules as JSON can hold them; floats stay exact."""
    if isinstance(value, Schedule):
        return _plain(to_file(value))
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
