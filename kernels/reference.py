"""NumPy twins of the kernels: same names, same arguments, no speed. The tests compare the two.

A twin says what a kernel computes, as a formula over whole arrays, in any float dtype. It ignores ``tasks``, and room
that the kernel needs for itself (``partials``, ``work``).
"""

import ctypes
import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import losses as _losses
from . import optimizers as _updates
from .activations import ACTIVATIONS, IDENTITY
from .losses.gaussian_nll import variance_twin
from .optimizers.settle import settled_twin
from .run import frame as _frame
from .run.plan import ABSENT, ACTIVATION, IN, OUT, B, W

_ACTIVATIONS = {activation.code: activation for activation in ACTIVATIONS.values()}
_LOSSES, _RULES = _losses.BY_CODE, _updates.BY_CODE

# Activations


def value_of(code, z):
    """Return ``g(z)``."""
    return _ACTIVATIONS[code].value(z)


def slope_of(code, z):
    """Return ``g'(z)``."""
    return _ACTIVATIONS[code].slope(z)


def activation_backward(da, activation, a, slope, dz):
    """``dz = da * g'(z)``, told from a where the slope is not stored."""
    entry = _ACTIVATIONS[activation]
    dz[...] = da * slope if entry.stores_slope else entry.gradient_twin(da, a)


# The dense layer


def dense_forward(x, w, b, activation, with_slope, tasks, a, slope):
    """``Z = X @ W + b``, ``A = g(Z)``, and ``g'(Z)`` where it is to be stored."""
    z = x @ w
    if b.size:
        z += b
    a[...] = value_of(activation, z)
    if with_slope and _ACTIVATIONS[activation].stores_slope:
        slope[...] = slope_of(activation, z)


def dense_backward(x, w, dz, below_activation, below, slope, with_dx, partials, tasks, dx, dw, db):
    """``dW = X.T @ dZ``, ``db = dZ.sum(0)``, ``dX = dZ @ W.T * g'``, g of the layer below."""
    dw[...] = x.T @ dz
    if db.size:
        db[...] = dz.sum(axis=0)
    if with_dx:
        activation_backward(dz @ w.T, below_activation, below, slope, dx)


# Losses


def loss_and_gradient(code, z, labels, targets, class_weight, options, sample_weight, rows, tasks, gradient):
    """``L = sum_i scale_i * loss_i`` and ``dL/dz``; returns L."""
    return _loss(code, z, labels, targets, class_weight, options, sample_weight, rows, gradient)[0]


def _loss(code, z, labels, targets, class_weight, options, sample_weight, rows, gradient):
    """Return L and what its mean divided by; ``rows`` receives scales, losses and hits."""
    batch, n = z.shape
    classes = _LOSSES[code].labelled
    kept = labels != options[_losses.IGNORE_INDEX] if classes else np.ones(batch, bool)
    scales = np.where(kept, sample_weight[:batch] if sample_weight.size else 1, 0).astype(z.dtype)
    divisor = 1.0
    if options[_losses.REDUCTION] in (_losses.MEAN, _losses.MEAN_OF_ROWS):
        weighted = scales
        if classes and class_weight.size and options[_losses.REDUCTION] == _losses.MEAN:
            weighted = scales * class_weight[np.where(kept, labels, 0)]
        divisor = weighted.sum() * _LOSSES[code].terms(n)
        with np.errstate(divide="ignore", invalid="ignore"):  # weights that cancel divide by 0
            scales = np.where((scales != 0) & (weighted != 0).any(), scales / divisor, 0)

    rows[:, :batch] = 0
    gradient[...] = 0
    rows[0, :batch] = scales
    z = z[kept]
    value, d = _LOSSES[code].twin(z, (labels if classes else targets)[kept], class_weight, options)
    rows[1, :batch][kept] = value
    gradient[kept] = d * scales[kept, None]
    if classes:
        rows[2, :batch][kept] = z.argmax(axis=1) == labels[kept]
    elif code == _losses.SOFTMAX_ONE_HOT:
        rows[2, :batch] = targets[np.arange(batch), z.argmax(axis=1)] == 1
    if divisor == 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.float64((value * (scales[kept] != 0)).sum()) / divisor, divisor
    return (value * scales[kept]).sum(), divisor


def gaussian_nll(mean, target, var, scale, eps, constant, losses, dmean, dvar):
    """``sum_j (log var + (mean - target)**2 / var) / 2 + constant`` of each row; var is at least eps."""
    value, by_mean, by_var = variance_twin(mean, target, np.maximum(var, eps), constant)
    losses[...] = value.sum(axis=1)
    dmean[...] = by_mean * scale
    dvar[...] = by_var * scale


