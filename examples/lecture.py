"""The lecture, running: from the entropy of a coin to a network that learns, with fastbp and plain NumPy.

    python examples/lecture.py

Each part is a function that prints its numbers and returns them; tests/project/test_lecture.py checks them.
All logarithms are natural, so information is in nats.
"""

import math

import numpy as np

import fastbp


def information():
    """How surprising is an outcome on average?  H(p) = -sum p log p."""
    print("\n1. Entropy")
    coin = fastbp.entropy([1 / 2, 1 / 2])  # two equal outcomes: log 2
    die = fastbp.entropy([1 / 6] * 6)  # six: log 6. The more outcomes, the less we know
    loaded = fastbp.entropy([0.9, 0.02, 0.02, 0.02, 0.02, 0.02])  # nearly always a one: little is left to learn
    sure = fastbp.entropy([1.0, 0.0])  # what is certain carries no information; 0 log 0 counts as 0
    print(f"   coin {coin:.3f}   die {die:.2f}   loaded die {loaded:.2f}   certainty {sure:.1f}")
    return {"coin": coin, "die": die, "loaded": loaded, "sure": sure}


def density(x, mean, sd):
    """The normal density through its negative logarithm, which is what a computer adds up."""
    nll, _ = fastbp.gaussian_nll_loss([float(mean)], [float(x)], [sd**2], full=True)
    return math.exp(-nll)


def likelihood():
    """How well do parameters explain what was seen?  L(theta given x) = p(x_1; theta) p(x_2; theta) ..."""
    print("\n2. Likelihood: we saw a 5. Which normal distribution, of standard deviation 0.5, explains it?")
    four, five = density(5, mean=4, sd=0.5), density(5, mean=5, sd=0.5)
    print(f"   mean 4: density {four:.3f}   mean 5: density {five:.4f}, so 5 is the better explanation")

    # Of many observations the likelihood is a product, far too small for a computer ...
    rng = np.random.default_rng(0)
    data = rng.normal(5.0, 0.5, 2000)
    product = np.prod([density(x, 5, 0.5) for x in data])
    # ... and its logarithm a sum. The logarithm grows with its argument: both have their maximum at the same mean.
    nll, _ = fastbp.gaussian_nll_loss(np.full(2000, 5.0), data, np.full(2000, 0.25), full=True, reduction="sum")
    print(f"   2000 observations: likelihood {product:.1f} (too small for a float64), log-likelihood {-nll:.1f}")
    return {"mean 4": four, "mean 5": five, "product": product, "log-likelihood": -nll}


def descent(steps=50, lr=0.05):
    """Gradient descent on the negative log-likelihood:  mean <- mean - lr * d nll / d mean."""
    print("\n3. Gradient descent moves the mean of a normal distribution to the mean of the data")
    data = np.random.default_rng(1).normal(5.0, 0.5, 200)
    mean, path = 4.0, [4.0]
    for step in range(1, steps + 1):
        # The loss is a mean over the data; every observation pulls at the one mean, so their gradients add up.
        loss, gradient = fastbp.gaussian_nll_loss(np.full(200, mean), data, np.full(200, 0.25), full=True)
        mean -= lr * gradient.sum()
        path.append(mean)
        if step in (1, 2, 5, 10, steps):
            print(f"   step {step:2}: mean {mean:.4f}, loss before it {loss:.4f}")
    print(f"   mean of the data: {data.mean():.4f}")
    return {"path": path, "data": data.mean()}


def forecast():
    """Two forecasts for a day that turned out sunny, H(q, p) = -sum q log p: q is the truth, p the forecast."""
    print("\n4. Cross-entropy: both forecasters name sun as the likeliest, and the day is sunny")
    truth = [0.0, 1.0, 0.0]  # rain, sun, cloud
    confident, shy = [0.02, 0.87, 0.11], [0.33, 0.34, 0.33]
    good, poor = fastbp.cross_entropy(truth, confident), fastbp.cross_entropy(truth, shy)
    print(f"   (2, 87, 11) %: {good:.3f}   (33, 34, 33) %: {poor:.3f}   accuracy cannot tell them apart, this can")

    # A network gives logits, any numbers; softmax makes probabilities of them. The loss does both at once.
    logits = np.log([confident, shy])
    losses, _ = fastbp.softmax_cross_entropy(logits, [1, 1], reduction="none")
    print(f"   the same from logits, with the label 'sun': {losses[0]:.3f} and {losses[1]:.3f}")
    return {"confident": good, "shy": poor, "from logits": losses, "said": [np.argmax(confident), np.argmax(shy)]}


