"""What a model computes: forward and back by hand, prediction in one compiled call; and its file."""

import copy
import os
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp._base import check, memory
from fastbp._base.calls import Calls
from fastbp._base.docs import listed, with_lists
from fastbp._base.inputs import Input, Readable
from fastbp._base.sparse import StoredRows
from fastbp._base.threads import get_num_threads
from fastbp.kernels import entries
from fastbp.kernels.code import Code
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.compile.forks import imports
from fastbp.kernels.ops.fill import codes_of, fill
from fastbp.kernels.run.plan import CAPACITY, EFFORT, SIZE, set_stored
from fastbp.nn.activation_layers import Activation, ParametricActivation, PReLU
from fastbp.nn.dense import Dense
from fastbp.nn.derivatives import Derivable
from fastbp.nn.embedding import Embedding
from fastbp.nn.layer import Layer, in_dtype, made
from fastbp.nn.layers import MADE
from fastbp.nn.modelfile import MODEL, check_table, write_tensors
from fastbp.nn.periodic import Periodic
from fastbp.nn.planned import PlannedPass
from fastbp.nn.residual import Residual

__all__ = ["Sequential"]

Array = NDArray[Any]
# Rows that `predict` runs at a time: few enough for their activations to stay in a cache, enough to repay packing the
# weights.
PREDICT_BYTES = 1 << 22
FEWEST_PREDICT_ROWS = 256
# The library's layers
KINDS: tuple[type[Layer], ...] = (Dense, Activation, ParametricActivation, PReLU, *MADE, Residual, Embedding, Periodic)


