"""How work is cut into tasks. The bits of a result do not depend on it: each element is computed whole, by one task."""

from ..compile.functions import kernel
from ..compile.pointers import lanes_of
from ..simd.microkernel import TILE_ROWS, TILE_VECTORS

# A parallel region costs one to three microseconds, more where other processes get in the way, and its tasks have to
# repay that: a task is worth opening one from about so many floating-point operations, ten microseconds on a core with
# AVX2.
TASK_WORK = 1_000_000
# What an element counts for where it is only moved: the time is that of the memory.
MOVED = 8
# Columns of what is updated are cut only where the longest task is shorter by so much.
LENGTHWISE = 0.8


@kernel
def worth(work, tasks):
    """Return how many of at most `tasks` tasks this many floating-point operations are worth; 1 opens no region."""
    return max(1, min(tasks, work // TASK_WORK))


@kernel
def grid(rows, cols, width, tasks, lengthwise):
    """Cut a (rows, cols) product for `tasks` tasks into a grid; return how many columns it has.

    The longest task should be short. Cutting columns is better than cutting rows at the same length, because every
    row of the grid reads B, or packs it, once more. But where the result is updated, `lengthwise`, rows are better cut:
    the halves of a row stand so close that a CPU fetches both ahead, and takes them from each other.
    """
    tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    vectors = (cols + width - 1) // width
    best, best_cost = 1, -1
    for across in range(1, tasks + 1):
        if tasks % across == 0:
            down = tasks // across
            tall, wide = (tiles + down - 1) // down, (vectors + across - 1) // across
            # A group of fewer vectors than a tile holds broadcasts each element of A for less work.
            cost = tall * wide * 8 + tall * wide * 8 // min(wide, TILE_VECTORS) + wide * (down > 1)
            if best_cost < 0 or (cost < LENGTHWISE * best_cost if lengthwise else cost <= best_cost):
                best, best_cost = across, cost
    return best


@kernel
def share(count, unit, parts, part):
    """Return where the share of `part` in `count`, cut into `parts` at multiples of `unit`, begins."""
    units = (count + unit - 1) // unit
    return min(count, units * part // parts * unit)


@kernel
def block_of(rows, cols, pointer, tasks, task, lengthwise):
    """Return the block (i0, i1, j0, j1) of a (rows, cols) matrix that `task` of `tasks` computes; see `grid`."""
    width = lanes_of(pointer)
    across = grid(rows, cols, width, tasks, lengthwise)
    down = tasks // across
    y, x = task // across, task % across
    return (
        share(rows, TILE_ROWS, down, y),
        share(rows, TILE_ROWS, down, y + 1),
        share(cols, width, across, x),
        share(cols, width, across, x + 1),
    )
