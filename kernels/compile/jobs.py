"""Compiling all that a first call needs: what that is, and who does it, other processes or this one."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding
from numba import types

from .. import entries
from .._numba import global_compiler_lock
from ..code import Code
from . import progress
from .expected import Needed
from .forks import imports
from .functions import element_type_of
from .helpers import compile_elsewhere
from .outside import is_outside
from .parts import Part, parts_of, size_of
from .signature import Operand, operands_of
from .stack import on_full_stack

SEVERAL = 4  # so many jobs take longer than to start a process, which takes a second
STUB = 1 << 12  # an address that nothing is at


class Job(NamedTuple):
    """A function that has to be compiled for some types, or loaded.

    function : as Python has it
    is_there : () to whether it is loaded or in the cache
    compile : () to nothing
    real : the type of elements
    part : the outlined function that it is, None for an entry
    """

    function: Callable[..., Any]
    is_there: Callable[[], bool]
    compile: Callable[[], None]
    real: types.Float
    part: Part | None = None


def jobs_of(codes: Collection[Code], names: Collection[str], dtype: np.dtype) -> dict[str, Job]:
    """Return what codes and entries take for an element type, each after all that it calls, by names for processes.

    Users' own functions are not among it: other processes have not got them, and an error in one is for who calls it.
    """
    real = element_type_of(dtype)
    parts: dict[Part, None] = {}
    for code in codes:
        outlined = code.outlined()
        if not is_outside(outlined.function):
            parts.update(dict.fromkeys([*outlined.parts(), outlined]))
    found = [entries.compiled(name) for name in names]
    for entry in found:
        parts.update(dict.fromkeys(parts_of(entry.py_func.__wrapped__)))
    jobs = {part.symbol(real): _job_of_part(part, real) for part in parts}
    return jobs | {name: _job_of_entry(entry, real) for name, entry in zip(names, found, strict=True)}


def _job_of_part(part: Part, real: types.Float) -> Job:
    return Job(part.function, lambda: part.is_there(real), lambda: part.compile(real), real, part)


def _job_of_entry(entry: Any, real: types.Float) -> Job:
    function = entry.py_func.__wrapped__
    operands, _ = operands_of(function)
    signature = tuple(_type_of(operand, real) for operand in operands)
    return Job(
        function,
        lambda: signature in entry.overloads or entry._cache.has(signature, entry.targetctx),
        lambda: entry.compile(signature),
        real,
    )


def _type_of(operand: Operand, real: types.Float) -> Any:
    elements = real if operand.elements == "real" else getattr(types, operand.elements)
    return types.Array(elements, operand.dimensions, "C") if operand.dimensions else elements


def compile_all(needed: Needed, wanted: Callable[..., Any] | None = None) -> bool:
    """Compile what is missing of what is needed.

    wanted : a function that the caller finds missing. Where it is not among what is needed nothing is compiled, and
        itself is left to the caller, if it has to be compiled in this process.

    Returns whether anything was compiled.
    """

    def locked() -> bool:
        with imports, global_compiler_lock:  # in the order in which a fork takes them
            return _compile_all(needed, wanted)

    return bool(on_full_stack(locked))


def _compile_all(needed: Needed, wanted: Callable[..., Any] | None) -> bool:
    jobs = jobs_of(needed.codes, needed.entries, needed.dtype)

    def missing() -> dict[str, Job]:
        return {name: job for name, job in jobs.items() if not job.is_there()}

    left = missing()
    if not left or wanted not in [None, *(job.function for job in left.values())]:
        return False
    progress.begin(len(left))
    try:
        if len(left) >= SEVERAL:
            compile_elsewhere(needed, lambda: sorted(missing(), key=lambda name: -size_of(jobs[name].function)))
            left = missing()
        for job in left.values():
            if job.function is not wanted:
                job.compile()
    except BaseException:
        progress.end()
        raise
    return True


def stand_in(jobs: dict[str, Job]) -> None:
    """Let each part be taken for compiled: what calls it can be compiled then, and not run."""
    for job in jobs.values():
        if job.part is not None:
            binding.add_symbol(job.part.symbol(job.real), STUB)
            job.part.addresses[job.real] = STUB


def compile_alone(job: Job) -> None:
    """Compile a function among others that are taken for compiled."""
    if job.part is not None:
        del job.part.addresses[job.real]
    job.compile()
