"""A training step in three calls, for a loss or gradients of the user's own: forward, backward, update."""

import math
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.calls import OneOrMany
from fastbp._base.guard import set_unguarded
from fastbp._base.inputs import Readable
from fastbp._base.interrupts import held_back
from fastbp._base.sparse import StoredRows, expect_unspoiled, is_sparse
from fastbp.kernels import entries
from fastbp.kernels.run.frame import DX, PLAN
from fastbp.nn.loss import Targets
from fastbp.nn.own_losses import FunctionLoss
from fastbp.train.resumable import Resumable
from fastbp.train.samples import Part, Samples

Array = NDArray[Any]
UPDATE_WORK = 32  # floating-point operations that the update of a parameter takes as long as


class Pass:
    """One pass through the phases, whose layers' outputs are in the workspace.

    x : (batch, in_features), the rows themselves
    given : what calls take of them: the frame's addresses, and an array
    tasks, kind : into how many tasks it is cut, and what is to know when it ends, if anything
    steps : how many updates the trainer had made before
    seconds : time in compiled code so far
    """

    __slots__ = ("given", "kind", "seconds", "steps", "tasks", "x")

    def __init__(
        self, x: Array | StoredRows, given: tuple[Array, Array], tasks: int, kind: OneOrMany | None, steps: int
    ) -> None:
        self.x, self.given, self.tasks, self.kind, self.steps, self.seconds = x, given, tasks, kind, steps, 0.0


