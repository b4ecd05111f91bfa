"""The network that everybody writes once in NumPy, and the same with its two functions replaced by fastbp.kernels.

Two layers, relu, softmax and cross-entropy, plain gradient descent, on the 1797 digits that come with fastbp. `forward`
and `backward` are written out first; `fast_forward` and `fast_backward` take the same arguments and give the same
results. Nothing else of fastbp is used: arrays in, arrays out.

    python examples/from_scratch.py
"""

import time

import numpy as np

import fastbp
from fastbp.kernels.activations import IDENTITY, RELU
from fastbp.kernels.ops.by_hand import dense_backward, dense_forward

HIDDEN, CLASSES, BATCH, EPOCHS, RATE = 128, 10, 128, 30, 0.5
NONE = np.empty((0, 0), np.float32)  # for what a kernel does not need


# Before: plain NumPy


def forward(x, w1, b1, w2, b2):
    """Return the hidden layer and the logits."""
    hidden = np.maximum(x @ w1 + b1, 0)
    return hidden, hidden @ w2 + b2


def backward(x, hidden, dlogits, w1, w2):
    """Return the gradients of w1, b1, w2 and b2."""
    dw2, db2 = hidden.T @ dlogits, dlogits.sum(0)
    dhidden = dlogits @ w2.T * (hidden > 0)
    return x.T @ dhidden, dhidden.sum(0), dw2, db2


# After: the same two functions by fastbp.kernels


def fast_forward(x, w1, b1, w2, b2):
    """Return the hidden layer and the logits."""
    hidden, logits = np.empty((len(x), HIDDEN), np.float32), np.empty((len(x), CLASSES), np.float32)
    dense_forward(x, w1, b1, RELU, True, 1, hidden, NONE)
    dense_forward(hidden, w2, b2, IDENTITY, True, 1, logits, NONE)
    return hidden, logits


def fast_backward(x, hidden, dlogits, w1, w2):
    """Return the gradients of w1, b1, w2 and b2."""
    dw1, dw2, dhidden = np.empty_like(w1), np.empty_like(w2), np.empty_like(hidden)
    db1, db2 = np.empty(HIDDEN, np.float32), np.empty(CLASSES, np.float32)
    # relu's gradient is told from `hidden`, where the kernel makes dhidden.
    dense_backward(hidden, w2, dlogits, RELU, hidden, NONE, True, NONE[0:0].ravel(), 1, dhidden, dw2, db2)
    dense_backward(x, w1, dhidden, IDENTITY, x, NONE, False, NONE[0:0].ravel(), 1, NONE, dw1, db1)
    return dw1, db1, dw2, db2


def loss_gradient(logits, labels):
    """Return the gradient of the mean cross-entropy of softmax(logits): probabilities less one for the label."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(p)), labels] -= 1
    return p / np.float32(len(p))


def train(forward, backward, x, y, epochs=EPOCHS):
    """Train a fresh network; return its parameters and the seconds that an epoch took."""
    rng = np.random.default_rng(0)
    w1 = rng.normal(0, np.sqrt(2 / x.shape[1]), (x.shape[1], HIDDEN)).astype(np.float32)
    w2 = rng.normal(0, np.sqrt(2 / HIDDEN), (HIDDEN, CLASSES)).astype(np.float32)
    parameters = [w1, np.zeros(HIDDEN, np.float32), w2, np.zeros(CLASSES, np.float32)]
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        order = rng.permutation(len(x))
        for first in range(0, len(x), BATCH):
            rows = order[first : first + BATCH]
            batch = x[rows]
            hidden, logits = forward(batch, *parameters)
            gradients = backward(batch, hidden, loss_gradient(logits, y[rows]), parameters[0], parameters[2])
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= RATE * gradient
        seconds.append(time.perf_counter() - start)
    return parameters, float(np.median(seconds))


def main(epochs=EPOCHS):
    """Train both ways, print times and accuracy; return the largest difference of a parameter, accuracies and times."""
    digits = fastbp.load_dataset("digits")
    x, x_test = (np.ascontiguousarray(part / 16, np.float32) for part in (digits.x_train, digits.x_test))
    train(fast_forward, fast_backward, x[:BATCH], digits.y_train[:BATCH], epochs=1)  # the first call compiles
    found = {}
    for name, functions in (("NumPy", (forward, backward)), ("fastbp.kernels", (fast_forward, fast_backward))):
        parameters, seconds = train(*functions, x, digits.y_train, epochs)
        accuracy = float((forward(x_test, *parameters)[1].argmax(1) == digits.y_test).mean())
        print(f"{name:15} {1000 * seconds:6.2f} ms an epoch, {accuracy:.1%} of the test right")
        found[name] = parameters, accuracy, seconds
    before, after = found["NumPy"], found["fastbp.kernels"]
    apart = max(float(np.abs(a - b).max()) for a, b in zip(before[0], after[0], strict=True))
    print(f"largest difference of a parameter after {epochs} epochs: {apart:.1e}")
    return {"apart": apart, "accuracy": (before[1], after[1]), "seconds": (before[2], after[2])}


if __name__ == "__main__":
    main()
