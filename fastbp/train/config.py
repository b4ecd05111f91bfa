"""What this installation runs on, and compiling ahead."""

import platform

import numpy as np

from fastbp._base.threads import available_threads, get_num_threads
from fastbp.kernels import entries, workers
from fastbp.kernels.compile.forks import imports
from fastbp.kernels.compile.prebuilt import prebuilt
from fastbp.kernels.losses import MSE, SOFTMAX_LABELS
from fastbp.kernels.simd.isa import cpu_name, isa
from fastbp.nn.mlp import mlp
from fastbp.train.needs import STEP, VALIDATED, needs_of
from fastbp.train.trainer import Trainer

__all__ = ["config", "show_config", "warmup"]


def config() -> dict[str, str]:
    """Return what decides speed and bits: which kernels, CPU, instruction set, tile, threads, cache, versions.

    ``kernels`` is ``native`` and a level of the CPU where the machine code came with the package, and ``jit`` with the
    reason where Numba compiles it.

    Examples
    --------
    >>> import fastbp
    >>> sorted(fastbp.config())[:3]
    ['CPU', 'Python', 'cache folder']
    """
    instructions, found = isa(), prebuilt()
    rows, vectors = instructions.tile
    lanes = instructions.lanes(4)
    return {
        "kernels": f"native, {found.level}" if found.level else f"jit: {found.why_not}",
        "CPU": cpu_name(),
        "instruction set": f"{instructions.name}, {8 * instructions.vector_bytes}-bit vectors"
        + (", FMA" if instructions.fma else ", no FMA"),
        "tile (float32)": f"{rows} x {vectors * lanes}",
        "threads": f"{get_num_threads()} of {available_threads()} available",
        "threading layer": workers.threading_layer(),
        "cache folder": _cache_folder(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in ("fastbp", "numba", "llvmlite", "numpy")),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    }


def _cache_folder() -> str:
    if prebuilt().level:
        return "none: nothing is compiled"
    return entries.train_steps._cache.cache_path or "none: compiled anew in each process"


def _version(name: str) -> str:
    with imports:
        from importlib import metadata  # takes longer to import than much else here
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def show_config() -> None:
    """Print `config`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.show_config()  # doctest: +ELLIPSIS
    kernels ...
    """
    table = config()
    width = max(map(len, table))
    for name, value in table.items():
        print(f"{name:{width}}  {value}")


def warmup(dtypes: tuple[str, ...] = ("float32",)) -> None:
    """Compile what training and prediction need, so that the first call is quick; the disk cache keeps it.

    Where the kernels came compiled with the package (`config` says ``native``), nothing is left to do.

    Parameters
    ----------
    dtypes : tuple of str, default ("float32",)
        Of the models to come.

    Notes
    -----
    The cache is in the user's cache folder, or in ``NUMBA_CACHE_DIR``; `config` shows it. It serves the kind of CPU on
    which it was filled. To fill one for all users, in an image for instance, set ``NUMBA_CACHE_DIR`` here and where
    they run: they need to read it, not to write.

    What only some programs need is compiled at its first call, and kept as well: sparse matrices, layers other than
    `Dense`, losses, activations and optimizers other than the usual ones. To have it ahead, make one such step.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.warmup()
    """
    for dtype in dtypes:
        model = mlp([2, 2], output_activation="tanh", dtype=dtype, rng=0)
        x, y = np.zeros((2, 2), dtype), np.zeros(2, np.int64)
        trainer, other = Trainer(model), Trainer(mlp([2, 2], dtype=dtype, rng=0), "mse")
        if not prebuilt().level:
            by_hand = ("layer_forward", "layer_backward", "layer_slope")
            one, two = needs_of(trainer, SOFTMAX_LABELS, (*VALIDATED, *STEP, *by_hand)), needs_of(other, MSE, STEP)
            entries.compile_all(one._replace(codes=[*one.codes, *two.codes], entries={*one.entries, *two.entries}))
        for _ in range(2):  # the second step takes the short way, another compiled entry
            trainer.step(x, y)
            other.step(x, x)
        trainer.evaluate(x, y)
        model.backward(model.forward(x))
