"""Compute with the kernels on the CPU that NUMBA_CPU_NAME names, and compare with the twins: test_isa.py runs this.

Every array ends where the next page may not be touched: reading or writing past it kills the process.
"""

import json
import sys

import numpy as np
from fences import fenced

from fastbp.kernels import entries, losses, reference
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import CODES, FIRST_STORED_SLOPE
from fastbp.kernels.ops.fill import fill, fill_loss, fill_update
from fastbp.kernels.optimizers.registry import FACTOR
from fastbp.kernels.run import frame, plan
from fastbp.kernels.simd.isa import isa
from tests.kernels.calls import NO_NUMBERS, activate, layers_of
from tests.kernels.calls import multiply as multiply_flat
from tests.kernels.graphs import Network, dense, dropout, layer_norm, residual
from tests.kernels.loss_problems import options_of


def multiply(a, turned, b, b_turned, c, depth):
    rows, cols = c.shape
    multiply_flat(
        a.reshape(-1), a.shape[1], int(turned), b.reshape(-1), b.shape[1], int(b_turned), c.reshape(-1), 0, cols, rows,
        cols, depth, 0, c.reshape(-1), 0, c.reshape(-1), c.reshape(-1), NO_NUMBERS, 0,
    )  # fmt: skip


def products():
    """Return the largest error of ``A @ B``, either one transposed in memory, as a share of the bound."""
    rng = np.random.default_rng(0)
    worst = 0.0
    lengths = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 23, 31, 33, 70]
    shapes = [(lengths[(5 * i) % 14], lengths[(3 * i + 1) % 14], lengths[i % 14]) for i in range(28)]
    for rows, cols, depth in [*shapes, (70, 300, 200), (9, 41, 600)]:
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in [(rows, depth), (depth, cols)])
        exact, sizes = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b)
        for turned, b_turned in [(False, False), (False, True), (True, False)]:
            c = fenced(np.full((rows, cols), np.nan, np.float32))
            multiply(fenced(a.T if turned else a), turned, fenced(b.T if b_turned else b), b_turned, c, depth)
            worst = max(worst, float((np.abs(c - exact) / ((depth + 2) * 2.0**-24 * sizes)).max()))
    return worst


def activations(dtype):
    """Return the largest error of values and slopes in units of max(1, |z|)."""
    worst = 0.0
    for code in CODES.values():
        for count in (2001, 1, 7, 18):
            z = np.linspace(-30, 30, count).astype(dtype)
            a, slope = fenced(z), fenced(z)
            activate(code, z, a, slope)
            z = z.astype(np.longdouble)
            unit = np.finfo(dtype).eps / 2 * np.maximum(1, np.abs(z))
            worst = max(worst, float((np.abs(a - reference.value_of(code, z)) / unit).max()))
            if code >= FIRST_STORED_SLOPE:
                worst = max(worst, float((np.abs(slope - reference.slope_of(code, z)) / unit).max()))
    return worst


def training_step():
    """Return the largest gap between a float32 training step and the twin's in float64."""
    rng = np.random.default_rng(1)
    layers = [(9, 37, CODES["gelu"], True), (37, 21, CODES["relu"], False), (21, 5, CODES["identity"], True)]
    n = sum(plan.parameter_count(i, o, bias) for i, o, _, bias in layers)
    start = rng.uniform(-0.3, 0.3, n).astype(np.float32)
    x = rng.standard_normal((19, 9)).astype(np.float32)
    results = []
    for module, real in [(entries, np.float32), (reference, np.float64)]:
        dtype = np.dtype(real)
        table, layout = plan.make_plan(layers_of(layers), dtype.itemsize, 19, train=True)
        fill(table, dtype, train=True)
        steps = np.zeros(frame.SETTINGS_SIZE, np.int64)
        steps[[frame.LOSS, frame.OPTIMIZER, frame.BATCH]] = losses.SOFTMAX_LABELS, updates.ADAM, 19
        steps[[frame.LAST_STEP, frame.TASKS]] = 1, 2
        fill_loss(steps, 5, dtype)
        fill_update(steps, dtype, clips=False)
        params, record = fenced(start.astype(real)), np.zeros((frame.RECORD_ROWS, 1))
        none = np.zeros(0, real)
        hyper = np.zeros(updates.HYPER_SIZE)
        hyper[[updates.LR, updates.FIRST, updates.SECOND, updates.EPS]] = 0.01, 0.9, 0.99, 1e-2
        hyper[[updates.FIRST_POWER, updates.SECOND_POWER, FACTOR]] = 1.0
        stays = frame.Frame(
            table, layout, steps, hyper, options_of(losses.LOSSES["softmax_labels"]), params, fenced(np.zeros(n, real)),
            fenced(np.zeros(2 * n, real)), fenced(np.full(layout[plan.SIZE], np.nan, real)), np.zeros((3, 19)), none,
            np.zeros(19, np.int64), record,
        )  # fmt: skip
        module.train_steps(
            stays if module is reference else stays.addresses(), fenced(x.astype(real)), np.arange(19) % 5,
            np.zeros((0, 0), real), none, np.arange(19)[::-1].copy(), record,
        )  # fmt: skip
        results.append(np.append(params, record))
    return float(np.abs(results[0] - results[1]).max())


def kinds(dtype):
    """Return the largest gap between outputs in training and the twins', and between gradients and differences."""
    layers = [
        dense(9, 37, "gelu"), layer_norm(37), dropout(37), dense(37, 37, "relu"), residual(37, 3, 1), dense(37, 5),
    ]  # fmt: skip
    network = Network(layers, dtype, batch=19, lr=0.0)
    out = network.by_hand(np.zeros((19, 5), dtype))
    worst = float(np.abs(out - network.twin()).max())
    if dtype == np.float64:
        network.step()
        network.settings[frame.COUNTER] = 0
        direction = np.random.default_rng(0).standard_normal(network.params.size)
        slope, values = network.grads @ direction, []
        for h in (1e-6, -1e-6):
            network.params += h * direction
            values.append(network.step())
            network.settings[frame.COUNTER] = 0
            network.params -= h * direction
        worst = max(worst, 1e-8 * abs((values[0] - values[1]) / 2e-6 - slope))
    return worst


def main():
    report = {"isa": isa()._asdict(), "tile": isa().tile}
    if "--compute" in sys.argv:
        report["products"] = products()
        report["activations"] = [activations(np.float32), activations(np.float64)]
        report["training"] = training_step()
        report["kinds"] = [kinds(np.float32), kinds(np.float64)]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
