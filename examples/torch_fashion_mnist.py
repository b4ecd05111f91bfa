"""A PyTorch training script, and the same with its import changed: Fashion-MNIST from a folder of IDX files, or digits.

    python examples/torch_fashion_mnist.py [/usr/share/datasets/fashion-mnist] [--epochs 5]

The folder is what Debian's package dataset-fashion-mnist installs; without one the digits that come with fastbp are
taken. Both runs begin with the same weights and see the same batches.
"""

import argparse
import time

import numpy as np
import torch
from torch import nn

import fastbp
import fastbp.torch


def network(features, classes):
    """Return the script's network."""
    return nn.Sequential(
        nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, classes)
    )  # fmt: skip


def train(model, loss, x, y, epochs, batch=128):
    """Train with torch's fused Adam; return each epoch's mean loss, and the seconds of the fastest epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    order = torch.Generator().manual_seed(0)
    losses, seconds = [], []
    for _ in range(epochs):
        start, total = time.perf_counter(), 0.0
        for rows in torch.randperm(len(x), generator=order).split(batch):
            optimizer.zero_grad()
            value = loss(model(x[rows]), y[rows])
            value.backward()
            optimizer.step()
            total += value.item() * len(rows)
        losses.append(total / len(x))
        seconds.append(time.perf_counter() - start)
    return losses, min(seconds)


def main(folder="digits", epochs=5):
    """Train both ways; print and return losses, accuracies and times."""
    data = fastbp.load_dataset(folder)
    x, x_test = (torch.from_numpy(np.ascontiguousarray(p, np.float32)) / data.x_train.max() for p in
                 (data.x_train, data.x_test))  # fmt: skip
    y, y_test = (torch.from_numpy(np.asarray(p, np.int64)) for p in (data.y_train, data.y_test))
    torch.manual_seed(0)
    before = network(x.shape[1], int(y.max()) + 1)
    after = fastbp.torch.MLP([x.shape[1], 256, 128, int(y.max()) + 1])
    after.load_state_dict(before.state_dict())
    after(x[:2]).sum().backward()  # the first call compiles
    found = {}
    for name, model, loss in (
        ("torch", before, nn.CrossEntropyLoss()),
        ("fastbp.torch", after, fastbp.torch.CrossEntropyLoss()),
    ):
        losses, seconds = train(model, loss, x, y, epochs)
        with torch.no_grad():
            accuracy = float((model(x_test).argmax(1) == y_test).float().mean())
        print(
            f"{name:13} loss {' '.join(f'{v:.4f}' for v in losses)}; {accuracy:.2%} of the test; {seconds:.3f} s/epoch"
        )
        found[name] = {"losses": losses, "accuracy": accuracy, "seconds": seconds}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="digits")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    main(options.folder, options.epochs)
