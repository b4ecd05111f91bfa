"""What stays from step to step of a training run: its arrays, as a table of addresses that a kernel takes at once.

An argument that is an array costs a call from Python a quarter of a microsecond. So a compiled step takes this table,
and what changes: the batch.
"""

from typing import NamedTuple

import numpy as np

from ..optimizers.registry import GROUP_SIZE

# Entries of a frame: addresses of a trainer's arrays, and how many elements those of unknown size have. DX is where the
# gradient of the batch goes, 0 where it is not wanted. NUMBERS is where numbers of each step are, (steps, NUMBERED)
# float64 from the first step of a call on; PLACES has the address of each, where a step writes it before all else: in
# HYPER, or among a row's attributes in PLAN. NUMBERED is 0 where all numbers are the same for all steps. X_INPUT and
# TARGETS_INPUT are the addresses of the inputs that steps read x and targets from (see `inputs`), 0 where they are
# arrays of the model's elements, row after row, which steps are given beside the frame. STORED is the address of the
# table of a sparse x (see `stored`), 0 for a dense one. GROUPS is the address of a table, of GROUP_COUNT rows, with
# numbers of the optimizer where these are not the same for all parameters (see `optimizers.registry`). CODES is the
# address of what says which columns of x hold codes (see `codes`), 0 where none do.
(
    PLAN, LAYERS, LAYOUT, SETTINGS, HYPER, OPTIONS, PARAMS, PARAMETERS, GRADS, STATE, WORK, ROWS, ROOM_ROWS,
    CLASS_WEIGHT, CLASS_WEIGHTS, BATCH_LABELS, RECORD, DX, NUMBERS, PLACES, NUMBERED, X_INPUT, TARGETS_INPUT, STORED,
    GROUPS, GROUP_COUNT, CODES, FRAME_SIZE,
) = range(28)  # fmt: skip
# Entries of `settings`: what a training step is. LOSS and OPTIMIZER are the codes of the loss and of the update rule,
# RUN_LOSS and UPDATE the addresses of their compiled functions; TERMS is how many terms a row's loss has in a mean,
# LABELLED whether the targets are class labels, HITS whether rows have a class.
# SPLIT: the parameters are updated when all gradients are there, not each where its gradient is made; HOOK: the address
# of an op that is called before, 0 for none.
# SEED and COUNTER: what random numbers are made of. COUNTER is how many steps were made.
(
    LOSS, OPTIMIZER, BATCH, FIRST_STEP, LAST_STEP, TASKS, FINITE, TERMS, LABELLED, HITS, SPLIT, RUN_LOSS, UPDATE, HOOK,
    SEED, COUNTER, SETTINGS_SIZE,
) = range(17)  # fmt: skip
# Rows of a record, a column a step: the loss before the update, what it divided by, and with class labels (or one-hot
# rows) on how many rows the label's logit was the first of the largest, and how many rows were not ignored.
RECORD_LOSS, RECORD_DIVISOR, RECORD_HITS, RECORD_COUNTED, RECORD_ROWS = range(5)
# Numbers of each row of a batch: its scale, loss and hits, see `losses.compiled.Rows`; and the loss and hits of one of
# its members, where it has several.
ROWS_OF_LOSS = 5


class Frame(NamedTuple):
    """Everything that stays from step to step of a training run.

    plan, layout : made with ``train=True``
    settings : (SETTINGS_SIZE,) int64, see above; with FINITE a step whose loss is not finite makes no update, nor does
        any after it
    hyper : (HYPER_SIZE,) float64, see `optimizers`; read, its powers written
    options : (OPTIONS_SIZE,) float64, see `losses.compiled.loss`
    params, grads, state : flat; read and written
    work : (layout[SIZE],), written
    rows : (ROWS_OF_LOSS, capacity) float64, written
    class_weight : (classes,), or empty
    batch_labels : (capacity,) int64, written
    record : (RECORD_ROWS, 1) float64, written by a single step
    groups : (groups, GROUP_SIZE) float64, see `optimizers.registry`; without any, all parameters have the same numbers
    """

    plan: np.ndarray
    layout: np.ndarray
    settings: np.ndarray
    hyper: np.ndarray
    options: np.ndarray
    params: np.ndarray
    grads: np.ndarray
    state: np.ndarray
    work: np.ndarray
    rows: np.ndarray
    class_weight: np.ndarray
    batch_labels: np.ndarray
    record: np.ndarray
    groups: np.ndarray = np.zeros((0, GROUP_SIZE))

    def addresses(self) -> np.ndarray:
        """Return (FRAME_SIZE,) int64, which kernels take. Keep the frame alive."""
        table = np.zeros(FRAME_SIZE, np.int64)
        for entry, array in (
            (PLAN, self.plan), (LAYOUT, self.layout), (SETTINGS, self.settings), (HYPER, self.hyper),
            (OPTIONS, self.options), (PARAMS, self.params), (GRADS, self.grads), (STATE, self.state),
            (WORK, self.work), (ROWS, self.rows), (CLASS_WEIGHT, self.class_weight),
            (BATCH_LABELS, self.batch_labels), (RECORD, self.record), (GROUPS, self.groups),
        ):  # fmt: skip
            table[entry] = array.ctypes.data
        table[[LAYERS, PARAMETERS, ROOM_ROWS, CLASS_WEIGHTS, GROUP_COUNT]] = (
            len(self.plan), self.params.size, self.rows.shape[1], self.class_weight.size, len(self.groups)
        )  # fmt: skip
        return table
