"""Every private name of Numba and llvmlite that this project uses. They may change with any minor version.

All were tried with Numba 0.62 to 0.68 (llvmlite 0.45 to 0.50), the bounds in ``pyproject.toml``. To allow another minor
version, run the tests with it, mend here what differs, and move the bound. Public names (``numba.types``,
``numba.extending.intrinsic``, ``llvmlite.ir``, ``llvmlite.binding``) are imported where they are used.
`compile.forks`, which has to be there before Numba, looks for the compiler's lock in ``numba.core.compiler_lock``.
"""

from typing import Any

from numba._dynfunc import make_function
from numba.core import cgutils, config, event
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, NullCache
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary, get_host_cpu_features
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError
from numba.core.runtime import rtsys
from numba.np.ufunc import parallel

if config.DISABLE_JIT:
    raise ImportError(
        "fastbp is compiled by Numba, and NUMBA_DISABLE_JIT switches that off: unset it, or set it to 0, before fastbp "
        "is imported"
    )

__all__ = [
    "CFunc",
    "CompileResultCacheImpl",
    "Compiler",
    "FunctionCache",
    "IndexDataCacheFile",
    "JITCodeLibrary",
    "NullCache",
    "NumbaError",
    "cgutils",
    "config",
    "event",
    "get_host_cpu_features",
    "global_compiler_lock",
    "make_array",
    "make_function",
    "openmp_pool",
    "parallel",
    "populate_array",
    "rtsys",
]


def make_array(array_type: Any) -> Any:
    """Return Numba's helper that reads an array's members in LLVM code."""
    from numba.np import arrayobj  # takes long to import, and code from the cache does not need it

    return arrayobj.make_array(array_type)


def populate_array(*args: Any, **named: Any) -> None:
    """Write the members of an array in LLVM code."""
    from numba.np import arrayobj

    arrayobj.populate_array(*args, **named)


def openmp_pool() -> Any:
    """Return the extension module of Numba's OpenMP threads; ImportError where there is no OpenMP."""
    from numba.np.ufunc import omppool

    return omppool
