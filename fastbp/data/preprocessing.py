"""Bringing features to a size that networks train well on, the same for training and prediction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.frames import as_array
from fastbp._base.guard import Guarded, guarded_record
from fastbp._base.inputs import Readable
from fastbp._base.sparse import is_sparse

__all__ = ["Scaler"]

Kind = Literal["none", "scale", "standardize"]

# Rows that fit() widens to float64 at a time: a copy of all of them might not fit in memory.
CHUNK = 4096


@guarded_record
@dataclass(frozen=True, eq=False)
class Scaler(Guarded):
    """Shift and scale features: ``(x - shift) / scale``.

    Made by `fit` from training data, stored with the model, applied to all that it predicts from.

    Attributes
    ----------
    kind : {"none", "scale", "standardize"}
        How shift and scale were found, see `fit`.
    shift, scale : ndarray of float64
        One number, shape (), or one a feature, shape (features,); ``scale > 0``.

    Examples
    --------
    >>> scaler = Scaler.fit([[0.0, 7.0], [10.0, 7.0]], "standardize")
    >>> scaler.transform([[20.0, 8.0]])
    array([[3., 1.]], dtype=float32)
    """

    kind: Kind
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, x: ArrayLike, kind: Kind) -> Self:
        """Find shift and scale.

        Parameters
        ----------
        x : array_like, (rows, features)
            The training features, finite.
        kind : {"none", "scale", "standardize"}
            - ``"none"``: leave the features as they are;
            - ``"scale"``: divide by the largest absolute value there is, 255 for images of bytes,
              so that features keep their proportions to each other;
            - ``"standardize"``: bring each feature to mean 0 and standard deviation 1 (over the
              rows, not rows - 1); a feature that is constant is only shifted.

        Raises
        ------
        TypeError
            For a masked array, a sparse matrix or a `Scaled`.
        ValueError
            For another kind, a shape other than (rows, features), no rows, NaN or infinity.
        """
        x = _numbers(x)
        if kind not in get_args(Kind):
            raise ValueError(f"kind should be one of {', '.join(get_args(Kind))}, got {kind!r}")
        if x.ndim != 2 or x.size == 0:
            raise ValueError(f"Scaler expects x of shape (rows, features), got {x.shape}")
        low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
        infinite = ~(np.isfinite(low) & np.isfinite(high))
        if infinite.any():
            raise ValueError(f"Scaler expects finite x, got NaN or infinity in feature {int(infinite.argmax())}")
        shift, scale = np.zeros(()), np.ones(())
        if kind == "scale":
            scale = np.maximum(abs(low), abs(high)).max()
        elif kind == "standardize":
            shift = _mean(x, np.zeros(x.shape[1]), power=1)
            scale = np.sqrt(_mean(x, shift, power=2))
            # The mean of equal numbers may miss them by a rounding: then the spread is not quite 0.
            scale[low == high] = 0.0
        if not np.isfinite(scale).all():
            raise ValueError(f"Scaler expects x whose squares float64 can hold, got {abs(x).max():.3g}")
        return cls(kind, shift, np.where(scale == 0, 1.0, scale))

    def transform(self, x: ArrayLike) -> NDArray[np.float32]:
        """Return ``(x - shift) / scale`` as a new float32 array, C-contiguous.

        Raises
        ------
        TypeError
            For a masked array, a sparse matrix or a `Scaled`.
        ValueError
            If `x` holds no numbers, or does not have the shape (rows, features) with the features of `fit`.
        """
        x = _numbers(x)
        if x.ndim != 2 or (self.shift.ndim == 1 and x.shape[1] != len(self.shift)):
            features = len(self.shift) if self.shift.ndim else "features"
            raise ValueError(f"Scaler expects x of shape (rows, {features}), got {x.shape}")
        out = np.empty(x.shape, np.float32)
        # In float64 without a copy of all of x in it: a feature far from 0 keeps its digits.
        np.subtract(x, self.shift, out=out, dtype=np.float64, casting="same_kind")
        np.divide(out, self.scale, out=out, dtype=np.float64, casting="same_kind")
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON that `from_dict` turns back without loss."""
        return {"kind": self.kind, "shift": self.shift.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Make the scaler that `to_dict` described.

        Raises
        ------
        ValueError
            If entries are missing, or are not a kind, a finite shift and a positive finite scale of
            one shape.
        """
        missing = {"kind", "shift", "scale"} - set(state)
        if missing:
            raise ValueError(f"a scaler's state has no {', '.join(sorted(missing))}")
        if state["kind"] not in get_args(Kind):
            raise ValueError(f"a scaler's kind should be one of {', '.join(get_args(Kind))}, got {state['kind']!r}")
        try:
            shift = np.array(state["shift"], np.float64)
            scale = np.array(state["scale"], np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a scaler's shift and scale should be numbers: {error}") from error
        right = (
            np.isfinite(shift).all()
            and np.isfinite(scale).all()
            and (scale > 0).all()
            and scale.ndim < 2
            and shift.shape in ((), scale.shape)
        )
        if not right:
            raise ValueError(
                "a scaler's shift should be finite, its scale finite and positive, both numbers "
                f"or lists of one length; got shift {state['shift']} and scale {state['scale']}"
            )
        return cls(state["kind"], shift, scale)


def _numbers(x: ArrayLike) -> NDArray[Any]:
    check.no_mask(x, "Scaler", "x")
    if is_sparse(x) or isinstance(x, Readable):
        how = "; call .toarray() first" if is_sparse(x) else ", whose numbers are scaled where a model reads them"
        raise TypeError(f"Scaler expects x to be a dense array, got {type(x).__name__}{how}")
    x = as_array(x, np.dtype(np.float64), "Scaler", "x")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"Scaler expects numbers, got dtype {x.dtype}")
    return x


def _mean(x: NDArray[Any], shift: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Mean of ``(x - shift) ** power`` over the rows, in float64."""
    total = np.zeros(x.shape[1])
    for start in range(0, len(x), CHUNK):
        total += ((x[start : start + CHUNK] - shift) ** power).sum(axis=0)
    return total / len(x)
