"""The compiled kernels. See README.md in this folder for what each computes and who calls it."""

from .compile.forks import imports as _imports

with _imports:  # before anything else is imported: forks wait from here on
    from ._numba import config as _config

if _config.DISABLE_JIT:
    raise ImportError(
        "fastbp is compiled by Numba, and NUMBA_DISABLE_JIT switches that off: unset it, or set it to 0, before fastbp "
        "is imported"
    )