# Updates


def advance(hyper):
    """Begin a step: ``beta**t`` for the bias correction of Adam, with NAdam's beta of each step."""
    hyper[_updates.STEPS] += 1
    hyper[_updates.MOMENTUM_POWER] *= hyper[_updates.MOMENTUM_DECAY]
    hyper[_updates.FIRST_POWER] *= hyper[_updates.FIRST] * (1 - hyper[_updates.MOMENTUM_POWER] / 2)
    hyper[_updates.SECOND_POWER] *= hyper[_updates.SECOND]


def _groups(frame):
    """Yield from where to where parameters have numbers of their own, and these; all have the same without groups."""
    groups, itemsize = frame.groups, frame.params.itemsize
    if not len(groups):
        yield 0, frame.params.size, frame.hyper
    stops = [*groups[1:, _updates.START] // itemsize, frame.params.size]
    for row, stop in zip(groups, stops, strict=False):
        hyper = frame.hyper.copy()
        hyper[_updates.LR] *= row[_updates.LR_FACTOR]
        if row[_updates.DECAY] >= 0:
            hyper[_updates.WEIGHT_DECAY] = row[_updates.DECAY]
        hyper[_updates.WEIGHT_DECAY] *= row[_updates.DECAY_FACTOR]
        yield int(row[_updates.START]) // itemsize, int(stop), hyper


def update(code, params, grads, state, hyper, n, ld, rows, cols):
    """Update a block of parameters and of the state; flat arrays that begin with the block in place of pointers."""

    def block(flat):
        return as_strided(flat, (rows, cols), (ld * flat.itemsize, flat.itemsize))

    rule = _RULES[code]
    numbers = _updates.Hyper(*hyper)
    numbers.eps = max(numbers.eps, math.sqrt(np.finfo(params.dtype).tiny))
    rule.twin(block(params), block(grads), *(block(state[k * n :]) for k in range(rule.states)), numbers)
    if numbers.averaging:
        average, keep = block(state[rule.states * n :]), numbers.averaging if numbers.steps > 1 else 0.0
        average[...] = settled_twin(keep * average + (1 - keep) * block(params))


# A whole network


def _layers(plan, flat):
    """Yield each layer's activation code, W and b as views of a flat array; b is empty without a bias."""
    for row in plan:
        ins, outs, w0, b0 = row[IN], row[OUT], row[W], row[B]
        w0, b0 = w0 // flat.itemsize, b0 // flat.itemsize  # ABSENT stays below 0
        b = flat[b0 : b0 + outs] if b0 >= 0 else flat[:0]
        yield row[ACTIVATION], flat[w0 : w0 + ins * outs].reshape(ins, outs), b


def _forward(plan, params, x):
    """Return the input and every layer's output, and every layer's slope."""
    outputs, slopes = [x], []
    for code, w, b in _layers(plan, params):
        a = np.empty((len(x), w.shape[1]), x.dtype)
        stored = np.empty_like(a)
        dense_forward(outputs[-1], w, b, code, True, 1, a, stored)
        outputs.append(a)
        slopes.append(stored)
    return outputs, slopes


def predict(plan, params, work, x, out, tasks):
    """``out = g_L(... g_1(X @ W_1 + b_1) ...)``."""
    out[...] = _forward(plan, params, x)[0][-1]


def train_steps(frame, x, labels, targets, sample_weight, order, record):
    """Forward, loss, backward and update of each step from FIRST_STEP to LAST_STEP; `frame` is the Frame itself.

    With FINITE no step is made from the first on whose loss is not finite.
    """
    plan, settings, options, params, grads = frame.plan, frame.settings, frame.options, frame.params, frame.grads
    code, batch = settings[_frame.LOSS], settings[_frame.BATCH]
    first, last = (settings[_frame.FIRST_STEP], settings[_frame.LAST_STEP]) if order.size else (0, 1)
    for step in range(max(first, 0), min(last, record.shape[1])):
        chosen = order[step * batch : (step + 1) * batch] if order.size else np.arange(len(x))
        step_labels = labels[chosen] if labels.size else labels
        step_targets = targets[chosen] if targets.size else targets
        step_weight = sample_weight[chosen] if sample_weight.size else sample_weight

        outputs, slopes = _forward(plan, params, x[chosen])
        dz = np.empty_like(outputs[-1])
        value, divisor = _loss(
            code, outputs[-1], step_labels, step_targets, frame.class_weight, options, step_weight, frame.rows, dz
        )
        if settings[_frame.FINITE] and not np.isfinite(value) and (frame.rows[0, : len(chosen)] != 0).any():
            return
        record[:2, step] = value, divisor
        if _LOSSES[code].hits:
            ignored = step_labels == options[_losses.IGNORE_INDEX]
            counted = len(chosen) - ignored.sum()
            record[2:, step] = frame.rows[2, : len(chosen)].sum(), counted

        layers = list(zip(_layers(plan, params), _layers(plan, grads), strict=True))
        activation_backward(dz, layers[-1][0][0], outputs[-1], slopes[-1], dz)
        for i in reversed(range(len(layers))):
            (_, w, _), (_, dw, db) = layers[i]
            a, dx = outputs[i], np.empty_like(outputs[i])  # the layer's input, made by the layer below
            below, slope = (layers[i - 1][0][0], slopes[i - 1]) if i > 0 else (IDENTITY, dx)
            dense_backward(a, w, dz, below, a, slope, i > 0, dz[:0], 1, dx, dw, db)
            dz = dx

        advance(frame.hyper)
        for start, stop, hyper in _groups(frame):
            parts = params[start:], grads[start:], frame.state[start:]
            update(settings[_frame.OPTIMIZER], *parts, hyper, params.size, 0, 1, stop - start)


# A chain of layers by addresses


def _at(address, shape, dtype):
    """Return the array at an address."""
    count = math.prod(int(n) for n in shape)
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(int(address))
    return np.frombuffer(memory, dtype, count).reshape(shape)


def _chain_layers(chain, params, places, dtype):
    """Yield each layer's activation code, W as (in, out), and b; b is empty without a bias."""
    for row, w_place, b_place in zip(chain, places[::2], places[1::2], strict=True):
        w = _at(params + w_place, (row[OUT], row[IN]), dtype)
        has_bias = b_place != ABSENT
        b = _at(params + b_place, (row[OUT],), dtype) if has_bias else np.zeros(0, dtype)
        yield row[ACTIVATION], w.T, b


def _run_chain(chain, params, places, x):
    """Return the input and every layer's output, and every layer's slope."""
    outputs, slopes = [x], []
    for code, w, b in _chain_layers(chain, params, places, x.dtype):
        a, slope = np.empty((2, len(x), w.shape[1]), x.dtype)
        dense_forward(outputs[-1], w, b, code, True, 1, a, slope)
        outputs.append(a)
        slopes.append(slope)
    return outputs, slopes


def chain_forward(chain, like, params, places, x, batch, work, out, tasks):
    """``A = g(X @ W.T + b)``, layer by layer."""
    x = _at(x, (batch, chain[0, IN]), like.dtype)
    _at(out, (batch, chain[-1, OUT]), like.dtype)[...] = _run_chain(chain, params, places, x)[0][-1]


def chain_backward(
    chain, like, params, places, x, batch, work, out, dout, grads, grad_places, dx, turns, partials, tasks
):  # fmt: skip
    """``dW = dZ.T @ X``, ``db = dZ.sum(0)``, ``dX = dZ @ W``, from the last layer to the first."""
    given = _at(x, (batch, chain[0, IN]), like.dtype)
    outputs, slopes = _run_chain(chain, params, places, given)
    layers = list(_chain_layers(chain, params, places, like.dtype))
    dz = _at(dout, outputs[-1].shape, like.dtype).copy()
    activation_backward(dz, layers[-1][0], outputs[-1], slopes[-1], dz)
    for i in range(len(layers) - 1, -1, -1):
        w, (dw, db) = layers[i][1], grad_places[2 * i : 2 * i + 2]
        if dw != ABSENT:
            _at(grads + dw, w.T.shape, like.dtype)[...] = dz.T @ outputs[i]
        if db != ABSENT:
            _at(grads + db, (w.shape[1],), like.dtype)[...] = dz.sum(axis=0)
        da = dz @ w.T
        if i > 0:
            dz = np.empty_like(da)
            activation_backward(da, layers[i - 1][0], outputs[i], slopes[i - 1], dz)
        elif dx:
            _at(dx, given.shape, like.dtype)[...] = da


# Limits


def fma_peak(a, factor, addend, repeats, tasks):
    """a = factor * a + addend, `repeats` times."""
    for _ in range(repeats):
        a[...] = factor * a + addend


def copy(source, target, tasks):
    """target = source."""
    target[...] = source
