"""What the CPU can do at most: fused multiply-adds from registers alone, and a copy through memory.

Other code is measured against these two, so they do nothing else. `benchmarks/` and `fastbp bench` call them.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .compile.functions import entry
from .compile.pointers import at
from .compile.region import shared
from .compile.signature import Float, Int, Reals, Reals2
from .linalg.tasks import share
from .simd.isa import isa
from .simd.lanes import I64, Lanes, Variable, Vec, count_loop, lanewise, make_intrinsic

# Independent chains, a register each: as many as the micro-kernel's tile has. Two FMA units of four cycles each need
# eight. One more register has the factor, one the addend.
CHAINS = isa().accumulators


def _chains_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    a, factor, addend, repeats = args
    lanes = Lanes(b, signature.args[0].dtype)
    factor, addend = lanes.splat(factor), lanes.splat(addend)
    places = [b.gep(a, [I64(i * lanes.width)]) for i in range(CHAINS)]
    chains = [Variable(lanes, lanes.load(place)) for place in places]
    with count_loop(b, I64(0), repeats, 1):
        for chain in chains:
            chain.set(lanes.fma(factor, chain.get(), addend))
    for chain, place in zip(chains, places, strict=True):
        lanes.store(chain.get(), place)
    return context.get_dummy_value()


# chains(a, factor, addend, repeats): a = factor * a + addend, again and again, on CHAINS vectors held in registers
chains = make_intrinsic(
    "chains",
    ["a", "factor", "addend", "repeats"],
    lambda p, *rest: types.void(p, p.dtype, p.dtype, types.int64),
    _chains_codegen,
)


def _same(v: Lanes, x: Vec) -> Vec:
    return x


move = lanewise(_same, reads=1, writes=1)


def _peak_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, dtype, dtype, i, i, i)


@shared(_peak_types)
def peak_part(a, size, factor, addend, repeats, tasks, task):
    """One task's row of `fma_peak`."""
    chains(at(a, task * size), factor, addend, repeats)


@entry
def fma_peak(a: Reals2, factor: Float, addend: Float, repeats: Int, tasks: Int) -> None:
    """a = factor * a + addend, `repeats` times.

    a : (tasks, CHAINS * lanes), read and written

    One task owns one row. It is ``2 * a.size * repeats`` floating-point operations.
    """
    peak_part(at(a, 0), a.shape[1], factor, addend, repeats, tasks, tasks)


def _copy_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, p, i, i, i)


# LLVM sees pointers that may overlap here, and so does not call memcpy.
@shared(_copy_types)
def copy_part(source, target, n, tasks, task):
    """One task's range of `copy`."""
    start, stop = share(n, 1, tasks, task), share(n, 1, tasks, task + 1)
    move(at(source, start), at(target, start), stop - start)


@entry
def copy(source: Reals, target: Reals, tasks: Int) -> None:
    """target = source.

    source, target : (n,), read; written

    One task owns a range of elements. Reads and writes whole vectors, as every other kernel does.
    """
    copy_part(at(source, 0), at(target, 0), source.size, tasks, tasks)
