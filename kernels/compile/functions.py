"""`kernel`, `entry` and `outlined`: Numba as this library uses it, with a cache that sees every change of the kernels.

A `kernel` becomes part of what calls it. An `entry` is called from Python and is cached on disk. An `outlined`
function is compiled once for an element type, cached, and called by its address.

Numba keys its cache by a function's own bytecode. A kernel is built from many functions in many files, so here the
stamp of a cached entry is a digest of all of them: change any file of this folder and everything is compiled anew.
For a user's function there is a digest of its own beside it, see `outside`.
`cache_folder` says where it is kept.
A cache that cannot be read or written costs time, never a result: it is named in one warning and left alone.
"""

import functools
import hashlib
import inspect
import pickle
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy.ma  # noqa: F401  # NumPy imports it when Numba first looks at an array, and no fork would wait for that
from numba import types

from .._numba import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, NullCache, rtsys
from ..code import jit
from . import progress
from .control import give_control_back, take_control
from .expected import take_expected
from .folder import SOURCE_DIGEST, KernelFolder
from .forks import imports
from .inlined import ClosedCompiler, KernelCompiler
from .outside import digest_of, is_outside
from .parts import parts_of
from .pool import start_threads
from .space import COMPILING, LOADING, require_room
from .stack import on_full_stack

_warned = False


def _warn(problem: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"fastbp compiles without its cache, which only costs time: {problem!r}. "
            "NUMBA_CACHE_DIR names another folder.",
            RuntimeWarning,
            stacklevel=3,
        )


class CheckedFile(IndexDataCacheFile):
    """Numba's files, whose data say whose they are and have a checksum: they are run as machine code.

    Where processes fill a cold cache at once, one's index may name the data of another, for other types; and while
    one replaces the files of older sources, its index names the old data.
    """

    def save(self, key: Any, data: Any) -> None:
        data = self._dump(data)
        super().save(key, (self._source_stamp, key, hashlib.sha256(data).digest(), data))

    def load(self, key: Any) -> Any:
        found = super().load(key)
        if found is None or found[:2] != (self._source_stamp, key):
            return None
        digest, data = found[2:]
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(f"a damaged file beside {self._index_path}")
        return pickle.loads(data)


class InKernelFolder(CompileResultCacheImpl):
    """Numba's way to write a compiled function down, in our folder."""

    _locator_classes = [KernelFolder]  # noqa: RUF012  # Numba declares it of instances


class KernelCache(FunctionCache):
    """Numba's function cache, stamped with the digest of all kernel sources, and never fatal.

    stamp : of what the function is made of beside them
    """

    _impl_class = InKernelFolder

    def __init__(self, py_func: Callable[..., Any], stamp: str) -> None:
        super().__init__(py_func)
        self._function = py_func
        self._cache_file = CheckedFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=SOURCE_DIGEST + stamp,
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        require_room(LOADING)
        start_threads()
        for part in parts_of(self._function):  # machine code from the cache calls them by name
            part.define(getattr(sig, "args", sig))
        loaded = self._load(sig, target_context)
        if loaded is None and _compile_expected(self._function):
            loaded = self._load(sig, target_context)
        if loaded is None:
            require_room(COMPILING)
            progress.begin()
        return loaded

    def _load(self, sig: Any, target_context: Any) -> Any:
        try:
            # Numba's own way in loads all that it can compile first, a third of a second. Machine code needs its
            # run-time system alone.
            rtsys.initialize(target_context)
            with self._guard_against_spurious_io_errors():
                return self._load_overload(sig, target_context)
        except Exception as problem:  # a damaged file can raise anything while it is unpickled
            _warn(problem)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as problem:
            _warn(problem)
        progress.advance()

    def has(self, sig: Any, target_context: Any) -> bool:
        """Return whether the cache names machine code for these types."""
        try:
            return self._index_key(sig, target_context.codegen()) in self._cache_file._load_index()
        except Exception:  # a damaged file
            return False


class NoCache(NullCache):
    """For where no folder can be named, or a change of the function could not be seen."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        require_room(COMPILING)
        start_threads()
        progress.begin()

    def save_overload(self, sig: Any, data: Any) -> None:
        progress.advance()

    def has(self, sig: Any, target_context: Any) -> bool:
        """Return that it has nothing."""
        return False


def _compile_expected(function: Callable[..., Any]) -> bool:
    """Compile all that this thread is about to need, where `function`, which is not in the cache, is among that.

    Who has the compiler's lock may not wait for `imports`, see `forks`: where another thread has it, nothing is done.
    """
    if not imports.acquire(blocking=False):
        return False
    try:
        needed = take_expected()
        return needed is not None and bool(jit("compile.jobs").compile_all(needed, function))
    finally:
        imports.release()


_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any] | None = None, *, parallel: bool = False) -> Any:
    """Compile `function` into whatever calls it: no GIL, no fast-math, NumPy's division. Python cannot call it."""
    if function is None:
        return lambda f: kernel(f, parallel=parallel)
    # The one parallel kernel is compiled as Numba does: its loop's body is called by its address.
    compiler = {} if parallel else {"pipeline_class": KernelCompiler}
    dispatcher = numba.njit(parallel=parallel, no_cpython_wrapper=True, **compiler, **_OPTIONS)(function)  # type: ignore[call-overload]
    template = dispatcher.get_call_template

    def without_literals(args: Sequence[Any], kws: dict[str, Any]) -> Any:
        """Numba compiles a function once more where an argument is a literal; LLVM copies it to where that is known."""
        return template([types.unliteral(a) for a in args], {k: types.unliteral(a) for k, a in kws.items()})

    dispatcher.get_call_template = without_literals
    return dispatcher


# Numba calls a function of named parameters sooner than one of ``*args``, so each entry gets a source of its own.
_ENTRY = """
def {name}({parameters}):
    word = take_control()
    result = body({parameters})
    give_control_back(word)
    return result
"""


def entry(function: Callable[..., Any]) -> Any:
    """Compile a kernel that Python calls, on its first call; cached on disk. It computes with the default control word.

    Its parameters are annotated with their types, see `signature`: a door to prebuilt code is made from them.
    """
    source = _ENTRY.format(name=function.__name__, parameters=", ".join(inspect.signature(function).parameters))
    scope = {"body": kernel(function), "take_control": take_control, "give_control_back": give_control_back}
    exec(source, scope)
    dispatcher = numba.njit(pipeline_class=ClosedCompiler, **_OPTIONS)(
        functools.wraps(function)(scope[function.__name__])
    )
    dispatcher._cache = cache_of(function)
    compile_here, add_overload = dispatcher.compile, dispatcher.add_overload
    dispatcher.compile = lambda sig: on_full_stack(lambda: compile_here(sig))

    def add_once(result: Any) -> None:
        """Add machine code for types that there is none for yet.

        While this function is loaded, one that it calls may be missing, and all that is expected is compiled, this one
        among it. Of two for the same types Numba would ask Python at each call which is meant, for 50 microseconds.
        """
        if tuple(result.signature.args) not in dispatcher.overloads:
            add_overload(result)

    dispatcher.add_overload = add_once
    return dispatcher


def cache_of(function: Callable[..., Any]) -> Any:
    """Return where the machine code of a function is kept."""
    stamp = digest_of(function) if is_outside(function) else ""
    if stamp is None:
        return NoCache()
    try:
        return KernelCache(function, stamp)
    except Exception as problem:  # no folder can be named
        _warn(problem)
        return NoCache()


@functools.cache
def element_type_of(dtype: Any) -> Any:
    """Return Numba's type of the elements of an array of this NumPy dtype."""
    return numba.from_dtype(dtype)
