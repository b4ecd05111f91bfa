"""Functions made from a source text.

Numba keeps a compiled function by its file and name, and tells functions of one name apart by what they close over,
which differs in each process where that is another kernel. So what is made of a formula gets a text and a name of its
own.
"""

from collections.abc import Callable, Mapping
from typing import Any


def function_of(source: str, name: str, origin: Callable[..., Any], scope: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the function `name` that a source text defines.

    origin : the function in whose file the formula is that it is made of; it belongs to that file and module, and
        where Numba reads the text of what it keeps, it finds this one's
    scope : what the text names
    """
    space = {"__name__": origin.__module__, **scope}
    exec(compile(source, origin.__code__.co_filename, "exec"), space)
    made: Any = space[name]
    made.__code__ = made.__code__.replace(co_firstlineno=origin.__code__.co_firstlineno)
    return made  # type: ignore[no-any-return]
