"""fastbp: dense networks trained and run on multi-core CPUs, at the limit of the hardware.

>>> import fastbp
>>> x, y = fastbp.load_digits()
>>> model = fastbp.mlp([64, 32, 10], activation="relu", rng=0)
>>> history = fastbp.Trainer(model).fit(x / 16, y, epochs=2, rng=0, progress=False)
>>> model.predict(x[:5] / 16).shape
(5, 10)
"""

from fastbp import _program  # noqa: F401  # the first: it answers Ctrl-C while the rest is imported
from fastbp.kernels.forks import imports as _imports

with _imports:
    from fastbp._config import config, show_config, warmup
    from fastbp._threads import get_num_threads, set_num_threads
    from fastbp._version import __version__
    from fastbp.callbacks import Callback, Checkpoint, EarlyStopping
    from fastbp.datasets import Dataset, load_dataset, load_digits, load_features, train_validation_split
    from fastbp.functional import (
        binary_cross_entropy_with_logits,
        gaussian_nll_loss,
        mse_loss,
        softmax_cross_entropy,
    )
    from fastbp.gradients import GradcheckResult, gradcheck
    from fastbp.history import History
    from fastbp.information import cross_entropy, entropy, kl_divergence
    from fastbp.layers import Dense
    from fastbp.losses import BCEWithLogitsLoss, CrossEntropyLoss, GaussianNLLLoss, MSELoss
    from fastbp.not_finite import NotFiniteError
    from fastbp.optimizers import SGD, Adam, AdamW, RMSprop
    from fastbp.preprocessing import Scaler
    from fastbp.saving import load
    from fastbp.sequential import Sequential, mlp
    from fastbp.training import Trainer

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "BCEWithLogitsLoss",
    "Callback",
    "Checkpoint",
    "CrossEntropyLoss",
    "Dataset",
    "Dense",
    "EarlyStopping",
    "GaussianNLLLoss",
    "GradcheckResult",
    "History",
    "MSELoss",
    "NotFiniteError",
    "RMSprop",
    "Scaler",
    "Sequential",
    "Trainer",
    "__version__",
    "binary_cross_entropy_with_logits",
    "config",
    "cross_entropy",
    "entropy",
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
    "set_num_threads",
    "show_config",
    "softmax_cross_entropy",
    "train_validation_split",
    "warmup",
]
