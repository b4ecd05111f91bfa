"""Operands of products: a matrix where it stands in memory, and what is done with a finished one."""

from ..compile.functions import kernel
from ..compile.passes import run_pass
from ..compile.pointers import at, doubles_at
from ..compile.records import DOUBLES, INT, POINTER, method, record

# A matrix of `rows` by `cols`: element (i, j) stands at data[i * ld + j], or at data[j * ld + i] where it is `turned`.
Matrix = record("Matrix", data=POINTER, ld=INT, rows=INT, cols=INT, turned=INT)


@method(Matrix)
def element(m, i, j):
    """Return the address of element (i, j)."""
    return at(m.data, j * m.ld + i if m.turned else i * m.ld + j)


@method(Matrix)
def part(m, i0, i1, j0, j1):
    """Return the block of rows i0 to before i1 and columns j0 to before j1."""
    return Matrix(m.element(i0, j0), m.ld, i1 - i0, j1 - j0, m.turned)


@method(Matrix)
def rows_of(m, i0, i1):
    """Return the rows i0 to before i1."""
    return Matrix(m.element(i0, 0), m.ld, i1 - i0, m.cols, m.turned)


@method(Matrix)
def cols_of(m, j0, j1):
    """Return the columns j0 to before j1."""
    return Matrix(m.element(0, j0), m.ld, m.rows, j1 - j0, m.turned)


@method(Matrix)
def transposed(m):
    """Return the transpose: the same elements, where they stand."""
    return Matrix(m.data, m.ld, m.cols, m.rows, 1 - m.turned)


# What becomes of a product C where its chains end. `mode` is a sum of the flags of `simd.microkernel`: what a tile does
# in its registers, and what it may take for granted. `after` is the address of a pass over a finished block in memory
# (see `compile.passes`), 0 for none. `below` and `beside` are laid out as C: what the flags and the pass read or write
# beside it, such as activations and slopes, or parameters and the optimizer's state. `numbers` and `n` are the pass's.
Finish = record("Finish", mode=INT, bias=POINTER, after=INT, below=POINTER, beside=POINTER, numbers=DOUBLES, n=INT)


@method(Finish)
def moved(f, c, j):
    """Return what finishes the part of C that begins `c` elements on, in column `j`."""
    return Finish(f.mode, at(f.bias, j), f.after, at(f.below, c), at(f.beside, c), f.numbers, f.n)


@method(Finish)
def run(f, c):
    """Run the pass over a finished block of C in memory, where there is one; `f` is that of its first element."""
    if f.after != 0:
        run_pass(f.after, c.data, f.below, f.beside, f.numbers, f.n, c.ld, c.rows, c.cols)


@kernel
def through(address, c, below, beside):
    """Run a pass that needs no numbers, an activation or its slope, over a block; none where the address is 0."""
    if address != 0:
        run_pass(address, c.data, below, beside, doubles_at(0), 0, c.ld, c.rows, c.cols)
