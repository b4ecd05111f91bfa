"""Rows that are shifted and scaled where they are read."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.inputs import Input, Readable, numbers_input

__all__ = ["Scaled"]

_FLOAT64 = np.dtype(np.float64)


class Scaled(Readable):
    """Rows as ``(x - shift) / scale``, computed a batch at a time where a model reads them.

    It goes wherever a model or a `Trainer` takes rows x. So images stay bytes in memory, of which a float32 array would
    be four times as large. Nothing is copied: what x holds when it is read counts.

    Parameters
    ----------
    x : array_like of shape (rows, features)
        Real numbers of any type.
    scale : float or array_like of shape (features,)
        Finite and greater than 0; 255 for images of bytes.
    shift : float or array_like of shape (features,), default 0.0
        Finite.

    Attributes
    ----------
    shape : tuple of int
        (rows, features); ``len`` is the number of rows.

    Raises
    ------
    TypeError, ValueError
        If x holds no real numbers or is not two-dimensional, or scale or shift do not fit.

    Notes
    -----
    Difference and quotient are those of float64, each rounded to the dtype of the model that reads them. For float32
    that is what ``fastbp.Scaler(...).transform(x)`` gives, to the bit.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> images = np.random.default_rng(0).integers(0, 256, (100, 784), np.uint8)
    >>> trainer = fastbp.Trainer(fastbp.mlp([784, 16, 10], rng=0))
    >>> x, y = fastbp.Scaled(images, 255), np.arange(100) % 10
    >>> history = trainer.fit(x, y, epochs=2, rng=0, validation_data=(x, y), progress=False)
    >>> trainer.model.predict(x).shape
    (100, 10)
    """

    def __init__(self, x: ArrayLike, scale: ArrayLike, shift: ArrayLike = 0.0) -> None:
        self._x = check.numbers(x, _FLOAT64, "Scaled", "x")
        if self._x.ndim != 2:
            raise ValueError(f"Scaled expects x of shape (rows, features), got {check.shape_text(self._x.shape)}")
        self._scale, self._shift = self._of_features(scale, "scale"), self._of_features(shift, "shift")
        if (self._scale <= 0).any():
            raise ValueError(f"Scaled expects scale greater than 0, got {self._scale.min()}")

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and features there are."""
        rows, features = self._x.shape
        return rows, features

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Scaled({check.shape_text(self.shape)} of {self._x.dtype})"

    def _of_features(self, value: Any, name: str) -> NDArray[np.float64]:
        """Return a number for each feature, in an array of its own."""
        features = self.shape[1]
        array = check.floats(value, _FLOAT64, "Scaled", name)
        if array.shape not in ((), (features,)):
            raise ValueError(
                f"Scaled expects {name} to be a number or of shape ({features},), got {check.shape_text(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"Scaled expects {name} to be finite, got {array[~np.isfinite(array)][0]}")
        return np.array(np.broadcast_to(array, (features,)))

    def _input(self, dtype: np.dtype[Any]) -> Input:
        return numbers_input(self._x, dtype, self._shift, self._scale)
