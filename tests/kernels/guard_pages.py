"""Run every entry on fenced arrays of odd sizes, and compare with plain ones: test_guard_pages.py runs this."""

import copy
import ctypes
import sys

import numpy as np
from conftest import Training
from fences import fenced, kept
from loss_problems import class_weight_of, options_of, targets_of

from fastbp.kernels import entries, losses
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import CODES
from fastbp.kernels.inputs import ELEMENTS, READ, numbers_table, reader
from fastbp.kernels.linalg.product import K_BLOCK, PACK_STRIDE
from fastbp.kernels.losses.by_hand import loss_and_gradient
from fastbp.kernels.losses.functions import other_op_of_loss
from fastbp.kernels.ops import by_hand
from fastbp.kernels.ops.fill import fill
from fastbp.kernels.ops.kinds import KINDS
from fastbp.kernels.ops.kinds.embedding import embedding_table
from fastbp.kernels.run import frame, plan
from fastbp.kernels.run.chunks import CHUNK_ROWS
from fastbp.kernels.run.plan import gradient_chunks
from fastbp.kernels.run.predict import predict
from fastbp.kernels.run.stored import DATA, INDICES, INDPTR, ROWS, STEP, STORED_SIZE

rng = np.random.default_rng(0)
FENCES = [np.copy, lambda x: fenced(x, at_end=True), lambda x: fenced(x, at_end=False)]


