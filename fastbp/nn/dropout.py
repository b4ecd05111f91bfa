"""Dropout."""

from typing import Any, ClassVar, Final

import numpy as np

from fastbp._base import check
from fastbp._base.guard import set_unguarded
from fastbp.kernels.ops.kinds.dropout import DROPOUT
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn.layer import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """Dropout: in training each number is dropped with probability p, or kept and multiplied by ``1 / (1 - p)``.

    A prediction goes without it. Which numbers are dropped depends on the seed of the trainer (see the `rng` of
    `Trainer` and of its `fit`), on how many steps were made, on the layer's place in the model, and on a number's row
    of the batch and column: not on threads, and a run that is resumed drops what it would have dropped.

    Parameters
    ----------
    p : float, default 0.5
        Probability of being dropped, from 0 to 1; taken to the nearest multiple of ``2**-16``.

    Raises
    ------
    TypeError, ValueError
        If p is no number, or out of range.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> model = fastbp.Sequential(fastbp.Dense(4, 8, "relu", rng=0), fastbp.Dropout(0.2), fastbp.Dense(8, 3, rng=1))
    >>> trainer = fastbp.Trainer(model, rng=0)
    >>> trainer.step(np.ones((2, 4)), [0, 1]) > 0
    True
    """

    in_features: int | None
    out_features: int | None
    p: Final[float]
    dtype: np.dtype[Any] | None

    _compiled: ClassVar = ("in_features", "out_features", "dtype", "__call__", "forward", "backward")
    _draws: ClassVar[bool] = True

    def __init__(self, p: float = 0.5) -> None:
        self.p = check.number(p, "Dropout", "p", 0, 1)
        self.in_features = self.out_features = self.dtype = None

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        for name, value in (("in_features", width), ("out_features", width), ("dtype", dtype)):
            set_unguarded(self, name, value)

    def _extend(self, rows: list[Row], source: int) -> int:
        assert self.in_features is not None
        n = self.in_features
        rows.append(Row(n, n, kind=DROPOUT, sources=(source,), attributes=(self.p,)))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        return {"kind": "Dropout", "p": self.p}

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", "p"}:
            raise ValueError("damaged, the header describes no Dropout")
        return {}

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
