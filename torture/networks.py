"""Three networks whose operations differ: wide, deep and narrow, a gradient that is summed in chunks of the batch."""

import hashlib

import numpy as np

import fastbp

#        sizes, activation, dtype, loss, optimizer, batch
CASES = [
    ((300, 200, 10), "relu", "float32", "softmax_cross_entropy", fastbp.Adam(1e-3), 257),
    ((17, 64, 64, 6), "tanh", "float32", "softmax_cross_entropy", fastbp.SGD(0.05, momentum=0.9), 256),
    ((40, 100, 4), "gelu", "float64", "mse", fastbp.AdamW(1e-3), 1700),
]


def make(case, seed=0):
    """Return a new trainer and its batch."""
    sizes, activation, dtype, loss, optimizer, batch = CASES[case]
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, sizes[0])).astype(dtype)
    y = rng.integers(0, sizes[-1], batch) if loss != "mse" else rng.standard_normal((batch, sizes[-1])).astype(dtype)
    model = fastbp.mlp(sizes, activation, dtype=dtype, rng=seed)
    return fastbp.Trainer(model, loss, optimizer), x, y


def digest(*arrays):
    """Return a digest of the bits of arrays."""
    bits = hashlib.sha256()
    for array in arrays:
        bits.update(np.ascontiguousarray(array))
    return bits.hexdigest()[:16]


def trained(case, steps, seed=0):
    """Return the digest of parameters, gradients and predictions after some steps."""
    trainer, x, y = make(case, seed)
    losses = [trainer.step(x, y) for _ in range(steps)]
    prediction = trainer.model.predict(x)
    dx = trainer.model.backward(prediction - trainer.model.forward(x) + 1)
    return digest(np.array(losses), *trainer.model.parameters().values(), prediction, dx,
                  *trainer.model.gradients().values())  # fmt: skip