def numbers(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def same(call, *arrays):
    """Call with arrays that are plain, fenced behind, fenced before; all must hold the same bits afterwards."""
    results = []
    for fence in FENCES:
        given = [fence(array) for array in arrays]
        call(*given)
        results.append([array.tobytes() for array in given])
    kept.clear()
    assert results[0] == results[1] == results[2], call


def layers():
    shapes = [(1, 1, 1), (1, 67, 33), (3, 5, 7), (7, K_BLOCK + 1, 9), (97, 33, 130), (5, PACK_STRIDE + 3, 31)]
    for (batch, ins, outs), code in zip([*shapes, (2 * CHUNK_ROWS + 1, 3, 5)] * 2, [*CODES.values()] * 2, strict=False):
        x, w, dz = numbers(batch, ins), numbers(ins, outs), numbers(batch, outs)
        for b in (numbers(outs), numbers(0)):
            same(
                lambda *given, code=code: by_hand.dense_forward(*given[:3], code, True, 3, *given[3:]),
                x, w, b, 0 * dz, 0 * dz,
            )  # fmt: skip
            partials = np.zeros(gradient_chunks(batch, ins, outs) * (ins + 1) * outs, np.float32)
            same(
                lambda x, w, dz, below, slope, partials, *results, code=code: by_hand.dense_backward(
                    x, w, dz, code, below, slope, True, partials, 3, *results
                ),
                x, w, dz, numbers(batch, ins), numbers(batch, ins), partials, 0 * x, 0 * w, 0 * b,
            )  # fmt: skip
        same(
            lambda da, a, slope, out, code=code: by_hand.activation_backward(da, code, a, slope, out),
            dz,
            dz,
            dz,
            0 * dz,
        )


def all_losses():
    for batch, n in [(1, 1), (3, 2), (9, 10), (17, 31), (8, 64), (5, 66), (3, 131)]:
        for code in sorted(loss.code for loss in losses.LOSSES.values()):
            if code == losses.GAUSSIAN_NLL and n % 2:
                continue
            loss, rng = losses.BY_CODE[code], np.random.default_rng(n)
            labels, targets = targets_of(loss, rng, batch, n)
            class_weight = class_weight_of(loss, rng, n).astype(np.float32)
            for smoothing in (0.0, 0.1):
                options = options_of(loss, losses.MEAN, smoothing)
                same(
                    lambda z, labels, targets, class_weight, options, sample_weight, rows, gradient, code=code:
                    loss_and_gradient(
                        code, z, labels, targets, class_weight, options, sample_weight, rows, 3, gradient
                    ),
                    numbers(batch, n), labels, targets.astype(np.float32), class_weight, options,
                    np.ones(batch, np.float32), np.zeros((3, batch)), numbers(batch, n),
                )  # fmt: skip
        for what in ("value", "planes", "value_of_planes") if n <= losses.NARROW else ("value",):
            op = other_op_of_loss(losses.BY_CODE[losses.SOFTMAX_LABELS], what).address(np.dtype(np.float32))
            rows, apart = (2 * batch, batch) if "planes" in what else (batch, n)
            same(
                lambda z, labels, options, kept, gradient, value, op=op, n=n, apart=apart: entries.loss_at(
                    op, z, z.ctypes.data, len(labels), n, apart, labels.ctypes.data, -100, 0, 0, options.ctypes.data,
                    kept, gradient.ctypes.data, value.ctypes.data, 2,
                ),
                numbers(rows * n), np.arange(rows) % n, options_of(losses.LOSSES["softmax_labels"], losses.NONE),
                np.zeros((3, rows)), numbers(rows * n), np.zeros(rows, np.float32),
            )  # fmt: skip
        same(
            lambda mean, target, var, sums, dmean, dvar: entries.gaussian_nll(
                mean, target, var, *np.float32([1, 1e-6, 0]), sums, dmean, dvar
            ),
            numbers(batch, n), numbers(batch, n), np.ones((batch, n), np.float32), np.zeros(batch), numbers(batch, n),
            numbers(batch, n),
        )  # fmt: skip
        same(lambda labels: entries.first_wrong_label(labels, 3, -100), np.arange(batch) % 3)


NETWORKS = [
    [(1, 1, CODES["identity"], False)],
    [(5, 33, CODES["relu"], True), (33, 3, CODES["identity"], True)],
    [(65, 17, CODES["tanh"], True), (17, 9, CODES["gelu"], False), (9, 67, CODES["silu"], True)],
]
BATCHES = [(1, 1), (7, 3), (2 * CHUNK_ROWS + 9, CHUNK_ROWS * 2 + 1)]


def train(problem, fence, way):
    """Train on a copy of a problem, all of its arrays fenced; return what it wrote."""
    p = copy.copy(problem)
    for name, value in vars(problem).items():
        if isinstance(value, np.ndarray):
            setattr(p, name, fence(value))
    table = fence(p.frame().addresses())
    if way == "whole batch":
        p.settings[2:5] = len(p.x), 0, 1
        if p.labels.size:
            entries.train_on_labels(table, p.x, p.labels)
        else:
            entries.train_on_targets(table, p.x, p.targets)
    else:
        entries.train_steps(table, p.x, p.labels, p.targets, p.sample_weight, p.order, p.record)
    return [array.tobytes() for array in (p.params, p.grads, p.state, p.record)]


def networks():
    loss_codes = [losses.SOFTMAX_LABELS, losses.MSE, losses.BCE_LOGITS, losses.SOFTMAX_PROBABILITIES]
    for i, (layers, optimizer) in enumerate([(layers, o) for layers in NETWORKS for o in updates.STATE_ARRAYS]):
        for j, (samples, batch) in enumerate(BATCHES):
            loss = loss_codes[(i + j) % 4]
            p = Training(layers, np.float32, loss=loss, optimizer=optimizer, samples=samples, batch=batch)
            if loss == losses.SOFTMAX_LABELS and samples > 1:
                p.labels[::3] = -100
            p.params *= 0.1
            if i % 2:
                p.sample_weight = np.ones(samples, np.float32)
            for way in ("steps", "whole batch"):
                results = [train(p, fence, way) for fence in FENCES]
                assert results[0] == results[1] == results[2], (layers, optimizer, samples, loss, way)
            p.x = p.x[: 2 * 9 + 1]
            predictions = []
            for fence in FENCES:
                q = copy.copy(p)
                q.x, q.params = fence(p.x), fence(p.params)
                table, layout = p.prediction_plan(len(q.x))
                work, out = fence(np.full(layout, np.nan, np.float32)), fence(numbers(len(q.x), p.outs))
                predict(fence(table), q.params, work, q.x, out, 3)
                predictions.append(out.tobytes())
            assert predictions[0] == predictions[1] == predictions[2]
            kept.clear()


def inputs():
    def read(x, order, shift, scale, out):
        table = numbers_table(x, *((shift, scale) if shift.size else ()))
        table[READ] = reader(ELEMENTS[x.dtype.str[1:]]).address(out.dtype)
        entries.read_rows(table, order, 0, out, 3)

    for kind in ("u1", "f2", "f4", "f8"):
        for rows, columns in [(1, 1), (3, 7), (5, 16), (9, 33), (2, 131)]:
            x, out, some = (
                np.abs(40 * numbers(rows, columns)).astype(kind),
                numbers(rows, columns),
                np.arange(rows)[::-1],
            )
            none, half = np.zeros(0), numbers(rows, (columns + 1) // 2)
            same(read, x, some, none, none, out)
            same(read, x, some[:0], np.ones(columns), np.full(columns, 3.0), out)
            same(lambda x, *rest: read(x[:, ::2], *rest), x, some, none, none, half)


def stays_of(layers, rows, params, grads, **more):
    """Return what stays of a network that goes forward and back by hand, and its addresses."""
    network, layout = plan.make_plan(layers, 4, rows, train=True, **more)
    fill(network, np.dtype(np.float32), train=True)
    none = np.zeros(0, np.float32)
    stays = frame.Frame(
        network, layout, np.zeros(frame.SETTINGS_SIZE, np.int64), np.zeros(updates.HYPER_SIZE), np.zeros(0), params,
        grads, none, np.zeros(layout[plan.SIZE], np.float32), np.zeros((3, 0)), none, np.zeros(0, np.int64),
        np.zeros((frame.RECORD_ROWS, 1)),
    )  # fmt: skip
    return stays, stays.addresses()


def sparse():
    """Forward, back and predicted, the stored rows and all arrays of the network fenced."""

    def run(rows, ins, outs, data, indices, indptr, params, grads, out, dout, predicted):
        table = np.zeros(STORED_SIZE, np.int64)
        table[[DATA, INDICES, INDPTR, ROWS]] = [a.ctypes.data for a in (data, indices, indptr, indptr)]
        table[STEP], layers = 1, plan.on_sparse([plan.Layer(ins, outs)])
        _stays, addresses = stays_of(layers, rows, params, grads)
        addresses[frame.STORED] = table.ctypes.data
        entries.forward_batch(addresses, np.zeros((rows, 0), np.float32), out, 3)
        entries.backward_batch(addresses, np.zeros((rows, 0), np.float32), dout, 3)
        network, layout = plan.make_plan(layers, 4, rows, train=False)
        fill(network, np.dtype(np.float32), train=False)
        assert entries.first_wrong_row(table, rows, ins, data.size) < 0
        entries.predict_sparse(network, params, np.zeros(layout[plan.SIZE], np.float32), table, 0, predicted, 3)

    for rows, ins, outs in [(1, 1, 1), (3, 5, 7), (9, 40, 130), (5, 700, 33), (7, 3, 16)]:
        which = rng.random((rows, ins)) < 0.4
        which[:, -1] = True  # the last row of W is read
        data, indices = numbers(int(which.sum())), np.nonzero(which)[1].astype(np.int32)
        indptr = np.concatenate([[0], np.cumsum(which.sum(axis=1))])
        dz, w = numbers(rows, outs), numbers(ins * outs)
        same(
            lambda *arrays, sizes=(rows, ins, outs): run(*sizes, *arrays),
            data, indices, indptr, w, 0 * w, 0 * dz, dz, 0 * dz,
        )  # fmt: skip


def codes_and_waves():
    """An embedding of codes, waves of all that it gives, and gradients by the input, all arrays fenced."""

    def run(dims, table, x, params, grads, out, dout, dx, jacobian):
        ins, embedded = x.shape[1], x.shape[1] - len(dims) + sum(dims)
        layers = [
            plan.Layer(ins, embedded, kind=KINDS["embedding"], table=table),
            plan.Layer(embedded, out.shape[1], kind=KINDS["periodic"], attributes=(float(embedded), 2.0)),
        ]
        assert entries.first_wrong_code(table, x) < 0
        _stays, addresses = stays_of(layers, len(x), params, grads)
        addresses[frame.DX] = dx.ctypes.data
        entries.forward_batch(addresses, x, out, 3)
        entries.backward_batch(addresses, x, dout, 3)
        _kept, addresses = stays_of(layers, len(x), params, grads, keeps=True)
        entries.input_gradients(addresses, x, dout, dx, 3)
        entries.input_gradients(addresses, x, dout[:, :0].copy(), jacobian, 3)

    for rows, ins, cardinalities, dims, columns in [
        (1, 1, [1], [1], [0]), (5, 3, [4, 2], [3, 17], [2, 0]), (33, 9, [5, 7, 9], [1, 8, 16], [3, 4, 8]),
    ]:  # fmt: skip
        x, embedded = numbers(rows, ins), ins - len(dims) + sum(dims)
        x[:, columns] = np.array(cardinalities) - 1  # the last row of each table
        size = np.dot(cardinalities, dims) + (2 * 2 + 3 * 2) * embedded
        out = numbers(rows, 3 * embedded)
        same(
            lambda *arrays, dims=dims: run(dims, *arrays),
            embedding_table(ins, cardinalities, dims, columns), x, numbers(size), numbers(size), out, 1 + out, 0 * x,
            numbers(out.shape[1] * rows, ins),
        )  # fmt: skip


if __name__ == "__main__":
    if "--past" in sys.argv:  # to see that the fences hold
        ctypes.string_at(fenced(np.zeros(3)).ctypes.data, 25)
    if "--before" in sys.argv:
        ctypes.string_at(fenced(np.zeros(3), at_end=False).ctypes.data - 1, 1)
    layers()
    all_losses()
    networks()
    inputs()
    sparse()
    codes_and_waves()
