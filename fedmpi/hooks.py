"""Check a user's class against the classes of fedmpi that it extends.

fedmpi calls a method that overrides one of its own with the same arguments.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import getattr_static, isfunction, signature
from typing import Any

from fedmpi.errors import ConfigError

# A method, the attribute that states a fact about it, and the value that a class with a method of
# its own must not inherit.
_FACTS = (
    ("message", "sends_as_planned", True,
     "changes what clients send: also write sends_as_planned = False in the class, or True if "
     'clients still send only "weights", on plan.up'),
    ("learn", "learns", False, "is called only if the class has learns = True: also write this"),
)  # fmt: skip
_LIKE = 0.75  # ratio of difflib from which a name counts as a misspelt known name


def misfit(cls: type) -> str:
    """Return the fault in the definitions of a user's class, or "".

    A method that overrides one of fedmpi's must be of the same kind, and take the same arguments in
    the same order. Other public names must not resemble one of fedmpi's, since a misspelt method
    would never be called. A class with another `message` must say whether plans give its bytes,
    and with another `learn` that it learns.
    """
    bases = list(filter(_ours, cls.__mro__))
    known = {"__init__": _alone} | {
        name: value for base in reversed(bases) for name, value in vars(base).items()
        if name[0] != "_" or name == "__init__"
    }
    others = [base for base in cls.__mro__ if base not in bases and base is not object]
    for name in {name: None for base in others for name in vars(base)}:
        own = getattr_static(cls, name)
        fault = _unlike(own, known[name]) if name in known else _misspelt(name, own, known)
        if fault:
            return f"{cls.__qualname__}.{name} {fault}"
    return _undeclared(cls)


def made(cls: type, *given: Any) -> Any:
    """Return cls(*given).

    Raises ConfigError, with the line to write, if its __init__ does not call fedmpi's.
    """
    base = next(base for base in cls.__mro__ if _ours(base) and "__init__" in vars(base))
    names = [*signature(vars(base)["__init__"]).parameters][1:]
    try:
        thing = cls(*given)
        lacks = [name for name in names if not hasattr(thing, name)]
    except AttributeError as error:  # maybe of an attribute that fedmpi's __init__ sets
        if error.name not in (*names, "layout") or type(error.obj) is not cls:
            raise
        lacks = [error.name]
    if lacks:
        raise ConfigError(
            f"{cls.__module__}.{cls.__qualname__}.__init__: there is no self.{lacks[0]} yet; let "
            f"its first line be super().__init__({', '.join(names)})"
        )
    return thing


def _undeclared(cls: type) -> str:
    """Return the fault that a method is new, while a fact about the former method is inherited."""
    for method, fact, inherited, advice in _FACTS:
        for base in cls.__mro__:
            if fact in vars(base):
                break
            if method in vars(base) and getattr(cls, fact, None) is inherited:
                return f"{base.__qualname__}.{method} {advice}"
    return ""


def _misspelt(name: str, own: Any, known: Mapping[str, Any]) -> str:
    """Return a fault that tells which of the `known` names was probably meant, or ""."""
    alike = {word.lower(): word for word, theirs in known.items()  # level_of is no misspelt level
             if _kind(theirs) is _kind(own) and word not in name.split("_")}
    near = [] if name[0] == "_" else get_close_matches(name.lower(), alike, 1, _LIKE)
    return (f"is unknown to fedmpi; did you mean {alike[near[0]]}? A name of your own that is so "
            "similar must begin with _" if near else "")


def _unlike(own: Any, theirs: Any) -> str:
    """Return the fault in a user's definition `own` that overrides fedmpi's `theirs`, or ""."""
    if not _is_method(theirs):
        must = "@property" if isinstance(theirs, property) else "a value, or @property"
        return f"is a method; it must be {must}" if _is_method(own) else ""
    if not _is_method(own):
        unknown = callable(own) or hasattr(own, "__get__")  # a kind whose parameters are unknown
        return "" if unknown else f"is {own!r}; it must be a method, {signature(_function(theirs))}"
    if isinstance(theirs, classmethod) and isfunction(own):
        return "is a method of objects; it must be a method of the class: write @classmethod above"
    return _other_parameters(own, theirs)


def _other_parameters(own: Any, theirs: Any) -> str:
    """Return the parameters that a user's method has and needs, "" if it can be called as it is."""
    taken, wanted = signature(_function(own)), signature(_function(theirs))
    needed = [p.name for p in wanted.parameters.values() if p.default is p.empty]
    drop = isinstance(own, staticmethod)
    mine = [name for name in taken.parameters if name in needed]
    try:
        taken.bind(*needed[drop:])
        fits = mine == [name for name in needed if name in mine]
    except TypeError:
        fits = False
    return "" if fits else f"takes {taken}; it must take ({', '.join(needed)})"


def _kind(value: Any) -> type:
    """Return the type of a class attribute; methods and properties count as the same type."""
    return property if _is_method(value) else type(value)


def _is_method(value: Any) -> bool:
    return isfunction(value) or isinstance(value, classmethod | staticmethod)


def _function(method: Any) -> Any:
    """Return the function behind a method, with its first parameter."""
    return getattr(method, "__func__", method)


def _alone(self: object) -> None:
    """Stand for the __init__ of fedmpi's classes that define none."""


def _ours(cls: type) -> bool:
    """Return whether a class is fedmpi's own; its examples count as users' code."""
    return cls.__module__.startswith("fedmpi.") and not cls.__module__.startswith("fedmpi.examples")