def soft_targets():
    """The truth may be a distribution: three of four observers called the day sunny, one cloudy."""
    print("\n5. Soft targets")
    q, p = np.array([[0.0, 0.75, 0.25]]), np.array([[0.02, 0.87, 0.11]])
    loss, gradient = fastbp.softmax_cross_entropy(np.log(p), q)
    least = fastbp.entropy(q)[0]
    print(f"   H(q, p) {loss:.3f} = H(q) {least:.3f} + D(q || p) {fastbp.kl_divergence(q, p)[0]:.3f}")
    print(f"   gradient by the logits, p - q: {np.array2string(gradient[0], precision=2)}")
    # Label smoothing is a soft target made from a label: (1 - s) for the label, s shared among all classes.
    smooth, _ = fastbp.softmax_cross_entropy(np.log(p), [1], label_smoothing=0.1)
    by_hand, _ = fastbp.softmax_cross_entropy(np.log(p), 0.9 * np.array([[0.0, 1.0, 0.0]]) + 0.1 / 3)
    print(f"   label 'sun', smoothed by 0.1: {smooth:.4f}, with its soft target written out: {by_hand:.4f}")
    return {"loss": loss, "least": least, "gradient": gradient - (p - q), "smooth": smooth, "by hand": by_hand}


def back_propagation(lr=0.1):
    """Back-propagation through a 2-3-2 network by hand, as in the lecture, and with fastbp."""
    print("\n6. Back-propagation by hand: 2 inputs, 3 hidden units (tanh), 2 outputs")
    layer1 = fastbp.Dense(2, 3, "tanh", dtype="float64", rng=0)
    layer2 = fastbp.Dense(3, 2, "identity", dtype="float64", rng=1)
    w1, w2 = np.array(layer1.weight), np.array(layer2.weight)
    b1, b2 = layer1.bias[:, None].copy(), layer2.bias[:, None].copy()
    x = np.array([[0.5, -1.0]])  # one sample: a row for fastbp ...
    a0 = x.T  # ... and a column for the lecture
    label = [1]
    q = np.array([[0.0], [1.0]])

    # Forward: z = W a_prev + b, a = g(z), layer by layer.
    z1 = w1 @ a0 + b1
    a1 = np.tanh(z1)
    z2 = w2 @ a1 + b2
    p = np.exp(z2) / np.exp(z2).sum()
    loss = -(q * np.log(p)).sum()

    # Backward: softmax and cross-entropy together give dz = p - q. Then, from the last layer to the first:
    dz2 = p - q
    dw2, db2 = dz2 @ a1.T, dz2  # dW = dz a_prevT, db = dz
    da1 = w2.T @ dz2  # da_prev = WT dz
    dz1 = da1 * (1 - a1**2)  # dz = da * g'(z), and tanh' = 1 - tanh**2
    dw1, db1 = dz1 @ a0.T, dz1
    da0 = w1.T @ dz1

    # The same with fastbp's layers.
    y = layer2.forward(layer1.forward(x))
    fastbp_loss, dy = fastbp.softmax_cross_entropy(y, label)
    dx = layer1.backward(layer2.backward(dy))

    hand = [loss, dw1, db1.ravel(), dw2, db2.ravel(), da0.ravel()]
    layers = [fastbp_loss, layer1.weight_grad, layer1.bias_grad, layer2.weight_grad, layer2.bias_grad, dx.ravel()]
    apart = max(float(np.abs(a - b).max()) for a, b in zip(hand, layers, strict=True))
    print(f"   loss {loss:.6f} by hand, {fastbp_loss:.6f} with fastbp; largest difference of all gradients {apart:.1e}")

    # One update, all layers at once: every gradient is from the old weights.
    new = [w1 - lr * dw1, b1 - lr * db1, w2 - lr * dw2, b2 - lr * db2]
    model = fastbp.Sequential(layer1, layer2)
    trainer = fastbp.Trainer(model, optimizer=fastbp.SGD(lr))
    before = trainer.step(x, label)  # forward, loss, backward, update: one compiled call
    stepped = [layer1.weight, layer1.bias[:, None], layer2.weight, layer2.bias[:, None]]
    update_apart = max(float(np.abs(a - b).max()) for a, b in zip(new, stepped, strict=True))
    after = trainer.evaluate(x, label)["loss"]
    print(f"   Trainer.step makes the same update, apart by {update_apart:.1e}; loss {before:.6f} -> {after:.6f}")
    return {"hand": hand, "layers": layers, "apart": apart, "update": update_apart, "before": before, "after": after}


def training():
    """The same, many times: 1797 handwritten digits, a step on 64 of them at a time."""
    print("\n7. A network learns to read digits")
    digits = fastbp.load_dataset("digits")
    model = fastbp.mlp([64, 64, 10], activation="relu", rng=0)
    trainer = fastbp.Trainer(model, loss="softmax_cross_entropy", optimizer=fastbp.Adam(3e-3))
    first = trainer.evaluate(digits.x_test / 16, digits.y_test)
    print(f"   before: loss {first['loss']:.2f}, accuracy {first['accuracy']:.1%} (guessing: log 10 = 2.30, 10 %)")
    trainer.fit(digits.x_train / 16, digits.y_train, epochs=30, batch_size=64, rng=0, progress=False)
    last = trainer.evaluate(digits.x_test / 16, digits.y_test)
    print(f"   after 30 epochs, on digits it never saw: loss {last['loss']:.2f}, accuracy {last['accuracy']:.1%}")
    return {"first": first, "last": last}


if __name__ == "__main__":
    for part in (information, likelihood, descent, forecast, soft_targets, back_propagation, training):
        part()