class ByHand(Resumable):
    """The phases of a step one by one; together they leave what `Trainer.step` does, to the bit."""

    _forwarded: Pass | None = None  # what `backward` goes on from
    _backed: Pass | None = None  # what `update` does
    _has_gradients: bool = False

    def __getstate__(self) -> dict[str, Any]:
        own = ("_forwarded", "_backed", "_has_gradients")  # the workspace and the gradients are in no copy
        return {name: value for name, value in super().__getstate__().items() if name not in own}

    def _reserve(self, batch: int, sparse: bool) -> None:
        set_unguarded(self, "_forwarded", None)
        super()._reserve(batch, sparse)

    def _begin(self, targets: Targets, part: Part, tasks: int) -> None:
        set_unguarded(self, "_forwarded", None)
        super()._begin(targets, part, tasks)

    def _is_plain(self, array: Any, shape: tuple[int, int]) -> bool:
        """Whether an array can go to a kernel as it is."""
        return (
            type(array) is np.ndarray
            and array.dtype is self._model.dtype
            and array.shape == shape
            and array.flags.carray
            and (array.base is None or not check.overlaps(array, self._model._params, self._model._grads))
        )

    def forward(self, x: ArrayLike | Readable) -> Array:
        """Run all layers on x and keep what `backward` needs, in compiled code.

        `forward`, `backward` and `update` together are a training step with a gradient of your own in the middle: to
        the bit what `step` does with the same loss, and nearly as fast. Of two calls in a row the last counts.

        Parameters
        ----------
        x : array_like of shape (batch, in_features)
            An array of the model's dtype is kept, not copied: leave it as it is until `backward`.

        Returns
        -------
        ndarray of shape (batch, out_features)
            A new array, which is yours to change.

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, or has another shape.
        RuntimeError
            If another thread is in this trainer.

        Examples
        --------
        Regression by the mean absolute error, which is no loss of the library's:

        >>> import numpy as np, fastbp
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((64, 4))
        >>> y = x[:, :2] - x[:, 2:]
        >>> trainer = fastbp.Trainer(fastbp.mlp([4, 16, 2], "tanh", rng=0), "mse", fastbp.Adam(1e-2))
        >>> for _ in range(100):
        ...     out = trainer.forward(x)
        ...     trainer.backward(np.sign(out - y) / out.size)
        ...     trainer.update()
        >>> bool(np.abs(out - y).mean() < 0.5), trainer.steps
        (True, 100)
        """
        with self._alone:
            model = self._model
            rows: Any = x
            if not (
                type(x) is np.ndarray
                and x.ndim == 2
                and len(x) >= self._fewest_rows
                and self._is_plain(x, (len(x), model.in_features))
            ):
                checked = check.inputs if is_sparse(x) else check.rows
                rows = checked(x, model.in_features, model.dtype, "Trainer")
                model._check_batch(len(rows), "Trainer.forward")
                rows = check.apart(rows, model._params, model._grads)
            self._prepare(len(rows), isinstance(rows, StoredRows))
            if self._varying is not None:
                self._varying.write(*self._progress())
            tasks, _, kind = self._begin_step(len(rows))
            return self._forward(rows, tasks, kind)

    def backward(self, dout: ArrayLike, input_gradient: bool = False) -> Array | None:
        """Write the gradients of all parameters, which ``model.gradients()`` shows.

        It belongs to the last `forward`, and each takes one: the outputs that it keeps give way to the gradients. The
        weights are taken as they are now, also where you have changed them since.

        Parameters
        ----------
        dout : array_like of shape (batch, out_features)
            Gradient of the loss by what `forward` returned.
        input_gradient : bool, default False
            Whether to compute the gradient of x too.

        Returns
        -------
        ndarray of shape (batch, in_features), or None
            The gradient of x, with `input_gradient`.

        Raises
        ------
        RuntimeError
            If `forward` did not come before, or the trainer has made a step since, or what is `trainable` has changed;
            or if another thread is in this trainer.
        TypeError, ValueError
            If dout holds no real numbers, or has another shape; `backward` may be called again then.

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0))
        >>> out = trainer.forward(np.ones((4, 3)))
        >>> trainer.backward(np.ones((4, 2)), input_gradient=True).shape
        (4, 3)
        >>> trainer.model.gradients()["0.bias"]
        array([4., 4.], dtype=float32)
        """
        with self._alone:
            run = self._forwarded
            if run is None or run.steps != self._steps or self._freezes != self._model._freezes[0]:
                raise RuntimeError(
                    "Trainer.backward needs forward before it, and no step, fit, update, other backward or change of "
                    "what is trainable between: the outputs of the layers are gone"
                )
            model, x = self._model, run.x
            gradient: Any = dout
            shape = len(x), model.out_features
            if not self._is_plain(dout, shape):
                dout = check.floats(dout, model.dtype, "Trainer", "dout")
                gradient = check.apart(check.exact_shape(dout, shape, "Trainer", "dout"), model._params, model._grads)
            if input_gradient and isinstance(x, StoredRows):
                raise ValueError("Trainer.backward expects no input_gradient after a sparse x, got True")
            if isinstance(x, StoredRows):
                expect_unspoiled(x, "Trainer.backward", "x")
            dx = np.empty(x.shape, model.dtype) if input_gradient else None
            self._backward(run, gradient, dx)
            return dx

    def update(self) -> None:
        """Update all parameters from their gradients: clipping and the optimizer, in one compiled pass.

        The gradients are those in ``model.gradients()`` as they stand: of `backward`, of ``model.backward``, or what
        you have written there. They stay, so that a second call applies them once more. It counts as a step.

        Raises
        ------
        RuntimeError
            If nothing has written gradients yet, or another thread is in this trainer.
        TypeError, ValueError
            If a number of the optimizer is out of range; nothing is changed then.

        Examples
        --------
        Gradients of your own, here of ``|W|**2 / 2``:

        >>> import numpy as np, fastbp
        >>> model = fastbp.mlp([3, 2], rng=0)
        >>> trainer = fastbp.Trainer(model, optimizer=fastbp.SGD(0.1))
        >>> before = model[0].weight.copy()
        >>> model.gradients()["0.weight"][...] = before
        >>> trainer.update()
        >>> bool(np.allclose(model[0].weight, 0.9 * before))
        True
        """
        with self._alone:
            run = self._backed
            if run is None and not self._has_gradients:
                self._has_gradients = bool(self._model._grads.any())
                if not self._has_gradients:
                    raise RuntimeError(
                        "Trainer.update needs gradients: call backward before it, or write to model.gradients()"
                    )
            self._prepare(0)
            if self._varying is not None:
                self._varying.write(*self._progress())
            params = self._model._params
            if run is not None:
                self._end(run)
            else:
                tasks, began, kind = self._updates.begin(params.size, UPDATE_WORK * params.size)
                entries.update_parameters(self._addresses, params, tasks)
                if kind is not None:
                    kind.end(tasks, began, params.size)
            set_unguarded(self, "_steps", self._steps + 1)

    def _forward(self, rows: Array | StoredRows, tasks: int, kind: OneOrMany | None = None) -> Array:
        """Run all layers on rows that are checked and that there is room for."""
        if self._model._codes is not None and not isinstance(rows, StoredRows):
            self._model._codes.expect(rows, "Trainer")
        given = self._given_x(rows, len(rows))
        run = Pass(rows, given, tasks, kind, self._steps)
        out = np.empty((len(rows), self._model.out_features), self._model.dtype)
        set_unguarded(self, "_forwarded", None)
        began = time.perf_counter()
        entries.forward_batch(*given, out, tasks)
        run.seconds = time.perf_counter() - began
        set_unguarded(self, "_forwarded", run)
        return out

    def _backward(self, run: Pass, gradient: Array, dx: Array | None) -> None:
        """Write all gradients from that of the output, which is checked, and that of x to dx."""
        addresses, x = run.given
        if dx is not None:
            addresses = addresses.copy()
            addresses[[DX, PLAN]] = dx.ctypes.data, self._to_batch().ctypes.data
        set_unguarded(self, "_forwarded", None)
        began = time.perf_counter()
        entries.backward_batch(addresses, x, gradient, run.tasks)
        run.seconds += time.perf_counter() - began
        set_unguarded(self, "_backed", run)

    def _end(self, run: Pass) -> None:
        """Update the parameters: the last phase of a pass."""
        began = time.perf_counter()
        entries.update_parameters(self._addresses, self._model._params, run.tasks)
        set_unguarded(self, "_backed", None)
        set_unguarded(self, "_has_gradients", True)
        if run.kind is not None:  # as if it had begun with the other phases just before
            run.kind.end(run.tasks, began - run.seconds, len(run.x))

    def _run(self, samples: Samples, part: Part, tasks: int) -> int:
        if not isinstance(self._loss, FunctionLoss):
            return super()._run(samples, part, tasks)
        x, targets, weight = samples
        steps, batch, order, record, finite = part
        made, total = self._progress() if self._varying is not None else (0, 0)
        for i, step in enumerate(steps):
            if self._varying is not None:
                self._varying.write(made + i, total)
            chosen: Any = order[step * batch : (step + 1) * batch] if order.size else slice(None)
            rows = x[chosen]
            if isinstance(rows, StoredRows):
                expect_unspoiled(rows, "fit", "x")
            elif self._model._codes is not None and order.size:
                self._model._codes.expect(rows, "Trainer", chosen)
            out = self._forward(rows, tasks)
            run = self._forwarded
            value, dout = self._loss.evaluate(out, targets.values[chosen], weight[chosen] if weight.size else None)
            if run is None or self._forwarded is not run or self._steps != run.steps:
                raise self._loss.not_itself()
            if finite and not math.isfinite(value):
                self._rows[:2, : len(rows)] = [[1 / len(rows)], [value]]
                break
            with held_back():  # with the gradients running statistics move
                self._backward(run, dout, None)
                entries.update_parameters(self._addresses, self._model._params, tasks)
                record[:, step] = value, len(rows), 0, 0
        return -1
