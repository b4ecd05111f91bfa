"""A parallel region with threads of its own, for where Numba has none but those of `workqueue`.

`workqueue` ends the process when two threads are in it at once, or one a second time: two calls of this library, or one
of them and a ``prange`` of the user's. Nothing tells that somebody is in it. So it is never entered: a region makes its
threads and waits for their end. That takes less time than `workqueue` does, and shares nothing with anybody.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .._numba import cgutils
from ..simd.lanes import I32, I64, count_loop, make_intrinsic

BYTES = ir.IntType(8).as_pointer()
TASK = ir.FunctionType(ir.VoidType(), [I64, I64])
_WORKER = ir.FunctionType(BYTES, [BYTES])
# What the threads share: the task, its arguments, how many pieces there are, and the next one to be done.
_JOB = ir.LiteralStructType([I64, I64, I64, I64])


def integers(*_: Any) -> Any:
    """Return the types of a region: a task's address, its arguments' address, the pieces, the threads."""
    return types.void(types.int64, types.int64, types.int64, types.int64)


def _worker(module: ir.Module) -> ir.Function:
    """Return what each thread runs: the next piece, until there is none."""
    worker = cgutils.get_or_insert_function(module, _WORKER, "fastbp.worker")
    if not worker.blocks:
        worker.linkage = "internal"
        begin, check, work, end = (worker.append_basic_block(name) for name in ("begin", "check", "work", "end"))
        builder = ir.IRBuilder(begin)
        job = builder.bitcast(worker.args[0], _JOB.as_pointer())
        task, arguments, pieces = (builder.load(cgutils.gep_inbounds(builder, job, 0, i)) for i in range(3))
        task = builder.inttoptr(task, TASK.as_pointer())
        builder.branch(check)
        builder.position_at_end(check)
        piece = builder.atomic_rmw("add", cgutils.gep_inbounds(builder, job, 0, 3), I64(1), "monotonic")
        builder.cbranch(builder.icmp_signed("<", piece, pieces), work, end)
        builder.position_at_end(work)
        builder.call(task, [arguments, piece])
        builder.branch(check)
        builder.position_at_end(end)
        builder.ret(BYTES(None))
    return worker


def _spread(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    task, arguments, pieces, threads = args
    module, worker = builder.module, _worker(builder.module)
    create = ir.FunctionType(I32, [I64.as_pointer(), BYTES, _WORKER.as_pointer(), BYTES])
    create = cgutils.get_or_insert_function(module, create, "pthread_create")
    join = cgutils.get_or_insert_function(module, ir.FunctionType(I32, [I64, BYTES]), "pthread_join")

    job = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, [task, arguments, pieces, I64(0)]))
    job = builder.bitcast(job, BYTES)
    handles = builder.alloca(I64, threads)
    started = cgutils.alloca_once_value(builder, I64(0))
    with count_loop(builder, I64(1), threads, 1):
        number = builder.load(started)
        failed = builder.call(create, [builder.gep(handles, [number]), BYTES(None), worker, job])
        # Where the system gives no thread, the others do its pieces.
        builder.store(builder.add(number, builder.zext(builder.icmp_signed("==", failed, I32(0)), I64)), started)
    builder.call(worker, [job])
    with count_loop(builder, I64(0), builder.load(started), 1) as number:
        builder.call(join, [builder.load(builder.gep(handles, [number])), BYTES(None)])
    return context.get_dummy_value()


spread = make_intrinsic("spread", ["task", "arguments", "pieces", "threads"], integers, _spread)
