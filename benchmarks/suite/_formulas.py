"""A dense network in NumPy, as the formulas have it: a rival, and in float64 the truth."""

import numpy as np

ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: (z > 0).astype(z.dtype)),
    "tanh": (np.tanh, lambda z, a: 1 - a * a),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a: a * (1 - a)),
}


# Of each layer's activation the value alone, as few lines of NumPy as say it. NumPy has no error function.
VALUES = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, z * np.float32(0.01)),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "gelu": lambda z: z / 2 * (1 + np.tanh(np.float32(0.79788456) * (z + np.float32(0.044715) * z * z * z))),
}
VALUES["gelu_tanh"] = VALUES["gelu"]


def dense_relu(x, weight, bias):
    """relu(x Wᵀ + b), with as few passes as NumPy allows."""
    z = x @ weight.T
    z += bias
    return np.maximum(z, 0, out=z)


def dense_relu_backward(x, weight, a, da):
    """Return dW, db and dx of the layer above."""
    dz = da * (a > 0)
    return dz.T @ x, dz.sum(0), dz @ weight


def adam(parameters, gradient, first, second, step, rate=1e-3):
    """One update of Adam, in place."""
    first *= 0.9
    first += np.float32(0.1) * gradient
    second *= 0.999
    second += np.float32(0.001) * gradient * gradient
    correction = np.float32(rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step))
    parameters -= correction * first / (np.sqrt(second) + np.float32(1e-8))


def softmax_cross_entropy(logits, labels):
    """Return the mean loss and its gradient."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(1, keepdims=True)
    loss = np.mean(np.log(sums[:, 0]) - shifted[rows, labels])
    gradient = powers / sums
    gradient[rows, labels] -= 1
    gradient /= len(labels)
    return loss, gradient


def gradients(parameters, activation, x, labels):
    """Return the loss, and dW and db of each layer; `parameters` are pairs of W (out, in) and b."""
    g, slope = ACTIVATIONS[activation]
    entered, left = [x], []
    for weight, bias in parameters[:-1]:
        left.append(entered[-1] @ weight.T + bias)
        entered.append(g(left[-1]))
    weight, bias = parameters[-1]
    loss, dz = softmax_cross_entropy(entered[-1] @ weight.T + bias, labels)
    found = []
    for i in reversed(range(len(parameters))):
        found.append((dz.T @ entered[i], dz.sum(0)))
        if i:
            dz = (dz @ parameters[i][0]) * slope(left[i - 1], entered[i])
    return loss, found[::-1]


def step(parameters, activation, x, labels, rate):
    """One step of gradient descent, in place."""
    _, found = gradients(parameters, activation, x, labels)
    for pair, derivatives in zip(parameters, found, strict=True):
        for array, derivative in zip(pair, derivatives, strict=True):
            derivative *= array.dtype.type(rate)
            array -= derivative
