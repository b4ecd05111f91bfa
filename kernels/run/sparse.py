"""Sparse batches: which rows a step takes, whether stored rows are as the kernels take them, and prediction."""

from ..compile.functions import entry, kernel
from ..compile.pointers import address_of, at, int32s_at, pointer_to
from ..compile.signature import Int, Ints, Ints2, Reals, Reals2
from ..ops.call import row_at
from .frame import LAYOUT, STORED, WORK
from .plan import IN, X
from .predict import Network, predict_rows
from .stored import INDICES, INDPTR, ROWS, STEP


@kernel
def is_wrong_row(indices, first, end, features):
    """Return whether the columns of a row's stored numbers do not rise, or are not in 0..features-1."""
    if first == end:
        return False
    falls = 0
    for s in range(first + 1, end):  # a loop that does not end early looks at many numbers side by side
        falls += indices[s - 1] >= indices[s]
    return falls > 0 or indices[first] < 0 or indices[end - 1] >= features


@kernel
def place_rows(frame, samples, start, labels, ignored, ignores, rows):
    """Write which rows a step's batch is. `ignores`: one whose label is `ignored` has nothing stored then.

    A NaN in such a row would be 0 * NaN in the weights' gradients.

    return : -1, or the first row that is not as `run.stored` says; the memory is the caller's, and may have changed
    """
    stored = pointer_to(frame, frame[STORED])
    if samples.ordered == 0 and not ignores:
        stored[ROWS], stored[STEP] = stored[INDPTR], 1
        return -1
    indptr, indices, features = pointer_to(frame, stored[INDPTR]), int32s_at(stored[INDICES]), row_at(frame, 0)[IN]
    pairs = pointer_to(frame, frame[WORK] + pointer_to(frame, frame[LAYOUT])[X])
    for i in range(rows):
        r = samples.order[start + i] if samples.ordered > 0 else i
        pairs[2 * i], pairs[2 * i + 1] = indptr[r], indptr[r + 1]
        if is_wrong_row(indices, indptr[r], indptr[r + 1], features):
            return r
        if ignores and labels[i] == ignored:
            pairs[2 * i + 1] = indptr[r]
    stored[ROWS], stored[STEP] = address_of(pairs), 2
    return -1


@entry
def first_wrong_row(stored: Ints, rows: Int, features: Int, count: Int) -> Int:
    """Return the first row that is not as `run.stored` says, -1 for none.

    stored : the table of `rows` rows of `features` columns; `count` numbers are stored
    """
    stored = at(stored, 0)
    indptr, indices = pointer_to(stored, stored[INDPTR]), int32s_at(stored[INDICES])
    for i in range(rows):
        first, end = indptr[i], indptr[i + 1]
        if not 0 <= first <= end <= count or is_wrong_row(indices, first, end, features):
            return i
    return -1


@entry
def predict_sparse(plan: Ints2, params: Reals, work: Reals, stored: Ints, first: Int, out: Reals2, tasks: Int) -> None:
    """Run the network on stored rows from the first on, into out, (batch, out_features). Keeps nothing.

    plan, work : as `predict` takes them, of a plan for a sparse batch
    stored : the table of the rows, this call's own
    """
    stored = at(stored, 0)
    stored[ROWS], stored[STEP] = stored[INDPTR] + 8 * first, 1
    network = Network(at(plan, 0), plan.shape[0], at(params, 0), at(work, 0), address_of(stored))
    predict_rows(network, at(params, 0), out.shape[0], at(out, 0), tasks)
