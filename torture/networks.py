"""What checks train: chains (wide; deep and narrow; of a large batch), and each loss with all else at once."""

import hashlib
from functools import partial
from itertools import count, cycle

import numpy as np

import fastbp
from fastbp import schedules
from fastbp.kernels import losses
from fastbp.nn.losses import MADE

# Of a network with everything: work enough for seven tasks in a step
ROWS, WIDTH, FEATURES, OUTPUTS = 513, 64, 10, 6
CODED, DIMS = {0: 5, 7: 3}, [3, 2]  # its columns of codes, how many codes each has, and what they become
TOTAL = 200  # steps that its schedules are made for, outside of `fit`


def chain(sizes, activation, dtype, loss, optimizer, batch, seed=0):
    """Return a trainer of dense layers, and a batch."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, sizes[0])).astype(dtype)
    y = rng.integers(0, sizes[-1], batch) if loss != "mse" else rng.standard_normal((batch, sizes[-1])).astype(dtype)
    return fastbp.Trainer(fastbp.mlp(sizes, activation, dtype=dtype, rng=seed), loss, optimizer()), x, y


def random_chain(rng):
    """Draw a network of dense layers; return a function that makes its trainer, and a batch."""
    rows, features, outputs = rng.integers(20, 200), rng.integers(1, 40), rng.integers(2, 12)
    dtype = rng.choice(["float32", "float64"])
    x = rng.standard_normal((rows, features)).astype(dtype)
    loss = str(rng.choice(["softmax_cross_entropy", "mse", "binary_cross_entropy_with_logits"]))
    of_labels = loss == "softmax_cross_entropy"
    y = rng.integers(0, outputs, rows) if of_labels else rng.uniform(0, 1, (rows, outputs)).astype(dtype)
    hidden = rng.integers(1, 64, rng.integers(0, 3))
    sizes = [int(size) for size in (features, *hidden, outputs)]
    activation = str(rng.choice(["relu", "tanh", "gelu", "silu"]))
    optimizers = (
        lambda: fastbp.SGD(1e-3, momentum=0.9, nesterov=True), lambda: fastbp.SGD(1e-3), lambda: fastbp.Adam(1e-3),
        lambda: fastbp.AdamW(1e-3), lambda: fastbp.RMSprop(1e-3),
    )  # fmt: skip
    optimizer = optimizers[rng.integers(len(optimizers))]
    return lambda: (fastbp.Trainer(fastbp.mlp(sizes, activation, dtype=dtype, rng=0), loss, optimizer()), x, y)


def layers_of_all_kinds(dtype, seed):
    """Return a model of every kind of layer, in and outside of a Residual, one of them frozen."""
    d, seeds = {"dtype": dtype}, count(10 * seed)
    width, inputs = WIDTH, FEATURES - len(CODED) + sum(DIMS)
    coded = fastbp.Embedding(list(CODED.values()), DIMS, list(CODED), rng=next(seeds), **d)
    waves = fastbp.Periodic(FEATURES, 4, 3, in_features=inputs, rng=next(seeds), **d)
    first = fastbp.Residual(
        fastbp.BatchNorm(width, **d), fastbp.Dense(width, width, "gelu", rng=next(seeds), **d),
        fastbp.ParametricActivation(width, "mish", **d), fastbp.Dropout(schedules.linear(0.3)),
    )  # fmt: skip
    second = fastbp.Residual(fastbp.LayerNorm(width, **d), fastbp.Dense(width, width, "tanh", rng=next(seeds), **d))
    model = fastbp.Sequential(
        coded, waves, fastbp.Dense(waves.out_features, width, rng=next(seeds), **d), fastbp.RMSNorm(width, **d),
        fastbp.Activation("silu"), first, fastbp.BatchNorm(width, momentum=None, **d), fastbp.PReLU(width, **d),
        second, fastbp.Scale(width, **d), fastbp.Dropout(0.1), fastbp.Dense(width, OUTPUTS, rng=next(seeds), **d),
    )  # fmt: skip
    second.layers[1].trainable = False
    return model


def targets_of(loss, rng, dtype):
    """Return targets that a loss takes."""
    if loss._says == "classes":
        return rng.integers(0, OUTPUTS, ROWS)
    if loss._says == "labels":
        return rng.integers(0, 2, (ROWS, OUTPUTS)).astype(dtype)
    if draw := losses.BY_CODE[loss._code].drawn:
        return draw(rng, ROWS, OUTPUTS).astype(dtype)
    return rng.standard_normal((ROWS, loss.target_width(OUTPUTS))).astype(dtype)


def everything(loss, optimizer, dtype, seed=0):
    """Return a trainer with all there is, and a batch.

    loss, optimizer : functions that make them
    """
    rng, made = np.random.default_rng(seed), loss()
    x = rng.standard_normal((ROWS, FEATURES)).astype(dtype)
    for column, codes in CODED.items():
        x[:, column] = rng.integers(0, codes, ROWS)
    options = {"clip_norm": 0.5, "clip_value": 0.1, "ema": 0.9, "rng": seed, "total_steps": TOTAL}
    trainer = fastbp.Trainer(layers_of_all_kinds(dtype, seed), made, optimizer(), **options)
    return trainer, x, targets_of(made, rng, dtype)


LOSSES = [
    lambda: fastbp.CrossEntropyLoss(weight=np.linspace(0.5, 2, OUTPUTS), label_smoothing=0.1, ignore_index=1),
    lambda: fastbp.BCEWithLogitsLoss(pos_weight=np.linspace(0.5, 2, OUTPUTS)),
    fastbp.GaussianNLLLoss,
    fastbp.MSELoss,
    *MADE,
]
RATE, DECAY = schedules.cosine(0.01, warmup=0.1), schedules.linear(0.1, 0.01)
GROUPS = {"*.bias": {"lr_factor": 0.5, "weight_decay_factor": 0.0}, "0.*": {"lr_factor": 2.0}}
OPTIMIZERS = [
    partial(optimizer, **options, weight_decay=DECAY, groups=GROUPS)
    for optimizer, options in (
        (fastbp.AdamW, {"lr": RATE, "betas": (schedules.linear(0.8, 0.95), 0.99), "amsgrad": True}),
        (fastbp.NAdam, {"lr": RATE}),
        (fastbp.Lion, {"lr": RATE}),
        (fastbp.Adagrad, {"lr": RATE}),
        (fastbp.SGD, {"lr": RATE, "momentum": schedules.one_cycle(0.9), "nesterov": True}),
        (fastbp.Adam, {"lr": RATE, "amsgrad": True}),
        (fastbp.RMSprop, {"lr": RATE}),
    )
]
MOMENTUM = partial(fastbp.SGD, 0.05, momentum=0.9)
CASES = [
    partial(chain, (300, 200, 10), "relu", "float32", "softmax_cross_entropy", fastbp.Adam, 257),
    partial(chain, (17, 64, 64, 6), "tanh", "float32", "softmax_cross_entropy", MOMENTUM, 256),
    partial(chain, (40, 100, 4), "gelu", "float64", "mse", fastbp.AdamW, 1700),
]
CHAINS = len(CASES)
CASES += map(partial, [everything] * len(LOSSES), LOSSES, cycle(OPTIMIZERS), cycle(["float32", "float64"]))
ALL = tuple(range(len(CASES)))
FEW = ALL[: CHAINS + 1]  # for what takes long


def make(case, seed=0):
    """Return a new trainer and its batch."""
    return CASES[case](seed=seed)


def digest(*arrays):
    """Return a digest of the bits of arrays."""
    bits = hashlib.sha256()
    for array in arrays:
        bits.update(np.ascontiguousarray(array))
    return bits.hexdigest()[:16]


def state(trainer, gradients=True):
    """Return all arrays that training changes."""
    models = [trainer.model] if trainer.ema is None else [trainer.model, trainer.averaged_model()]
    arrays = [array for model in models for array in model.state_dict().values()]
    return [*arrays, trainer._state, *(trainer.model.gradients().values() if gradients else ())]


def trained(case, steps, seed=0):
    """Return the digest of what some steps lead to: parameters and all beside them, gradients by hand, predictions."""
    trainer, x, y = make(case, seed)
    losses = [trainer.step(x, y) for _ in range(steps)]
    prediction = trainer.model.predict(x)
    found = [np.array(losses), prediction, *state(trainer)]
    if case < CHAINS:
        dx = trainer.model.backward(prediction - trainer.model.forward(x) + 1)
    else:  # Dropout draws for a trainer alone
        dx = trainer.backward(prediction - trainer.forward(x) + 1, input_gradient=True)
        trainer.update()
    return digest(*found, dx, *state(trainer))
