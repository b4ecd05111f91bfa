"""How work is cut: everything once, and no task for work that does not repay it."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.kernels.compile.pointers import at
from fastbp.kernels.linalg import tasks
from fastbp.kernels.linalg.tasks import block_of
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.microkernel import TILE_ROWS

worth, grid, share = tasks.worth.py_func, tasks.grid.py_func, tasks.share.py_func

counts = st.integers(1, 64)
works = st.integers(0, 10**12)
lengths = st.integers(0, 5000)


@given(works, counts)
def test_work_is_worth_one_task_or_more_but_none_that_it_does_not_repay(work, most):
    found = worth(work, most)
    assert 1 <= found <= most
    assert found == 1 or found * tasks.TASK_WORK <= work
    assert found == most or (found + 1) * tasks.TASK_WORK > work


@given(works, works, counts, counts)
def test_more_work_or_more_tasks_are_worth_no_fewer(work, more, tasks_, others):
    assert worth(work + more, tasks_) >= worth(work, tasks_)
    assert worth(work, tasks_ + others) >= worth(work, tasks_)


@given(lengths, st.integers(1, 64), counts)
def test_shares_cover_everything_once_at_whole_units(count, unit, parts):
    starts = [share(count, unit, parts, part) for part in range(parts + 1)]
    assert starts[0] == 0
    assert starts[-1] == count
    sizes = np.diff(starts)
    assert (sizes >= 0).all()
    assert all(start % unit == 0 or start == count for start in starts)
    units = -(-sizes // unit)
    assert units.max() - units.min() <= 1


@given(lengths, st.integers(1, 5000), st.sampled_from([2, 4, 8, 16]), counts, st.booleans())
def test_a_grid_has_a_place_for_each_task(rows, cols, width, tasks_, lengthwise):
    across = grid(rows, cols, width, tasks_, lengthwise)
    assert 1 <= across <= tasks_
    assert tasks_ % across == 0


@pytest.mark.parametrize("lengthwise", [False, True])
@pytest.mark.parametrize("tasks_", [2, 4, 8])
def test_a_grid_cuts_where_there_is_something_to_cut(tasks_, lengthwise):
    assert grid(10**4, 1, 8, tasks_, lengthwise) == 1
    assert grid(1, 10**4, 8, tasks_, lengthwise) == tasks_


def test_what_is_updated_is_cut_between_rows():
    assert grid(784, 128, 16, 2, True) == 1
    assert grid(784, 128, 16, 2, False) == 2


@numba.njit
def visit(visits, like, rows, cols, tasks_, lengthwise):
    outside = 0
    for task in range(tasks_):
        i0, i1, j0, j1 = block_of(rows, cols, at(like, 0), tasks_, task, lengthwise)
        outside += i0 > i1 or j0 > j1 or i0 < 0 or j0 < 0 or i1 > rows or j1 > cols
        for i in range(i0, i1):
            for j in range(j0, j1):
                visits[i, j] += 1
    return outside


@pytest.mark.parametrize("lengthwise", [False, True])
def test_the_blocks_of_a_product_cover_it_once(dtype, lengthwise):
    width = isa().lanes(np.dtype(dtype).itemsize)
    sizes = [0, 1, 2, TILE_ROWS, TILE_ROWS + 1, width, width + 1, 37, 100, 257]
    for rows in sizes:
        for cols in sizes:
            for tasks_ in (1, 2, 3, 4, 6, 7, 16, 40):
                visits = np.zeros((rows, cols), np.int64)
                assert visit(visits, np.zeros(1, dtype), rows, cols, tasks_, lengthwise) == 0
                assert (visits == 1).all(), (rows, cols, tasks_)
