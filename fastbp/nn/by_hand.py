"""A model forward and back by hand: layer by layer where each computes by itself, else through its plan."""

import numpy as np
from numpy.typing import ArrayLike

from fastbp._base import check
from fastbp._base.calls import Calls
from fastbp._base.inputs import Readable
from fastbp.kernels.ops.fill import fill
from fastbp.nn.dense import Dense
from fastbp.nn.derivatives import Derivable
from fastbp.nn.planned import PlannedPass
from fastbp.nn.stack import Array

__all__ = ["ByHand"]


class ByHand(Derivable):
    """The part of a `Sequential` that computes as in training, a phase a call."""

    def _begin(self) -> None:
        """Be ready to compute with the layers that are held."""
        super()._begin()
        self._pass: PlannedPass | None = None
        self._pass_freezes = 0
        self._forward_calls, self._backward_calls = Calls(), Calls()
        layers = [each for layer in self.layers for each in layer._each()]
        self._drawing = sorted({type(layer).__name__ for layer in layers if layer._draws})
        self._coupling = sorted({type(layer).__name__ for layer in layers if layer._couples})
        self._fewest_rows = 2 if self._coupling else 1  # of a training batch

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
