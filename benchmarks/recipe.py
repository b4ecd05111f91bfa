"""A recipe of `fastbp train` beside the same in eager PyTorch: the seconds of an epoch, and what both learn.

    python benchmarks/recipe.py [--turns N] /usr/share/datasets/fashion-mnist --hidden 512,512 --norm batch_norm ...

The arguments are those of `fastbp train`, --epochs among them; of optimizers adam and adamw. Each side has a process
of its own with all threads, which is stopped in the turn of the other; a turn is an epoch, its validation included.
PyTorch begins with the same weights, takes the same rows in the same order at the same rates, and has its data in
memory as float32. It drops other numbers, and rounds otherwise. Ratios are those of --turns epochs, and without it of
all: then there are the accuracies on the test rows too, with the parameters of the epoch that was best on the
validation rows.
"""

import copy
import math
import multiprocessing
import os
import signal
import sys
import time
from fnmatch import fnmatchcase
from functools import partial
from statistics import median

import numpy as np
import typer

import fastbp
from fastbp.app import arguments
from fastbp.app.cli import app
from fastbp.app.options import Options
from fastbp.app.run import Run


def run_of(words):
    """Return the run that `fastbp train` would make of its arguments."""
    params = typer.main.get_command(app).commands["train"].make_context("train", list(words)).params
    options = Options(**arguments.asked(params))
    if options.optimizer not in ("adam", "adamw") or options.ema or not options.validation_fraction:
        raise ValueError("recipe.py expects adam or adamw, validation rows and no --ema")
    fastbp.set_num_threads(params["threads"] or fastbp.get_num_threads())
    return Run(params["data"], options, task="classification")


class Turns(fastbp.Callback):
    """Tells the seconds and figures of each epoch, and waits for the next turn."""

    def __init__(self, tell):
        self.tell = tell

    def on_fit_begin(self, trainer):
        self.tell("ready")
        self.began = time.perf_counter()

    def on_epoch_end(self, trainer, epoch, figures):
        self.tell((time.perf_counter() - self.began, figures["loss"], figures["val_accuracy"]))
        self.began = time.perf_counter()


def train_fastbp(words, tell):
    """Train as the command does; return the accuracy on the test rows."""
    run = run_of(words)
    run.compile()
    options, pipeline = run.options, run.pipeline
    best = fastbp.EarlyStopping("val_accuracy", patience=options["epochs"])
    rows = {name: (part.x, pipeline.targets(part.y)) for name, part in run.parts.items()}
    run.trainer.fit(
        *rows["train"], epochs=options["epochs"], batch_size=options["batch_size"], rng=options["seed"],
        validation_data=rows["validation"], callbacks=[*run.recipe.callbacks(), best, Turns(tell)], progress=False,
    )  # fmt: skip
    return run.trainer.evaluate(*rows["test"])["accuracy"]


def optimizer_of(torch, module, options):
    """Return PyTorch's optimizer, with the parameters that do not decay in a group of their own."""
    decaying, others = [], []
    for name, p in module.named_parameters():
        kept = any(fnmatchcase(name, pattern) for pattern in options.get("no_decay", ()))
        (others if kept else decaying).append(p)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options["optimizer"]]
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    return kind(groups, lr=options["lr"], weight_decay=options["weight_decay"], fused=True)  # its fastest


