"""The dense layer: its parameters, and forward and backward by hand."""

import functools
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp._base import check, memory
from fastbp._base.calls import Calls
from fastbp._base.docs import listed, with_lists
from fastbp._base.guard import set_unguarded
from fastbp.initializers import INITIALIZERS, Initializer
from fastbp.kernels.activations import ACTIVATIONS, IDENTITY
from fastbp.kernels.ops import by_hand
from fastbp.kernels.run.plan import Layer as Row
from fastbp.kernels.run.plan import parameter_count, partials_size
from fastbp.nn.layer import known
from fastbp.nn.own_activations import OwnActivation, chosen_activation
from fastbp.nn.weighted import Weighted

__all__ = ["Dense", "usual_init"]

Array = NDArray[Any]


def usual_init(activation: str | OwnActivation) -> str:
    """Return the name of the initial weights of a layer that an activation follows."""
    return "he_normal" if chosen_activation(activation, "Dense").rectifies else "glorot_uniform"


@known
@with_lists(
    activations=listed(ACTIVATIONS),
    rectifying=listed((name for name, kind in ACTIVATIONS.items() if kind.rectifies), "and"),
)
class Dense(Weighted):
    """A dense layer: ``z = x @ weight.T + bias``, ``a = g(z)``.

    What is assigned to parameters and gradients is copied to where they are, so that
    ``layer.weight -= 0.1 * layer.weight_grad`` is an update. The other attributes stay as the layer was made. A
    subclass may add to the layer, but not override what a model computes without calling it, such as `forward`.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of an input row and of an output row.
    activation : str or OwnActivation, default "identity"
        g: {activations}, each as PyTorch's; or one of your own by `fastbp.activation`.
    bias : bool, default True
        Whether there is a bias; it begins at zero.
    init : str or callable, optional
        Initial weights: the name of a function in `fastbp.initializers`, or such a function. Without it he_normal for
        {rectifying}, and glorot_uniform for the others.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.
    rng : int or numpy.random.Generator, optional
        Seed of the initial weights; without it they differ from run to run.

    Attributes
    ----------
    weight : ndarray of shape (out_features, in_features)
    bias : ndarray of shape (out_features,), or None
        Live views of the memory that the kernels read: writing to them changes the layer.
    weight_grad, bias_grad : ndarray
        The gradients that the last backward pass or training step left, shaped as the parameters.
    owner : Sequential or None
        The model that the layer is part of; None without one, or when it is gone.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> layer = fastbp.Dense(3, 2, activation="tanh", rng=0)
    >>> layer.forward(np.zeros((4, 3), np.float32)).shape
    (4, 2)
    >>> layer.backward(np.ones((4, 2), np.float32)).shape
    (4, 3)
    >>> layer.bias_grad
    array([4., 4.], dtype=float32)
    """

    in_features: Final[int]  # type: ignore[misc]
    out_features: Final[int]  # type: ignore[misc]
    activation: Final[str]
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str | OwnActivation = "identity",
        *,
        bias: bool = True,
        init: str | Initializer | None = None,
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.in_features = check.integer(in_features, "Dense", "in_features")
        self.out_features = check.integer(out_features, "Dense", "out_features")
        kind = chosen_activation(activation, "Dense")
        self._code, self._stores_slope = kind.code, kind.stores_slope
        self._kind, self._given = kind, activation
        self.activation = kind.name
        biased = check.flag(bias, "Dense", "bias")
        self.dtype = check.float_dtype(dtype, "Dense")
        self._saved: tuple[Array, Array, Array] | None = None
        self._forward_calls, self._backward_calls = Calls(), Calls()
        shape = (self.out_features, self.in_features)
        if init is None:
            init = usual_init(activation)
        initialize: Initializer = init if callable(init) else check.choice(init, INITIALIZERS, "Dense", "init")
        # Drawn in float64, or as a function of the user's gives them; rounded where they are stored, without a copy.
        initial = initialize(check.generator(rng, "Dense"), shape)
        if not (type(initial) is np.ndarray and initial.dtype == np.float64):
            initial = check.floats(initial, self.dtype, "Dense", "init's weights")
        check.exact_shape(initial, shape, "Dense", "init's weights")
        size = parameter_count(self.in_features, self.out_features, biased)
        self._bind(memory.zeros(size, self.dtype), memory.zeros(size, self.dtype), shape[::-1])
        with np.errstate(over="ignore"):
            self._w[...] = initial.T
        if not np.isfinite([self._w.min(), self._w.max()]).all():  # NaN is both
            raise ValueError("Dense expects init's weights to be finite")

    def _extend(self, rows: list[Row], source: int) -> int:
        kind = self._kind
        rows.append(
            Row(self.in_features, self.out_features, kind, self.has_bias, sources=(source,), trainable=self._trainable)
        )
        return len(rows) - 1

    def _lines(self, name: str) -> list[tuple[str, str, int | None, int]]:
        return [(name, self.activation, self.out_features, self._size)]

    @functools.cached_property
    def _work(self) -> float:
        """Floating-point operations of a product for one row."""
        return 2.0 * self.in_features * self.out_features

    def forward(self, x: ArrayLike) -> Array:
        """Return ``g(x @ weight.T + bias)`` and keep what `backward` needs.

        Parameters
        ----------
        x : array_like of shape (batch, in_features)
            Kept, not copied, if it is a C-contiguous array of the layer's dtype: do not change it before `backward`.

        Returns
        -------
        ndarray of shape (batch, out_features)
            Kept too: do not change it in place before `backward`.

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, or has another shape.
        """
        return self._forward(check.rows(x, self.in_features, self.dtype, "Dense"))

    @property
    def _all_grads(self) -> Array:
        """What a backward pass writes: the gradients of all layers of the model, or of this one alone."""
        base = self._grads.base
        return self._grads if base is None else base

    def _forward(self, x: Array) -> Array:
        x = check.apart(x, self._all_grads)
        a = np.empty((len(x), self.out_features), self.dtype)
        slope = np.empty_like(a) if self._stores_slope else np.empty((0, self.out_features), self.dtype)
        tasks, began, kind = self._forward_calls.begin(len(x), self._work * len(x))
        by_hand.dense_forward(x, self._w, self._b, self._code, True, tasks, a, slope)
        if kind is not None:
            kind.end(tasks, began, len(x))
        set_unguarded(self, "_saved", (x, a, slope))
        return a

    def backward(self, da: ArrayLike) -> Array:
        """Fill weight_grad and bias_grad from the gradient of the output; return the gradient of the input.

        Parameters
        ----------
        da : array_like of shape (batch, out_features)
            Gradient of the loss by what `forward` returned.

        Returns
        -------
        ndarray of shape (batch, in_features)

        Raises
        ------
        RuntimeError
            If `forward` did not come before.
        TypeError, ValueError
            If da holds no real numbers, or has another shape.
        """
        return self._backward(self._dz(da, "Dense"), None)

    def _dz(self, da: ArrayLike, who: str) -> Array:
        """Return ``dz = da * g'(z)``."""
        if self._saved is None:
            raise RuntimeError(f"{who}.backward needs forward before it: there is no output to take the gradient of")
        _, a, slope = self._saved
        d = check.exact_shape(check.floats(da, self.dtype, who, "da"), a.shape, who, "da")
        d = check.apart(d, self._all_grads)
        if self._code == IDENTITY:
            return d
        dz = np.empty_like(a)
        by_hand.activation_backward(d, self._code, a, slope, dz)
        return dz

    def _backward(self, dz: Array, below: "Dense | None") -> Array:
        """Fill the gradients from dz; return the gradient of x, times g' of the layer below if there is one."""
        assert self._saved is not None
        x = self._saved[0]
        dx = np.empty((len(x), self.in_features), self.dtype)
        code, a, slope = IDENTITY, dx, dx
        if below is not None:
            assert below._saved is not None
            code, a, slope = below._code, below._saved[1], below._saved[2]
        partials = np.empty(partials_size(self.in_features, self.out_features, len(x)), self.dtype)
        tasks, began, kind = self._backward_calls.begin(len(x), 2 * self._work * len(x))
        dw, db = self._dw, self._db
        if not self._trainable:  # both stay 0
            dw, db = np.empty_like(dw), np.empty_like(db)
        by_hand.dense_backward(x, self._w, dz, code, a, slope, True, partials, tasks, dx, dw, db)
        if kind is not None:
            kind.end(tasks, began, len(x))
        return dx

    def __repr__(self) -> str:
        bias = "" if self.has_bias else ", bias=False"
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        return f"Dense({self.in_features}, {self.out_features}, activation={self.activation!r}{bias}{dtype})"

    def _config(self) -> dict[str, Any]:
        """Return the arguments that make a layer of this shape."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "activation": self._given,
            "bias": self.has_bias,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() - {"kind"} != {"in_features", "out_features", "activation", "bias", "dtype"}:
            raise ValueError("damaged, the header describes no layers")
        ins, outs = (check.integer(config[name], "load", name) for name in ("in_features", "out_features"))
        return {"weight": (outs, ins), "bias": (outs,)} if config["bias"] else {"weight": (outs, ins)}

    @classmethod
    def _made(cls, config: dict[str, Any]) -> "Dense":
        return cls(**{name: value for name, value in config.items() if name != "kind"}, init="zeros")
