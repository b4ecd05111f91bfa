"""Train on values and slopes ("Sobolev training"): a network learns more of a function from as few points.

The loss is ``mean((f - y)**2 + |df/dx - g|**2) / 2``. fastbp goes back through a network once, so it has no gradient of
df/dx by the parameters. But of the second term that is the derivative of f's own gradient along the residual
``r = df/dx - g``, and a central difference gives it:

    d/dp |df/dx - g|**2 / 2  =  r d/dp df/dx  =  (df/dp (x + h r) - df/dp (x - h r)) / 2h  +  O(h**2)

So a step is one pass over three times as many rows, at x, x + h r and x - h r. In float64 and with h as below the
difference is right to some eight digits (``main`` compares it with one of the loss); in float32 it would be to three.

    python examples/sobolev.py
"""

import numpy as np

import fastbp

H = 1e-4


def function(x):
    """Return a function of two variables and its slopes, (rows, 1) and (rows, 2)."""
    wave, bump = np.sin(3 * x[:, :1] + x[:, 1:]), np.exp(-(x**2).sum(axis=1, keepdims=True))
    slopes = np.cos(3 * x[:, :1] + x[:, 1:]) * [[3, 1]] - 2 * x * bump
    return wave + bump, slopes


def loss_of(model, x, y, slopes):
    """Return the loss that `gradients` is of."""
    residual = model.input_gradient(x, np.ones_like(y)) - slopes
    return float(((model.predict(x) - y) ** 2).mean() + (residual**2).sum(axis=1).mean()) / 2


def gradients(trainer, x, y, slopes):
    """Leave the gradients of the loss in ``model.gradients()``."""
    n = len(x)
    residual = trainer.model.input_gradient(x, np.ones_like(y)) - slopes
    out = trainer.forward(np.concatenate([x, x + H * residual, x - H * residual]))
    along = np.full((n, 1), 1 / (2 * H * n))
    trainer.backward(np.concatenate([(out[:n] - y) / n, along, -along]))


def network():
    return fastbp.mlp([2, 64, 64, 1], "tanh", dtype="float64", rng=0)


def train(x, y, slopes, steps):
    """Return a model that was trained on values, and slopes where there are any."""
    trainer = fastbp.Trainer(network(), "mse", fastbp.Adam(5e-3))
    for _ in range(steps):
        if slopes is None:
            trainer.step(x, y)
        else:
            gradients(trainer, x, y, slopes)
            trainer.update()
    return trainer.model


def error_of_gradients(rng, x, y, slopes):
    """Return how far `gradients` are from a difference of the loss along a random direction, as a share of that."""
    trainer, eps = fastbp.Trainer(network(), "mse"), 1e-6
    gradients(trainer, x, y, slopes)
    params, grads = trainer.model.parameters(), trainer.model.gradients()
    direction = {name: rng.standard_normal(value.shape) for name, value in params.items()}
    found, sides = sum((grads[name] * d).sum() for name, d in direction.items()), []
    for there in (eps, -2 * eps):
        for name, d in direction.items():
            params[name] += there * d
        sides.append(loss_of(trainer.model, x, y, slopes))
    difference = (sides[0] - sides[1]) / (2 * eps)
    return abs(found - difference) / abs(difference)


def main(points=40, steps=600):
    """Train both ways; return the largest errors of the models, and how wrong a gradient is."""
    rng = np.random.default_rng(0)
    x, far = rng.uniform(-1.5, 1.5, (points, 2)), rng.uniform(-1.5, 1.5, (2000, 2))
    (y, slopes), (truth, _) = function(x), function(far)

    apart = error_of_gradients(rng, x, y, slopes)
    print(f"gradient of the loss: {apart:.1e} of it from a difference of the loss")

    errors = {}
    for name, given in (("values alone", None), ("values and slopes", slopes)):
        model = train(x, y, given, steps)
        errors[name] = float(np.sqrt(((model.predict(far) - truth) ** 2).mean()))
        print(f"{name:18} root mean square error {errors[name]:.4f}, from {points} points")
    return {"apart": apart, "errors": errors}


if __name__ == "__main__":
    main()