@with_lists(layers=listed(kind.__name__ for kind in KINDS))
class Sequential(Derivable):
    """Layers that follow each other, their parameters in one flat buffer.

    Parameters
    ----------
    *layers : {layers}
        Each takes what the one before gives; all of one dtype. Their parameters move into the model: views of
        ``weight`` taken before do not change the model. A layer can be part of one model.

    Attributes
    ----------
    layers : tuple of layers
    metadata : dict
        What `save` stores beside the parameters and `fastbp.load` brings back: anything that JSON can hold.

    Raises
    ------
    TypeError, ValueError
        If something is no layer, or of a subclass that overrides what is computed without it; if sizes or dtypes do not
        fit, or a layer belongs to a model already.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> model = fastbp.Sequential(fastbp.Dense(4, 8, "relu", rng=0), fastbp.Dense(8, 3, rng=1))
    >>> model.predict(np.ones((2, 4))).shape
    (2, 3)
    >>> list(model.parameters())
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    _whole: "Sequential | None" = None  # the model that this is a part of

    _compiled: ClassVar = ("forward", "__call__", "call", "backward", "predict", "in_features", "out_features")

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        self._begin()

    def _begin(self) -> None:
        """Be ready to compute with the layers that are held."""
        super()._begin()
        layers = self.layers
        self._local = threading.local()
        self._pass: PlannedPass | None = None
        self._pass_freezes = 0
        self._forward_calls, self._backward_calls, self._predict_calls = Calls(), Calls(), Calls()
        self._work = sum(layer._work for layer in layers)  # floating-point operations of a forward pass of one row
        self._drawing = sorted({type(each).__name__ for layer in layers for each in layer._each() if each._draws})
        self._coupling = sorted(
            {type(each).__name__ for layer in self.layers for each in layer._each() if each._couples}
        )
        self._fewest_rows = 2 if self._coupling else 1  # of a training batch
        self._predict_rows = self._rows_at_a_time(self._widest)
        self._read_rows = self._rows_at_a_time(max(self._widest, self.in_features))  # of what is no array of this dtype

    def forward(self, x: ArrayLike | Readable) -> Array:
        """Run all layers on x, as in training, and keep what `backward` needs; see `Dense.forward`.

        Parameters
        ----------
        x : array_like of shape (batch, in_features)

        Returns
        -------
        ndarray of shape (batch, out_features)
            Kept too: do not change it in place before `backward`.

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, or has another shape.
        """
        a = check.rows(x, self.in_features, self.dtype, "Sequential")
        chain = self._chain
        if chain is None:
            if self._codes is not None:
                self._codes.expect(a, "Sequential")
            self._check_batch(len(a), "Sequential.forward")
            run = self._pass = PlannedPass(self._plan_of_pass(len(a)), self._params, self._grads)
            self._pass_freezes = self._freezes[0]
            a = check.apart(a, self._grads)
            tasks, began, kind = self._forward_calls.begin(len(a), self._work * len(a))
            out = run.forward(a, self.out_features, tasks)
            if kind is not None:
                kind.end(tasks, began, len(a))
            return out
        for layer in chain:
            a = layer._forward(a)
        return a

    __call__ = forward

    def backward(self, dy: ArrayLike) -> Array:
        """Fill all gradients from the gradient of the output; return the gradient of the input.

        Parameters
        ----------
        dy : array_like of shape (batch, out_features)
            Gradient of the loss by what `forward` returned.

        Returns
        -------
        ndarray of shape (batch, in_features)

        Raises
        ------
        RuntimeError
            If `forward` did not come before.
        TypeError, ValueError
            If dy holds no real numbers, or has another shape.
        """
        chain = self._chain
        if chain is None:
            return self._backward_of_pass(dy)
        dz = chain[-1]._dz(dy, "Sequential")
        below = (*chain[-2::-1], None) if len(chain) > 1 else (None,)
        for layer, lower in zip(reversed(chain), below, strict=True):
            dz = layer._backward(dz, lower)
        return dz

    def _check_batch(self, rows: int, who: str) -> None:
        """Raise ValueError if a training batch has too few rows for a layer that couples them."""
        if rows < self._fewest_rows:
            names = ", ".join(self._coupling)
            raise ValueError(f"{who} expects at least 2 rows in a training batch for {names}, got {rows}")

    @property
    def _chain(self) -> tuple[Dense, ...] | None:
        """The layers, where each is a dense one to be trained, which computes by itself what it does in a model."""
        chain = tuple(layer for layer in self.layers if isinstance(layer, Dense) and layer._trainable)
        return chain if len(chain) == len(self.layers) else None

    def _plan_of_pass(self, batch: int) -> tuple[Array, Array]:
        if self._drawing:
            raise ValueError(
                f"Sequential.forward expects a model without {', '.join(self._drawing)}, whose random numbers are a "
                "Trainer's: train with Trainer.step, or call predict, which goes without it"
            )
        plan, layout = self._plan(batch, train=True)
        fill(plan, self.dtype, train=True)
        return plan, layout

    def _backward_of_pass(self, dy: ArrayLike) -> Array:
        if self._pass is None or self._pass_freezes != self._freezes[0]:
            raise RuntimeError(
                "Sequential.backward needs forward before it, and no change of what is trainable between: there is no "
                "output to take the gradient of"
            )
        shape = len(self._pass.x), self.out_features
        dout = check.exact_shape(check.floats(dy, self.dtype, "Sequential", "dy"), shape, "Sequential", "dy")
        run, self._pass = self._pass, None  # its outputs give way to the gradients
        dout = check.apart(dout, self._grads)
        tasks, began, kind = self._backward_calls.begin(len(dout), 3 * self._work * len(dout))
        dx = np.empty((len(dout), self.in_features), self.dtype)
        run.backward(dout, tasks, dx)
        if kind is not None:
            kind.end(tasks, began, len(dout))
        return dx

    def predict(self, x: ArrayLike | Readable | StoredRows, batch_size: int | None = None) -> Array:
        """Return the last layer's output (for a classifier: logits) and keep nothing.

        A row's result does not depend on the rows beside it, so `batch_size` changes time and memory, never a bit.
        Threads may call this at once.

        Parameters
        ----------
        x : array_like or sparse matrix of shape (batch, in_features)
            Numbers of another dtype, or with gaps between them in memory, are converted so many rows at a time too: a
            memory map, say, is never copied whole. Of a sparse matrix of SciPy's the stored numbers alone are read, for
            which the layers that read x have to be Dense ones. 0 times an infinite or NaN weight, NaN in a dense
            product, counts for nothing there.
        batch_size : int, optional
            Rows to run at a time; by default as many as keep their activations in the cache.

        Returns
        -------
        ndarray of shape (batch, out_features)

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, or has another shape.
        """
        rows = check.inputs(x, self.in_features, self.dtype, "Sequential")
        count = len(rows)
        if batch_size is None:
            batch_size = self._read_rows if isinstance(rows, Input) else self._predict_rows
        else:
            batch_size = check.integer(batch_size, "Sequential", "batch_size")
        out = np.empty((count, self.out_features), self.dtype)
        if isinstance(rows, StoredRows):
            self._predict_sparse(rows, batch_size, out)
            return out
        if isinstance(rows, Input):
            self._reserve_prediction(min(batch_size, count), (rows.code,))
        elif count <= batch_size:
            self._predict(rows, out)
            return out
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            self._predict(rows[part], out[part], start)
        return out

    def _rows_at_a_time(self, width: int) -> int:
        return max(FEWEST_PREDICT_ROWS, PREDICT_BYTES // (width * self.dtype.itemsize))

    def _predict(self, rows: Array, out: Array, first: int = 0) -> None:
        """Write what the last layer gives for rows, of which this is the first, in this thread's workspace."""
        count = len(rows)
        _, plan, work = self._reserve_prediction(count)
        if self._codes is not None:
            self._codes.expect(rows, "Sequential", range(first, first + count))
        tasks, began, kind = self._predict_calls.begin(count, self._work * count)
        entries.predict(plan, self._params, work, rows, out, tasks)
        if kind is not None:
            kind.end(tasks, began, count)

    def _predict_sparse(self, rows: StoredRows, batch_size: int, out: Array) -> None:
        """Write what the last layer gives for rows of a sparse matrix, some at a time."""
        _, plan, work = self._reserve_prediction(min(batch_size, len(rows)), sparse=True)
        set_stored(plan, rows.stored, len(rows))
        effort, table = float(plan[:, EFFORT].sum()), rows.table()
        for start in range(0, len(rows), batch_size):
            part = out[start : start + batch_size]
            tasks, began, kind = self._predict_calls.begin(len(part), effort * len(part))
            entries.predict_sparse(plan, self._params, work, table, start, part, tasks)
            if kind is not None:
                kind.end(tasks, began, len(part))

    def _reserve_prediction(
        self, capacity: int, readers: tuple[Code, ...] = (), *, sparse: bool = False
    ) -> tuple[int, Array, Array]:
        """Return this thread's plan and workspace for at least so many rows, which these read if they are given."""
        name = "of_sparse" if sparse else "of_dense"
        saved: tuple[int, Array, Array] | None = getattr(self._local, name, None)
        if saved is None or saved[0] < capacity:
            expect(_needs_of_prediction, self, readers, sparse)
            plan, layout = self._plan(capacity, train=False, sparse=sparse)
            fill(plan, self.dtype, train=False)
            saved = int(layout[CAPACITY]), plan, memory.zeros(int(layout[SIZE]), self.dtype)
            setattr(self._local, name, saved)
        return saved

    def __getitem__(self, i: int | slice) -> Any:
        """Return layer i; or of a slice a `Sequential` of these layers, on the same memory.

        ``model[:2]`` has no parameters of its own: what is trained or written in it is so in the model, and the other
        way round. The layers go on to belong to the model, whose memory it keeps. A file, a pickle or a copy of it is a
        model by itself.
        """
        if not isinstance(i, slice):
            return self.layers[i]
        chosen = range(len(self.layers))[i]
        if len(chosen) == 0 or (len(chosen) > 1 and chosen.step != 1):
            raise ValueError(f"Sequential expects a slice of layers that follow each other, got {i} of {len(self)}")
        sizes = [layer._size for layer in self.layers]
        start, stop = sum(sizes[: chosen[0]]), sum(sizes[: chosen[-1] + 1])
        part = Sequential.__new__(Sequential)
        layers = self.layers[chosen[0] : chosen[-1] + 1]
        cells = [layer._cells for layer in self.layers]
        buffers = self._buffers[sum(cells[: chosen[0]]) : sum(cells[: chosen[-1] + 1])]
        part._hold(layers, self._params[start:stop], self._grads[start:stop], buffers, self._freezes)
        if all(row.kind.only_training for row in part._rows()):
            raise ValueError(f"Sequential expects a slice with a layer that predictions need, got {i}: {layers}")
        part._begin()
        part._whole = self  # the layers know it weakly
        return part

    def astype(self, dtype: DTypeLike) -> "Sequential":
        """Return a copy of the model in another dtype, its parameters rounded where they have to be.

        Parameters
        ----------
        dtype : {"float32", "float64"}

        Returns
        -------
        Sequential
            With the metadata of this one, and its layers as `trainable`.

        Raises
        ------
        TypeError
            If it is another dtype.
        ValueError
            If float32 cannot hold a parameter.

        Examples
        --------
        >>> import fastbp
        >>> fastbp.mlp([4, 3], rng=0).astype("float64")
        Sequential(Dense(4, 3, activation='identity', dtype='float64'))
        """
        name = check.float_dtype(dtype, "astype").name
        twin = Sequential(*(made(in_dtype(config, name)) for config in self._config()))
        given = self._tensors()
        for key, value in twin._tensors().items():
            with np.errstate(over="ignore"):
                value[...] = given[key]
            if (np.isinf(value) & np.isfinite(given[key])).any():
                most = np.abs(given[key][np.isfinite(given[key])]).max()
                raise ValueError(f"astype expects parameters that {name} can hold, got one of size {most:g}")
        twin.metadata = copy.deepcopy(self.metadata)
        return twin

    def to_torch(self) -> Any:
        """Return a ``torch.nn.Sequential`` that computes the same, with copies of the parameters.

        A `Dense` layer becomes a Linear, and its activation a module behind it; so the names of the parameters are
        those of ``torch.nn.Sequential(Linear, ReLU, Linear)``. Layers that PyTorch has no class for are those of
        `fastbp.torch`: `Embedding`, `Periodic`, `Residual`, `Scale`, `ParametricActivation`. Parameters of layers that
        are not `trainable` have no ``requires_grad``. It is in training mode, as every new module: call ``eval()`` to
        predict.
        `fastbp.from_torch` is the way back, and has an example.

        Raises
        ------
        ImportError
            If PyTorch is not there.
        TypeError
            If PyTorch has no module for a layer: an activation or a kind of layer of your own.
        """
        with imports:
            from fastbp.nn.in_torch import sequence_of
        return sequence_of(self.layers)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file; `fastbp.load` reads it.

        Its tensors have the names of `parameters` and PyTorch's shapes: ``safetensors.torch.load_file`` reads it too.
        The file appears whole or not at all.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        TypeError, ValueError
            If `metadata` is no dict or holds what JSON cannot, such as names that are no strings; or if a parameter is
            NaN, which `fastbp.load` refuses. A file that was there before is as it was.

        Examples
        --------
        >>> import os, tempfile, fastbp
        >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
        >>> fastbp.mlp([4, 3], rng=0).save(path)
        >>> fastbp.load(path)
        Sequential(Dense(4, 3, activation='identity'))
        """
        check_table(self.metadata, "save", "metadata")
        tensors = self.state_dict()
        for name, value in tensors.items():
            check.no_nan(value, "save", name)
        write_tensors(path, MODEL, {"layers": self._labels(), "metadata": self.metadata}, tensors)

    def __reduce__(self) -> tuple[Callable[..., "Sequential"], tuple[Any, ...]]:
        return _rebuild_sequential, (self._config(), self._kept(), copy.deepcopy(self.metadata))


def _needs_of_prediction(model: Sequential, readers: tuple[Code, ...], sparse: bool) -> Needed:
    calls = ["predict_sparse"] if sparse else ["predict", "read_rows"] if readers else ["predict"]
    calls += ["first_wrong_code"] * (model._codes is not None)
    codes = codes_of(model._rows_for(sparse=sparse, train=False), train=False)
    return Needed([*codes, *readers], calls, model.dtype, get_num_threads())


def _rebuild_sequential(
    config: list[dict[str, Any]], kept: dict[str, Array] | Array, metadata: dict[str, Any]
) -> Sequential:
    model = Sequential(*map(made, config))
    # pickles of fastbp 0.1 have the parameters alone
    model._bring_back({"params": kept} if isinstance(kept, np.ndarray) else kept)
    model.metadata = metadata
    return model
