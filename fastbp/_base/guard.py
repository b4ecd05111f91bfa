"""Refusing what would be ignored: attributes that are never read, and overrides that the kernels do not call."""

import difflib
import inspect
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, get_origin

Class = TypeVar("Class", bound=type[Any])
# Sets an attribute past `Guarded.__setattr__`: for what a step sets each time, and what is fixed for users alone.
set_unguarded = object.__setattr__

# What to do in place of an override, by what is refused
_BY_HAND = "make the steps by hand with model.forward, model.backward and an update of your own"
_INSTEAD = {
    "a loss": "pass the loss as a function of outputs and targets, or one of a row under @fastbp.row_loss",
    "an optimizer": "call trainer.forward and trainer.backward, and update model.parameters() from model.gradients()",
    "layers": "pass an activation of your own by fastbp.activation, make a class of a kind of layers of your own by "
    "fastbp.nn.layers.publish, or " + _BY_HAND,
}


class Guarded:
    """Base of fastbp's own classes: an attribute that would be ignored is an AttributeError.

    A class declares its public attributes by annotations; one annotated as `Final` is set once. Private names are free,
    and so are new names in subclasses of a user's.
    """

    _declared: ClassVar[frozenset[str]] = frozenset()
    _final: ClassVar[frozenset[str]] = frozenset()
    # Names that the kernels take the place of: methods and properties of the class, and those that a user's class might
    # add to be called, as layers of PyTorch and Keras have them, such as "forward" and "call"
    _compiled: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if _is_ours(cls):
            public = {name: kind for name, kind in inspect.get_annotations(cls).items() if not name.startswith("_")}
            cls._declared |= public.keys()
            cls._final |= {name for name, kind in public.items() if kind is Final or get_origin(kind) is Final}

    if not TYPE_CHECKING:  # a type checker would allow any name to be set because of these

        def __setattr__(self, name: str, value: object) -> None:
            if not name.startswith("_"):
                _check_settable(self, name)
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if name in type(self)._declared:
                raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")
            super().__delattr__(name)


def guarded_record(cls: Class) -> Class:
    """Let a frozen dataclass that is `Guarded` refuse in its words."""
    cls._final = cls._declared
    cls.__setattr__, cls.__delattr__ = Guarded.__setattr__, Guarded.__delattr__  # type: ignore[assignment]
    return cls


def refuse_overrides(thing: Guarded, who: str, what: str, *, private: bool = True) -> None:
    """Raise TypeError if a user's subclass overrides what the kernels compute, and so would count as its base.

    A public attribute that is computed by a property would be read once, so it is refused too.

    private : whether methods with private names count
    """
    kind = type(thing)
    ours = [cls for cls in kind.__mro__ if _is_ours(cls)]
    compiled = set(kind._compiled)
    if private:
        compiled.update(name for cls in ours for name in vars(cls) if _is_private_method(cls, name))
    found = [
        name
        for cls in kind.__mro__
        if cls not in ours
        for name, value in vars(cls).items()
        if name in compiled or (name in kind._declared and hasattr(type(value), "__get__"))
    ]
    if found:
        instead = _INSTEAD.get(what, _BY_HAND)
        raise TypeError(
            f"{who} expects {what} whose numbers the kernels compute, and {kind.__name__} overrides "
            f"{', '.join(sorted(found))}, which they do not call: leave that as it is, or {instead}"
        )


def _is_ours(cls: type[Any]) -> bool:
    return cls.__module__.partition(".")[0] == "fastbp"


def _is_private_method(cls: type[Any], name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and hasattr(type(vars(cls)[name]), "__get__")


def _check_settable(thing: Guarded, name: str) -> None:
    kind = type(thing)
    if name in kind._declared:
        if name in kind._final and hasattr(thing, name):  # vars(thing) would make a slower object of it
            raise FrozenInstanceError(f"{kind.__name__}.{name} stays as it was made; make a new {kind.__name__}")
    elif hasattr(inspect.getattr_static(kind, name, None), "__set__"):
        pass  # a property, with a setter or without
    elif name in kind._compiled or (hasattr(kind, name) and _is_ours(kind)):
        raise AttributeError(f"{kind.__name__}.{name} cannot be replaced: compiled code would not call it")
    elif _is_ours(kind):
        raise AttributeError(f"{kind.__name__} has no attribute {name!r} to set; {_hint(thing, name)}")


def _public(thing: Guarded) -> list[str]:
    """Return the names of the public attributes and properties of an object."""
    kind = type(thing)
    properties = {
        name for name in dir(kind) if name[0] != "_" and isinstance(inspect.getattr_static(kind, name), property)
    }
    return sorted(kind._declared | properties)


def _hint(thing: Guarded, name: str) -> str:
    """Say which attribute may have been meant: of the object, or of one that it has, such as a trainer's optimizer."""
    own = _public(thing)
    places = {known: known for known in own}
    for part in own:
        inner = getattr(thing, part, None)
        if isinstance(inner, Guarded):
            for known in _public(inner):
                places.setdefault(known, f"{part}.{known}")
    initials = "".join(word[:1] for word in name.split("_"))  # learning_rate, lr
    exact = [known for known in (name, initials) if known in places]
    close = exact or difflib.get_close_matches(name, places, 1, 0.55)
    return f"did you mean {places[close[0]]}?" if close else f"it has {', '.join(own)}"
