"""With Numba's check of every index on, training, prediction and losses find none that is out of bounds."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.jit  # Numba writes the checks

SCRIPT = """
import numpy as np
import fastbp

x, y = np.random.default_rng(0).standard_normal((37, 5)).astype("f"), np.arange(37) % 70
for outputs, loss in [(3, fastbp.CrossEntropyLoss(ignore_index=2)), (70, fastbp.CrossEntropyLoss(label_smoothing=0.1)),
                      (3, "mse"), (70, "binary_cross_entropy_with_logits"), (6, "gaussian_nll")]:
    labelled = not isinstance(loss, str)
    targets = y % outputs if labelled else np.ones((37, outputs // 2 if loss == "gaussian_nll" else outputs), "f")
    trainer = fastbp.Trainer(fastbp.mlp([5, 17, outputs], "tanh", output_activation="silu", rng=0), loss)
    trainer.fit(x, targets, batch_size=8, epochs=2, rng=0, sample_weight=np.ones(37, "f"), progress=False)
    trainer.step(x, targets, np.ones(37))
    trainer.evaluate(x, targets)
"""


def test_no_index_is_out_of_bounds(tmp_path):
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # an outlined function has no way to raise: it writes the error, and returns
    assert "IndexError" not in done.stderr
