"""`shared`: outlined functions whose work many threads share, in the one parallel region of the library.

Where the package has its extension, the region is that of the extension's threads. Else it is Numba's, which takes more
than a second to compile a ``prange``, whatever is in it. So there is a single one. All it knows of its tasks is the
address of a function and the address of the arguments, and it serves every kernel.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import prange, types

from .._numba import cgutils
from ..simd.lanes import I32, I64, count_loop, make_intrinsic
from .control import give_back, take
from .functions import kernel
from .outlined import Outlined, element_type
from .parts import Part, behind
from .pool import threading_layer
from .prebuilt import prebuilt
from .threads import TASK, integers, spread

_C_GETTER, _C_SETTER = ir.FunctionType(I64, []), ir.FunctionType(ir.VoidType(), [I32])


def _invoke(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    task, arguments, piece = args
    builder.call(builder.inttoptr(task, TASK.as_pointer()), [arguments, piece])
    return context.get_dummy_value()


invoke = make_intrinsic(
    "invoke", ["task", "arguments", "piece"], lambda *_: types.void(types.int64, types.int64, types.int64), _invoke
)


def _use(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    before = builder.call(cgutils.get_or_insert_function(builder.module, _C_GETTER, "get_num_threads"), [])
    use = cgutils.get_or_insert_function(builder.module, _C_SETTER, "set_num_threads")
    builder.call(use, [builder.trunc(args[0], I32)])
    return before


# use(threads): Numba's parallel regions in the calling thread have so many threads; returns how many they had.
use = make_intrinsic("use", ["threads"], lambda threads: types.int64(types.int64), _use)


@kernel(parallel=True)
def _region(task, arguments, pieces):
    for piece in prange(pieces):
        invoke(task, arguments, piece)


def region(task, arguments, pieces, threads):
    """Call the function at `task` with the address of its arguments and every piece, on so many of Numba's threads.

    The user's own parallel loops have as many threads after it as before.
    """
    users = use(threads)
    _region(task, arguments, pieces)
    use(users)


def region_of_own_threads(task, arguments, pieces, threads):
    """Do the same on threads that are made for it."""
    spread(task, arguments, pieces, min(pieces, threads))


class Region(Outlined):
    """The region of this process's threading layer, under one name: machine code from the cache serves all layers."""

    def symbol(self, dtype: types.Float) -> str:
        return f"fastbp.region.{dtype}"

    def compile(self, dtype: types.Float) -> None:
        extension = prebuilt().extension
        if extension is not None:
            binding.add_symbol(self.symbol(dtype), extension.region)
            return
        self._choose()
        super().compile(dtype)

    def is_there(self, dtype: types.Float) -> bool:
        if prebuilt().extension is not None:
            return True
        self._choose()
        return super().is_there(dtype)

    def _choose(self) -> None:
        self.function = region_of_own_threads if threading_layer() == "workqueue" else region


_REGION = Region(region, integers)


class Shared(Outlined):
    """An outlined function whose last parameters are `pieces` and `piece`: it computes one piece of so many.

    A kernel calls it with `pieces` and `threads` in their place, and all pieces are computed: in a parallel region, or
    one after another where either is 1. All regions of a call have as many threads, whatever the pieces: OpenMP ends
    the threads that a smaller region has no use for, and makes them again for the next one.
    """

    def parts(self) -> list[Part]:
        """Return what `Outlined.parts` does, and the region."""
        return [*super().parts(), _REGION]

    def call(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        dtype = element_type(signature.args)
        function = self.declare(context, builder.module, dtype)
        run = _REGION.declare(context, builder.module, dtype)
        *shared, pieces, threads = args
        shared.append(pieces)
        several = builder.and_(builder.icmp_signed(">", pieces, I64(1)), builder.icmp_signed(">", threads, I64(1)))
        with builder.if_else(several) as (parallel, serial):
            with parallel:
                arguments = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, shared))
                task = self._task(builder.module, function, arguments.type)
                builder.call(run, [builder.ptrtoint(task, I64), builder.ptrtoint(arguments, I64), pieces, threads])
            with serial, count_loop(builder, I64(0), pieces, 1) as piece:
                builder.call(function, [*shared, piece])
        return context.get_dummy_value()

    @staticmethod
    def _task(module: ir.Module, function: ir.Function, arguments: ir.Type) -> ir.Function:
        """Return what the region calls: it reads the arguments and calls the function."""
        task = cgutils.get_or_insert_function(module, TASK, f"{function.name}.task")
        if not task.blocks:
            task.linkage = "internal"
            builder = ir.IRBuilder(task.append_basic_block())
            place, piece = task.args
            values = cgutils.unpack_tuple(builder, builder.load(builder.inttoptr(place, arguments)))
            word = take(builder)
            builder.call(function, [*values, piece])
            give_back(builder, word)
            builder.ret_void()
        return task


def shared(signature: Callable[[types.Float], Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make a function a shared one; ``signature(dtype)`` gives its types for an element type."""
    return lambda function: Shared(function, signature).intrinsic()


def one_piece(all_pieces: Any) -> Any:
    """Return the shared function as it is written, for a task that computes a piece of several of them."""
    part = behind(all_pieces)
    return part.intrinsic(functools.partial(Outlined.call, part))
