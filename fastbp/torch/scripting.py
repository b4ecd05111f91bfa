"""`torch.jit.script` compiles the source of a module, which here is Python that calls kernels: it is refused."""

from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["refused"]


def refused(instead: str) -> Callable[[Any], NoReturn]:
    """Return the method that `torch.jit.script` calls of each module before it compiles anything."""

    def refuse(module: Any) -> NoReturn:
        raise RuntimeError(
            f"torch.jit.script cannot compile a {type(module).__name__} of fastbp.torch; {instead}, or take "
            "torch.compile or torch.jit.trace, where PyTorch's own functions compute"
        )

    return refuse
