"""TabM-mini: members that share one network, each with its own scale of the features and its own head [1]_.

The numbers are those of the authors' defaults without embeddings of numbers. There each member has its own order of the
rows by default, and may share a batch with the others; here all members see the same batches, as in the paper. A step
is the mean of the members' losses, and what is predicted is the average of quantities or probabilities.

References
----------
.. [1] Y. Gorishniy, A. Kotelnikov and A. Babenko, *TabM: advancing tabular deep learning with parameter-efficient
   ensembling* (2025), https://arxiv.org/abs/2410.24210
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbp._base import check
from fastbp.data.columns.encoding import Encoding
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn.dense import Dense
from fastbp.nn.layer import LAYERS, Layer
from fastbp.nn.members import MOST_MEMBERS, MemberDense, Members
from fastbp.nn.sequential import Sequential
from fastbp.tables.recipes.recipe import Array, Layout, Recipe
from fastbp.train.optimizers import AdamW

_Dropout: Any = LAYERS["Dropout"]


@dataclass(frozen=True)
class TabM(Recipe):
    """TabM-mini.

    Attributes
    ----------
    members : int
        How many share the network.
    """

    members: int = 32

    def make_network(self, layout: Layout, outputs: int, dtype: DTypeLike, seed: int) -> Sequential:
        """Make the members' scales, the network that they share, and their heads."""
        rng = np.random.default_rng(seed)
        options: dict[str, Any] = {"dtype": dtype, "rng": rng}
        layers: list[Layer] = [Members(layout.width, self.members, **options)]
        for ins, outs in pairwise([layout.width, *self.hidden]):
            layer = Dense(ins, outs, self.activation, init=_uniform, **options)
            layer.bias = rng.uniform(-(ins**-0.5), ins**-0.5, outs)
            layers.append(layer)
            if self.dropout:
                layers.append(_Dropout(self.dropout))
        layers.append(MemberDense([layout.width, *self.hidden][-1], outputs, self.members, **options))
        return Sequential(*layers)

    def make_optimizer(self, network: Sequential) -> AdamW:
        """Make Adam with decoupled weight decay, which leaves biases alone."""
        return AdamW(self.rate(0), weight_decay=self.weight_decay or 0.0, groups={"*.bias": {"weight_decay": 0.0}})

    def check(self, who: str) -> None:
        """Raise what `Recipe.check` does, and an error for an activation or a number of members that there is not."""
        super().check(who)
        check.choice(self.activation, ACTIVATIONS, who, "activation")
        check.integer(self.members, who, "members", 1, MOST_MEMBERS)


def _uniform(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Return weights as PyTorch's Linear begins with."""
    edge = shape[1] ** -0.5
    return np.asarray(rng.uniform(-edge, edge, shape))


_BOTH = TabM(
    hidden=(512, 512, 512),
    activation="relu",
    lr=2e-3,
    epochs=1000,
    batch_size=256,
    dropout=0.1,
    weight_decay=0.0,
    patience=17,  # the authors' 16 are those that are let pass; the next one ends the training
    first_of_equals=True,
    # Numbers by their quantiles; categories of all sizes become columns; missing and unknown ones are 0
    encoding=Encoding(most_one_hot=None, missing_place=False, quantiles=True),
)
MINI = {"classification": _BOTH, "regression": _BOTH}
