"""A small call of each kind, by the doors that users take. Nothing of fastbp is imported before a call."""

import hashlib
from importlib.util import find_spec

import numpy as np

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((257, 300)), RNG.integers(0, 10, 257)  # work enough for threads
SIZES = [300, 200, 10]


def _train(dtype="float32", **options):
    import fastbp

    model = fastbp.mlp(SIZES, dtype=dtype, rng=0)
    trainer = fastbp.Trainer(model, **options)
    return trainer, X.astype(dtype), [*model.parameters().values()]


def step():
    import fastbp

    trainer, x, parameters = _train(optimizer=fastbp.Adam(1e-3))
    return [np.array(trainer.step(x, LABELS)), *parameters, trainer.model.predict(x)]


def fit():
    trainer, x, parameters = _train("float64", loss="mse")
    history = trainer.fit(x, x[:, :10], epochs=2, batch_size=100, rng=0)
    return [np.array(history["loss"]), *parameters]


def predict():
    trainer, x, _ = _train()
    return [trainer.model.predict(x), trainer.model.predict(x[:1])]


def by_hand():
    import fastbp

    layer = fastbp.Dense(300, 200, "tanh", dtype="float64", rng=0)
    a = layer.forward(X)
    return [a, layer.backward(a), layer.weight_grad, layer.bias_grad]


def everything():
    from .networks import FEW, make, state

    trainer, x, y = make(FEW[-1])
    return [np.array([trainer.step(x, y) for _ in range(3)]), trainer.model.predict(x), *state(trainer)]


def loss():
    import fastbp

    value, gradient = fastbp.softmax_cross_entropy(X, LABELS)
    return [np.array(value), gradient]


def torch():
    from fastbp.torch import MLP, CrossEntropyLoss  # isort: skip  # it imports PyTorch so that forks wait

    import torch

    model = MLP(SIZES)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.linspace(-0.1, 0.1, p.numel()).reshape(p.shape))
    value = CrossEntropyLoss()(model(torch.from_numpy(X).float()), torch.from_numpy(LABELS))
    value.backward()
    return [value.detach().numpy(), *(p.grad.numpy() for p in model.parameters())]


def sklearn():
    from fastbp.sklearn import MLPClassifier

    model = MLPClassifier((200,), max_iter=2, random_state=0, tol=0, n_iter_no_change=9)
    return [*model.fit(X, LABELS).coefs_, model.predict_proba(X)]


CALLS = {f.__name__: f for f in (step, fit, predict, by_hand, everything, loss)}
CALLS |= {f.__name__: f for f in (torch, sklearn) if find_spec(f.__name__)}


def digest(name):
    """Make a call; return a digest of the bits of its results."""
    bits = hashlib.sha256()
    for array in CALLS[name]():
        bits.update(np.ascontiguousarray(array))
    return bits.hexdigest()[:16]
