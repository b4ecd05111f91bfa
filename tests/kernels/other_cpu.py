"""Compute with the kernels on the CPU that NUMBA_CPU_NAME names, and compare with the twins: test_isa.py runs this.

Every array ends where the next page may not be touched: reading or writing past it kills the process.
"""

import json
import sys

import numba
import numpy as np
from fences import fenced

from fastbp.kernels import losses, reference
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import CODES, FIRST_STORED_SLOPE, IDENTITY
from fastbp.kernels.activations.compiled import activate_with_slope
from fastbp.kernels.compile.pointers import at, doubles_at
from fastbp.kernels.linalg.product import PLAIN, product
from fastbp.kernels.run import frame, plan
from fastbp.kernels.run import train as network
from fastbp.kernels.simd.isa import isa


@numba.njit
def multiply(a, turned, b, b_turned, c, depth):
    row_stride, k_stride = a.shape[1], 1
    if turned:
        row_stride, k_stride = 1, a.shape[1]
    product(
        at(a, 0), row_stride, k_stride, at(b, 0), b.shape[1], b_turned, at(c, 0), c.shape[1], c.shape[0], c.shape[1],
        depth, at(c, 0), 0, PLAIN, IDENTITY, at(c, 0), at(c, 0), doubles_at(0), 0,
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


@numba.njit
def apply(code, a, slope):
    activate_with_slope(code, at(a, 0), at(slope, 0), a.size, 1, a.size)


def activations(dtype):
    """Return the largest error of values and slopes in units of max(1, |z|)."""
    worst = 0.0
    for code in CODES.values():
        for count in (2001, 1, 7, 18):
            z = np.linspace(-30, 30, count).astype(dtype)
            a, slope = fenced(z), fenced(z)
            apply(code, a, slope)
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
    table, layout = plan.make_plan(layers, 4, 19, train=True)
    start = rng.uniform(-0.3, 0.3, n).astype(np.float32)
    x = rng.standard_normal((19, 9)).astype(np.float32)
    results = []
    for module, real in [(network, np.float32), (reference, np.float64)]:
        params, record = fenced(start.astype(real)), np.zeros((frame.RECORD_ROWS, 1))
        none = np.zeros(0, real)
        stays = frame.Frame(
            table, layout, np.array([losses.SOFTMAX_LABELS, updates.ADAM, 19, 0, 1, 2, 0]),
            np.array([0.01, 0, 0.9, 0.99, 1e-2, 1, 1, 0]), np.array([losses.MEAN, -100, 0, 1e-6, 0]), params,
            fenced(np.zeros(n, real)), fenced(np.zeros(2 * n, real)),
            fenced(np.full(layout[plan.SIZE], np.nan, real)), np.zeros((3, 19)), none, np.zeros(19, np.int64), record,
        )  # fmt: skip
        module.train_steps(
            stays if module is reference else stays.addresses(), fenced(x.astype(real)), np.arange(19) % 5,
            np.zeros((0, 0), real), none, np.arange(19)[::-1].copy(), record,
        )  # fmt: skip
        results.append(np.append(params, record))
    return float(np.abs(results[0] - results[1]).max())


def main():
    report = {"isa": isa()._asdict(), "tile": isa().tile}
    if "--compute" in sys.argv:
        report["products"] = products()
        report["activations"] = [activations(np.float32), activations(np.float64)]
        report["training"] = training_step()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
