"""RealMLP: a multilayer perceptron with defaults that were tuned on many tables [1]_.

A layer of the paper computes ``x W / sqrt(fan_in) + b`` with weights of variance 1. Here it is a `Dense` whose weight
is ``W / sqrt(fan_in)``: its steps are the same if its learning rate is divided by ``sqrt(fan_in)`` as well, since steps
of Adam do not depend on how long gradients are, and its weight decay multiplied by it.

References
----------
.. [1] D. Holzmüller, L. Grinsztajn and I. Steinwart, *Better by default* (2024), https://arxiv.org/abs/2407.04491
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbp import schedules
from fastbp._base import check
from fastbp.data.columns.encoding import Encoding
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn.activation_layers import Activation, ParametricActivation
from fastbp.nn.dense import Dense
from fastbp.nn.embedding import Embedding
from fastbp.nn.layer import LAYERS, Layer
from fastbp.nn.periodic import Periodic
from fastbp.nn.sequential import Sequential
from fastbp.tables.recipes.initial import begin_from_data
from fastbp.tables.recipes.recipe import Array, Layout, Recipe
from fastbp.train.optimizers import AdamW

BETAS, EPS = (0.9, 0.95), 1e-8
NUMBERS_OF_CODE = 8  # that a code of a category becomes
SCALE_FACTOR, BIAS_FACTOR, SLOW_FACTOR = 6.0, 0.1, 0.1  # of the learning rate
_Scale: Any = LAYERS["Scale"]
_Dropout: Any = LAYERS["Dropout"]


@dataclass(frozen=True)
class RealMLP(Recipe):
    """RealMLP in the variant that its numbers say.

    Attributes
    ----------
    tuned : bool
        Whether it is TD, which has more than TD-S: waves of numbers (`Periodic`), activations with a learned share, and
        first values from the data.
    """

    tuned: bool = False

    def make_network(self, layout: Layout, outputs: int, dtype: DTypeLike, seed: int) -> Sequential:
        """Make a scale of the features and dense layers; before them, of TD, embeddings and waves."""
        rng = np.random.default_rng(seed)
        options: dict[str, Any] = {"dtype": dtype, "rng": rng}
        layers: list[Layer] = []
        width, codes = layout.width, len(layout.cardinalities)
        if codes:
            columns = range(width - codes, width)
            embedding = Embedding(layout.cardinalities, NUMBERS_OF_CODE, columns, **options)
            for weight in embedding.weights:
                weight[0] = 0.0  # what training does not have
            layers.append(embedding)
            width += codes * (NUMBERS_OF_CODE - 1)
        if self.tuned and layout.numbers:
            layers.append(Periodic(layout.numbers, in_features=width, **options))
            width = layers[-1].out_features or width
        layers.append(_Scale(width, dtype=dtype))
        *hidden, last = pairwise([width, *self.hidden, outputs])
        for ins, outs in hidden:
            layers.append(self._dense(ins, outs, **options))
            layers.append(ParametricActivation(outs, self.activation, dtype=dtype) if self.tuned
                          else Activation(self.activation))  # fmt: skip
            if self.dropout:
                layers.append(_Dropout(schedules.flat_cosine(self.dropout)))
        layers.append(Dense(*last, init="zeros", **options))
        return Sequential(*layers)

    @staticmethod
    def _dense(ins: int, outs: int, **options: Any) -> Dense:
        layer = Dense(ins, outs, init="lecun_normal", **options)  # W / sqrt(fan_in) of W from N(0, 1)
        layer.bias = options["rng"].standard_normal(outs)
        return layer

    def begin(self, network: Sequential, x: Array, seed: int) -> None:
        """Let weights and biases of TD begin as the training rows say; those of TD-S stay as they were drawn."""
        if self.tuned:
            begin_from_data(network, x, self.dropout, seed)

    def make_optimizer(self, network: Sequential) -> AdamW:
        """Make Adam with decoupled weight decay, and the factors of each layer.

        In the authors' code the factor of a learning rate is in that of the decay too: of a scale with the factor 6, 36
        times lr times weight_decay is taken away. It is so here.
        """
        groups: dict[str, dict[str, float]] = {}
        for i, layer in enumerate(network):
            if isinstance(layer, Dense):
                root = math.sqrt(layer.in_features)
                groups[f"{i}.weight"] = {"lr_factor": 1 / root, "weight_decay_factor": root}
                groups[f"{i}.bias"] = {"lr_factor": BIAS_FACTOR, "weight_decay_factor": 0.0}
            elif isinstance(layer, _Scale):
                groups[f"{i}.*"] = {"lr_factor": SCALE_FACTOR, "weight_decay_factor": SCALE_FACTOR}
            elif isinstance(layer, (Periodic, ParametricActivation)):
                groups[f"{i}.*"] = {"lr_factor": SLOW_FACTOR, "weight_decay_factor": SLOW_FACTOR}
        # The gradient of W / sqrt(fan_in) is sqrt(fan_in) times as large, and so should eps be, of most layers.
        eps = EPS * math.sqrt(max(self.hidden, default=1))
        decay = schedules.flat_cosine(self.weight_decay) if self.weight_decay else 0.0
        return AdamW(self.rate(0), BETAS, eps, decay, groups=groups)

    def check(self, who: str) -> None:
        """Raise what `Recipe.check` does, and ValueError for an activation that there is not."""
        super().check(who)
        check.choice(self.activation, ACTIVATIONS, who, "activation")


_SHARED: dict[str, Any] = {
    "hidden": (256, 256, 256),
    "epochs": 256,
    "batch_size": 256,
    "drop_last": True,
    "weight_decay": 0.0,
    "schedule": "coslog4",
}
_CLASSES: dict[str, Any] = {"activation": "selu", "lr": 0.04, "label_smoothing": 0.1}
# Categories of all sizes become columns; missing and unknown ones are 0; columns of 0 and 1 are scaled as numbers are.
_COLUMNS = Encoding(most_one_hot=None, missing_place=False, scaled_flags=True)

TD_S = {
    "classification": RealMLP(**_SHARED, **_CLASSES, encoding=_COLUMNS),
    "regression": RealMLP(**_SHARED, activation="mish", lr=0.07, encoding=_COLUMNS),
}
_TUNED: dict[str, Any] = {
    "tuned": True,
    "dropout": 0.15,
    "weight_decay": 0.02,
    "encoding": replace(_COLUMNS, most_one_hot=8),
}
TD = {
    "classification": RealMLP(**_SHARED | _CLASSES | _TUNED),
    "regression": RealMLP(**_SHARED | _TUNED, activation="mish", lr=0.2, clamps=True),
}
