"""What several kernel tests need."""

import copy

import numpy as np
import pytest

from fastbp.kernels import entries, losses, reference
from fastbp.kernels import optimizers as updates
from fastbp.kernels.ops.fill import fill, fill_loss, fill_update
from fastbp.kernels.optimizers.registry import CLIP_NORM, FACTOR
from fastbp.kernels.run import frame, plan
from tests.kernels.calls import layers_of
from tests.kernels.loss_problems import class_weight_of, options_of, targets_of

# What tests import, and scripts that they run in processes of their own
collect_ignore = [
    "calls.py",
    "fences.py",
    "graphs.py",
    "guard_pages.py",
    "loss_problems.py",
    "many_networks.py",
    "neon_code.py",
    "other_cpu.py",
    "painted_stack.py",
    "sparse.py",
]


class Training:
    """Everything that `train_steps` takes, for a small random problem.

    ``run(network)`` trains with the kernels, ``run(reference)`` with the twins.

    layers : (in_features, out_features, activation code, bias) of each layer
    """

    def __init__(
        self, layers, dtype, *, loss=losses.SOFTMAX_LABELS, optimizer=updates.SGD, averages=False, samples=23, batch=8,
        seed=0,
    ):  # fmt: skip
        rng = np.random.default_rng(seed)
        dtype = np.dtype(dtype)
        ins, outs = layers[0][0], layers[-1][1]
        entry = losses.BY_CODE[loss]
        labels, targets = targets_of(entry, rng, samples, outs)
        width = targets.shape[1]
        self.layers, self.outs = layers, outs
        self.plan, self.layout = plan.make_plan(
            layers_of(layers), dtype.itemsize, samples, train=True, target_width=width
        )
        fill(self.plan, dtype, train=True)
        steps = -(-samples // batch)
        self.settings = np.zeros(frame.SETTINGS_SIZE, np.int64)
        self.settings[[frame.LOSS, frame.OPTIMIZER, frame.BATCH]] = loss, optimizer, batch
        self.settings[[frame.LAST_STEP, frame.TASKS]] = steps, 1
        fill_loss(self.settings, outs, dtype)
        fill_update(self.settings, dtype, clips=False, averages=averages)
        n = sum(plan.parameter_count(i, o, bias) for i, o, _, bias in layers)
        self.params = rng.uniform(-1, 1, n).astype(dtype)
        for i, _, _, _ in layers[:1]:
            self.params /= max(1, i) ** 0.5
        self.grads = np.zeros(n, dtype)
        self.state = np.zeros((updates.STATE_ARRAYS[optimizer] + averages) * n, dtype)
        self.hyper = np.zeros(updates.HYPER_SIZE)
        self.hyper[: updates.FIRST_POWER] = 0.05, 0.01, 0.9, 0.99, 1e-3, 0.1, 0.8, 0.0
        self.hyper[[updates.FIRST_POWER, updates.SECOND_POWER, updates.MOMENTUM_POWER]] = 1.0
        self.hyper[[CLIP_NORM, FACTOR]] = 1.0
        self.hyper[updates.AVERAGING] = 0.75 * averages
        # What no step has written must not matter.
        self.work = np.full(self.layout[plan.SIZE], np.nan, dtype)
        self.rows = np.full((3, samples), np.nan)
        self.x = rng.standard_normal((samples, ins)).astype(dtype)
        self.labels, self.targets = labels, targets.astype(dtype)
        self.sample_weight = np.zeros(0, dtype)
        self.class_weight = class_weight_of(entry, rng, outs, weighted=False).astype(dtype)
        self.options = options_of(entry, constant=0.0)
        self.order = rng.permutation(samples)
        self.batch_labels = np.zeros(samples, np.int64)
        self.record = np.zeros((frame.RECORD_ROWS, steps))
        self.groups = np.zeros((0, updates.GROUP_SIZE))

    def run(self, module, tasks=1):
        """Train a copy of this problem; return it."""
        result = copy.deepcopy(self)
        result.settings[frame.TASKS] = tasks
        stays = result.frame()
        first = stays if module is reference else stays.addresses()
        module.train_steps(
            first, result.x, result.labels, result.targets, result.sample_weight, result.order, result.record
        )
        return result

    def frame(self):
        return frame.Frame(
            self.plan, self.layout, self.settings, self.hyper, self.options, self.params, self.grads, self.state,
            self.work, self.rows, self.class_weight, self.batch_labels, self.record, self.groups,
        )  # fmt: skip

    def predict(self, module, tasks=1):
        """Return the network's output for all samples."""
        table, size = self.prediction_plan(len(self.x))
        out = np.full((len(self.x), self.outs), np.nan, self.x.dtype)
        predict = module.predict if module is reference else entries.predict
        predict(table, self.params, np.full(size, np.nan, self.x.dtype), self.x, out, tasks)
        return out

    def prediction_plan(self, samples):
        """Return the plan for `predict` on so many rows, and the workspace's size."""
        table, layout = plan.make_plan(layers_of(self.layers), self.params.itemsize, samples, train=False)
        fill(table, self.params.dtype, train=False)
        return table, layout[plan.SIZE]


@pytest.fixture(scope="session")
def training():
    """Return the class `Training`."""
    return Training


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param
