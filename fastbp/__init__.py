"""fastbp: dense networks trained and run on multi-core CPUs, at the limit of the hardware.

>>> import fastbp
>>> x, y = fastbp.load_digits()
>>> model = fastbp.mlp([64, 32, 10], activation="relu", rng=0)
>>> history = fastbp.Trainer(model).fit(x / 16, y, epochs=2, rng=0, progress=False)
>>> model.predict(x[:5] / 16).shape
(5, 10)
"""

from fastbp._base import program  # noqa: F401  # the first: it answers Ctrl-C while the rest is imported
from fastbp.kernels.compile.forks import imports as _imports

with _imports:
    from typing import TYPE_CHECKING as _TYPE_CHECKING
    from typing import Any as _Any

    from fastbp import schedules
    from fastbp._base.threads import get_num_threads, set_num_threads
    from fastbp._base.version import __version__
    from fastbp.data.blocks import ArrayBlocks, Blocks
    from fastbp.data.datasets import Dataset, load_dataset, load_digits, load_features, train_validation_split
    from fastbp.data.parquet import ParquetBlocks
    from fastbp.data.preprocessing import Scaler
    from fastbp.data.scaled import Scaled
    from fastbp.nn.activation_layers import Activation, ParametricActivation, PReLU
    from fastbp.nn.dense import Dense
    from fastbp.nn.embedding import Embedding
    from fastbp.nn.from_torch import from_torch
    from fastbp.nn.functional import (
        binary_cross_entropy_with_logits,
        gaussian_nll_loss,
        mse_loss,
        softmax_cross_entropy,
    )
    from fastbp.nn.gradcheck import GradcheckResult, gradcheck
    from fastbp.nn.information import cross_entropy, entropy, kl_divergence
    from fastbp.nn.layers import MADE as _layers
    from fastbp.nn.losses import MADE as _losses
    from fastbp.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, GaussianNLLLoss, MSELoss
    from fastbp.nn.made_functions import FUNCTIONS as _functions
    from fastbp.nn.member_outputs import average_members
    from fastbp.nn.members import MemberDense, Members
    from fastbp.nn.mlp import mlp
    from fastbp.nn.own_activations import OwnActivation, activation
    from fastbp.nn.own_losses import RowLoss, row_loss
    from fastbp.nn.periodic import Periodic
    from fastbp.nn.residual import Residual
    from fastbp.nn.saving import load
    from fastbp.nn.sequential import Sequential
    from fastbp.tables.model import TableModel
    from fastbp.train.callbacks import Callback, Checkpoint, LambdaCallback
    from fastbp.train.config import config, show_config, warmup
    from fastbp.train.find_lr import RangeTest, find_lr
    from fastbp.train.history import History
    from fastbp.train.lbfgs import fit_lbfgs
    from fastbp.train.loggers import CSVLogger, TensorBoard
    from fastbp.train.monitors import EarlyStopping, ModelCheckpoint
    from fastbp.train.not_finite import NotFiniteError
    from fastbp.train.optimizers import MADE as _optimizers
    from fastbp.train.optimizers import SGD, Adam, AdamW, RMSprop
    from fastbp.train.plateau import ReduceLROnPlateau
    from fastbp.train.trainer import Trainer
    from fastbp.train.view import TrainerView

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "ArrayBlocks",
    "BCEWithLogitsLoss",
    "Blocks",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CrossEntropyLoss",
    "Dataset",
    "Dense",
    "EarlyStopping",
    "Embedding",
    "GaussianNLLLoss",
    "GradcheckResult",
    "History",
    "LambdaCallback",
    "MSELoss",
    "MemberDense",
    "Members",
    "ModelCheckpoint",
    "NotFiniteError",
    "OwnActivation",
    "PReLU",
    "ParametricActivation",
    "ParquetBlocks",
    "Periodic",
    "RMSprop",
    "RangeTest",
    "ReduceLROnPlateau",
    "Residual",
    "RowLoss",
    "Scaled",
    "Scaler",
    "Sequential",
    "TableModel",
    "TensorBoard",
    "Trainer",
    "TrainerView",
    "__version__",
    "activation",
    "average_members",
    "binary_cross_entropy_with_logits",
    "config",
    "cross_entropy",
    "entropy",
    "find_lr",
    "fit_lbfgs",
    "from_torch",
    "gaussian_nll_loss",
    "get_num_threads",
    "gradcheck",
    "kl_divergence",
    "load",
    "load_dataset",
    "load_digits",
    "load_features",
    "mlp",
    "mse_loss",
    "row_loss",
    "schedules",
    "set_num_threads",
    "show_config",
    "softmax_cross_entropy",
    "train_validation_split",
    "warmup",
]

# The classes and functions that are made from the kernels' tables; an entry there says their names.
_made = {**_functions, **{_kind.__name__: _kind for _kind in (*_layers, *_losses, *_optimizers)}}
globals().update(_made)
__all__ += sorted(_made)

if _TYPE_CHECKING:

    def __getattr__(name: str) -> _Any: ...  # those
