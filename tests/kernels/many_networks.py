"""Train a hundred small networks drawn at random, and print a digest of each: test_native.py runs this twice."""

import hashlib
import random

import numpy as np

import fastbp
from fastbp.kernels.activations import ACTIVATIONS

LOSSES = ("softmax_cross_entropy", "mse", "binary_cross_entropy_with_logits", "gaussian_nll", "huber")
OPTIMIZERS = (
    lambda: fastbp.SGD(0.05, momentum=0.9, nesterov=True), lambda: fastbp.SGD(0.1), fastbp.Adam, fastbp.AdamW,
    fastbp.RMSprop, fastbp.Lion,
)  # fmt: skip
WEIGHTED = (
    fastbp.RMSNorm, fastbp.Scale, fastbp.PReLU,
    lambda features, dtype: fastbp.PReLU(dtype=dtype),
    lambda features, dtype: fastbp.ParametricActivation(features, "mish", 0.5, dtype=dtype),
)  # fmt: skip


def drawn(draw):
    """Return layers of drawn sizes and kinds; an even number of outputs."""
    widths = [draw.choice([1, 3, 10, 17, 64, 130]) for _ in range(draw.randrange(2, 5))]
    layers = []
    for ins, outs in zip(widths, [*widths[1:], 2 * draw.randrange(1, 12)], strict=True):
        layers.append(fastbp.Dense(ins, outs, draw.choice(list(ACTIVATIONS)), dtype=draw.dtype, rng=len(layers)))
        if draw.random() < 0.3:
            layers.append(fastbp.LayerNorm(outs, dtype=draw.dtype))
        if draw.random() < 0.3:
            layers.append(fastbp.Dropout(0.3))
        if draw.random() < 0.5:
            name, kind = draw.choice(list(ACTIVATIONS)), draw.choice(WEIGHTED)
            layers += [fastbp.Activation(name), kind(outs, dtype=draw.dtype)]
    return layers


def digest(seed):
    """Return a digest of the losses, parameters and predictions of one network."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    draw.dtype = draw.choice(["float32", "float64"])
    model, loss = fastbp.Sequential(*drawn(draw)), draw.choice(LOSSES)
    rows, outs = draw.choice([1, 5, 64, 700]), model.out_features
    x = rng.standard_normal((rows, model.in_features)).astype(draw.dtype)
    y = rng.random((rows, outs // 2 if loss == "gaussian_nll" else outs)).astype(draw.dtype)
    y = rng.integers(0, outs, rows) if loss == LOSSES[0] else y
    trainer = fastbp.Trainer(model, loss, draw.choice(OPTIMIZERS)(), clip_norm=draw.choice([None, 1.0]), rng=1)
    values = [trainer.step(x, y) for _ in range(2)]
    values += trainer.fit(x, y, epochs=2, batch_size=max(1, rows // 3), rng=0, progress=False)["loss"]
    found = hashlib.sha256(np.array(values).tobytes())
    for array in (*model.parameters().values(), model.predict(x)):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    fastbp.set_num_threads(min(2, fastbp.get_num_threads()))
    for seed in range(100):
        print(seed, digest(seed))