def train_torch(words, tell):
    """Train PyTorch's module of the same network; return the accuracy on the test rows."""
    import torch

    run = run_of(words)
    options, pipeline, model = run.options, run.pipeline, run.trainer.model
    torch.set_num_threads(fastbp.get_num_threads())
    torch.manual_seed(options["seed"])
    rows = {
        name: (torch.from_numpy(pipeline.features.scaler.transform(x).astype(model.dtype)), torch.from_numpy(y))
        for name, (x, y, _) in run.data.parts.items()
    }
    x, y = rows["train"]
    steps = math.ceil(len(x) / options["batch_size"])
    orders = np.random.default_rng(options["seed"])
    if model._drawing:
        orders.integers(np.iinfo(np.int64).max)  # `fit` draws the seed of Dropout from it
    module = model.to_torch()
    optimizer = optimizer_of(torch, module, options)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=options["label_smoothing"])

    def step(batch, lr):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = criterion(module(x[batch]), y[batch])
        loss.backward()
        if "clip_norm" in options:
            torch.nn.utils.clip_grad_norm_(module.parameters(), options["clip_norm"])
        optimizer.step()
        return loss.detach() * len(batch)

    def accuracy(name):
        module.eval()
        with torch.inference_mode():
            inputs, labels = rows[name]
            found = float((module(inputs).argmax(1) == labels).double().mean())
        module.train()
        return found

    best = -1.0, module.state_dict()
    tell("ready")
    for epoch in range(options["epochs"]):
        began = time.perf_counter()
        rate = run.recipe.rate(epoch)
        if isinstance(rate, fastbp.schedules.Schedule):
            rates = rate.values(steps * options["epochs"], epoch * steps, steps).tolist()
        else:
            rates = [rate] * steps
        batches = torch.from_numpy(orders.permutation(len(x))).split(options["batch_size"])
        loss = sum(map(step, batches, rates)).item() / len(x)
        found = accuracy("validation")
        if found > best[0]:
            best = found, copy.deepcopy(module.state_dict())
        tell((time.perf_counter() - began, loss, found))
    module.load_state_dict(best[1])
    return accuracy("test")


class Side:
    """One side's process, stopped but in its turns."""

    def __init__(self, train, words):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(train, words, other), daemon=True)
        self.process.start()
        other.close()

    def turn(self):
        """Return what it tells next: "ready", figures of an epoch, or at last its accuracy."""
        os.kill(self.process.pid, signal.SIGCONT)
        self.pipe.send(None)
        told = self.pipe.recv()
        os.kill(self.process.pid, signal.SIGSTOP)
        return told

    def end(self):
        self.process.kill()
        self.process.join()


def _serve(train, words, pipe):
    pipe.recv()
    last = train(words, partial(_tell, pipe))
    pipe.send(last)


def _tell(pipe, what):
    """Send, and wait for the next turn."""
    pipe.send(what)
    pipe.recv()


def compare(words, turns=None):
    """Take turns for so many epochs, without a number for all; return of each side its epochs, and its accuracy if all.

    An epoch is (seconds, loss, accuracy on the validation rows).
    """
    epochs = run_of(words).options["epochs"]
    sides = {"fastbp": Side(train_fastbp, words), "torch": Side(train_torch, words)}
    found = {name: [] for name in sides}
    try:
        for side in sides.values():
            assert side.turn() == "ready"
        for _ in range(min(epochs, turns or epochs)):
            for name, side in sides.items():
                found[name].append(side.turn())
        whole = turns is None or turns >= epochs
        return {name: (found[name], side.turn() if whole else None) for name, side in sides.items()}
    finally:
        for side in sides.values():
            side.end()


def main(words):
    """Compare, and print what was found."""
    turns = int(words[1]) if words[:1] == ["--turns"] else None
    found = compare(words if turns is None else words[2:], turns)
    for name, (epochs, accuracy) in found.items():
        seconds, losses, validation = zip(*epochs, strict=True)
        said = f"{name:6}  {1e3 * median(seconds):8.1f} ms an epoch, loss {losses[-1]:.4f}, best {max(validation):.2%}"
        print(said + (f", test rows {accuracy:.2%}" if accuracy is not None else ""))
    ratios = sorted(theirs[0] / ours[0] for ours, theirs in zip(*(epochs for epochs, _ in found.values()), strict=True))
    print(f"times as fast: median {median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f} of {len(ratios)} epochs")


if __name__ == "__main__":
    main(sys.argv[1:])
