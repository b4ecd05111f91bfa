"""Which machine code the first steps of a trainer take, so that it is compiled or loaded together."""

from fastbp._base.threads import get_num_threads
from fastbp.kernels import losses
from fastbp.kernels import optimizers as updates
from fastbp.kernels.code import Code
from fastbp.kernels.compile.expected import Needed
from fastbp.kernels.losses.functions import op_of_loss, value_op_of_loss
from fastbp.kernels.ops.fill import CLIP, codes_of
from fastbp.kernels.optimizers.functions import update
from fastbp.train.trained import Trained

# Entries that make steps: one after another, and a first one, which others like it may follow
RUN, STEP = ("train_steps",), ("train_steps", "train_on_labels", "train_on_targets")
VALIDATED = (*RUN, "predict", "loss_of_rows")
_BY_HAND = ("forward_batch", "backward_batch", "update_parameters")  # for losses that the kernels have not


def needs_of(
    trained: Trained, code: int, calls: tuple[str, ...], readers: tuple[Code, ...] = (), sparse: bool = False
) -> Needed:
    """Return what the first steps take, see `Prepared._expect`."""
    model, loss = trained.model, losses.BY_CODE.get(code)
    rows = model._rows_for(sparse=sparse, train=True)
    codes = [*codes_of(rows, train=True), update(updates.BY_CODE[trained._code], trained.ema is not None), *readers]
    if loss is None:
        calls = (*_BY_HAND, "read_rows") if readers else _BY_HAND
    else:
        codes.append(op_of_loss(loss))
        with_labels, without = ("first_wrong_label", "train_on_labels"), ("train_on_targets",)
        others = without if loss.labelled else with_labels
        calls = tuple(name for name in (*with_labels[:1], *calls) if name not in others)
        if "loss_of_rows" in calls:
            codes.append(value_op_of_loss(loss))
    if "predict" in calls:
        codes += codes_of(model._rows_for(sparse=sparse, train=False), train=False)
        calls = tuple("predict_sparse" if sparse and name == "predict" else name for name in calls)
    if model._codes is not None:
        calls = (*calls, "first_wrong_code")
    if trained.clip_norm or trained.clip_value:
        codes.append(CLIP)
    return Needed(codes, calls, model.dtype, get_num_threads())
