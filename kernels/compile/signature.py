"""What an entry takes, as its annotations say: for the doors through which Python calls prebuilt code.

Numba reads no annotations, and compiles an entry for the arguments that come.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_type_hints


class Operand(NamedTuple):
    """A type of arguments or results.

    letter : what the door's C code calls it
    elements : "int64", "float64", or "real" for the element type of the call
    dimensions : of a C-contiguous array, at most two; 0 for a number
    """

    letter: str
    elements: str
    dimensions: int


Int = Annotated[Any, Operand("n", "int64", 0)]
Float = Annotated[Any, Operand("x", "float64", 0)]
Ints = Annotated[Any, Operand("i", "int64", 1)]
Ints2 = Annotated[Any, Operand("I", "int64", 2)]
Reals = Annotated[Any, Operand("r", "real", 1)]
Reals2 = Annotated[Any, Operand("R", "real", 2)]
Doubles = Annotated[Any, Operand("d", "float64", 1)]
Doubles2 = Annotated[Any, Operand("D", "float64", 2)]


def operands_of(function: Callable[..., Any]) -> tuple[list[Operand], Operand | None]:
    """Return the operands that an entry takes, in order, and its result, None for none."""
    hints = {
        name: hint.__metadata__[0]
        for name, hint in get_type_hints(function, include_extras=True).items()
        if hasattr(hint, "__metadata__")
    }
    parameters = inspect.signature(function).parameters
    missing = [name for name in parameters if name not in hints]
    if missing:
        raise TypeError(f"entry {function.__name__} expects an annotation of {missing}, see compile/signature.py")
    return [hints[name] for name in parameters], hints.get("return")
