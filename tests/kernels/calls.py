"""Kernels that other kernels call, by an address or with records, as tests call them: with arrays."""

import numpy as np

from fastbp.kernels.activations import BY_CODE
from fastbp.kernels.activations import functions as activations
from fastbp.kernels.compile.functions import entry
from fastbp.kernels.compile.passes import run_pass
from fastbp.kernels.compile.pointers import at
from fastbp.kernels.linalg.matrix import Finish, Matrix
from fastbp.kernels.linalg.product import product
from fastbp.kernels.run.plan import Layer

NO_NUMBERS = np.zeros(0)


def layers_of(rows):
    """Return layers as the planner sees them, of rows (in_features, out_features, activation code, bias)."""
    return [Layer(ins, outs, BY_CODE[code], bias) for ins, outs, code, bias in rows]


def address_of(part, dtype):
    """Return the address of an outlined function for a NumPy type of elements."""
    return part.address(np.dtype(dtype))


@entry
def pass_over(address, c, below, beside, numbers, n, start, ld, rows, cols):
    """Call the pass at an address on a block that begins at element `start` of each array."""
    run_pass(address, at(c, start), at(below, start), at(beside, start), at(numbers, 0), n, ld, rows, cols)


def activate(code, z, a, slope, with_slope=True):
    """Write g(z) at the beginning of `a`, and beside it g'(z) where it is asked for and stored; all flat."""
    a[: z.size] = z
    activation = BY_CODE[code]
    function = activations.activate(activation, with_slope and activation.stores_slope)
    pass_over(address_of(function, z.dtype), a, a, slope, NO_NUMBERS, 0, 0, z.size, 1, z.size)


@entry
def multiply(a, lda, a_turned, b, ldb, b_turned, c, c0, ldc, rows, cols, depth, mode, bias, after, below, beside,
             numbers, n):  # fmt: skip
    """``C = A @ B``, flat arrays; C, below and beside begin at element `c0`."""
    product(
        Matrix(at(a, 0), lda, rows, depth, a_turned), Matrix(at(b, 0), ldb, depth, cols, b_turned),
        Matrix(at(c, c0), ldc, rows, cols, 0),
        Finish(mode, at(bias, 0), after, at(below, c0), at(beside, c0), at(numbers, 0), n),
    )  # fmt: skip
