"""Registries of the things that a configuration names, one for each kind.

A name refers to a registered thing, or, in the form package.module:object, to an object in users'
code. The object must be made for fedmpi: a subclass of Algorithm, Stage, Selector or Metric, or a
function or class with a decorator of its registry (`@fedmpi.dataset`, `@fedmpi.model`,
`@fedmpi.partition`, `@fedmpi.loss`). No other function can be called by its name in a file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import isabstract, signature
from pkgutil import iter_modules
from typing import Any, cast

from fedmpi import hooks, user_code
from fedmpi.errors import ConfigError, UnknownKeyError, nearest, nearest_key
from fedmpi.section import Section, check

_MARK = "__fedmpi__"  # attribute of an object that was made for fedmpi: its kind and its entry


class NoKeys(Section):
    """The keys of a thing that has none."""


@dataclass(frozen=True)
class Entry:
    """A registered function, which makes a thing such as a model or a data set.

    Attributes
    ----------
    summary : str
        One line for `fedmpi list`.
    maker : callable or str
        The function, or "module:function", which is imported on first use.
    keys : type of Section, optional
        The keys that the function takes; None if its parameters are the keys.
    arguments : tuple of str
        The arguments that a user's function receives before its keys.
    """

    summary: str
    maker: Any
    keys: type[Section] | None = NoKeys
    arguments: tuple[str, ...] = ()

    @property
    def make(self) -> Callable[..., Any]:
        """The function, imported if needed."""
        found = user_code.attribute(self.maker) if isinstance(self.maker, str) else self.maker
        return cast(Callable[..., Any], found)

    def checked(
        self, given: Mapping[str, Any], place: str, prefix: str, of: str = ""
    ) -> dict[str, Any]:
        """Return the checked keys in `given`, and the defaults of the others. Raises ConfigError.

        `place`, `prefix` and `of` are for the message, as in `fedmpi.section.check`.
        """
        if self.keys is not None:
            return dict(check(self.keys, given, place, prefix, of=of))
        known, needed = self.names, self._parameters(needed=True)
        for key in given:
            if known is not None and key not in known:
                hint = nearest_key(key, known, of)
                raise UnknownKeyError(f"{place}: {prefix}{key}: unknown key; {hint}")
        if lacks := [key for key in needed if key not in given]:
            raise ConfigError(f"{place}: {prefix}{lacks[0]}: missing; give it a value, or a "
                              "default in the function")
        return dict(given)

    @property
    def names(self) -> list[str] | None:
        """The names of the keys, or None if the function takes any keys."""
        if self.keys is not None:
            return list(self.keys.model_fields)
        kinds = [p.kind for p in signature(self.make).parameters.values()]
        return None if any(kind is kind.VAR_KEYWORD for kind in kinds) else self._parameters()

    @property
    def misfit(self) -> str:
        """The fault in the parameters of a user's function, or ""."""
        found = signature(self.make)
        try:
            found.bind_partial(*self.arguments)
        except TypeError:
            return f"takes {found}; it must take ({', '.join(self.arguments)})"
        return ""

    def _parameters(self, needed: bool = False) -> list[str]:
        """Return the names of the parameters that are keys; if `needed`, those without default."""
        every = [*signature(self.make).parameters.values()][len(self.arguments) :]
        return [p.name for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
                and (p.default is p.empty or not needed)]


class Registry(Mapping[str, Any]):
    """All things of one kind by name: classes, or Entries of functions.

    `kind` is the word for one thing, and `key` the configuration key that names it. `made` is a
    phrase for what a user's object must be. A user's function receives `arguments` before its keys.
    """

    def __init__(
        self, kind: str, key: str, made: str, known: Mapping[str, Any] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.kind, self.key, self._made, self._arguments = kind, key, made, arguments
        self._things: dict[str, Any] = dict(known or {})
        self._folder, self._files = "", frozenset[str]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._things:
            self._load(name)
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        self._load_all()
        return iter(sorted(self._things) if self._folder else self._things)

    def __len__(self) -> int:
        self._load_all()
        return len(self._things)

    def fill_from(self, package: str, path: Iterable[str]) -> None:
        """Register the things that the modules of a package define, each on first use of its name.

        The module of "round-robin" is round_robin.py. All modules are imported if no file has the
        name, or to list all names.
        """
        self._folder, self._files = package, frozenset(file.name for file in iter_modules(path))
        for name in list(self._things):  # a user's class must not have the name of a built-in one
            self._load(name)

    def _load(self, name: str) -> None:
        file = name.replace("-", "_")
        if file in self._files:
            import_module(f"{self._folder}.{file}")
        if name not in self._things:
            self._load_all()

    def _load_all(self) -> None:
        for file in sorted(self._files):
            import_module(f"{self._folder}.{file}")

    def admit(self, cls: type, name: str | None) -> None:
        """Mark a class as one of this kind, and register it under `name` if one is given.

        A class may be defined again, as in a notebook. Raises ConfigError if another class has the
        name.
        """
        if name is not None and not isinstance(name, str):
            raise ConfigError(f"class {_place(cls)}: name={name!r} must be a text, such as 'mine'")
        setattr(cls, _MARK, (self.kind, cls))
        if name is None:
            return
        built_in = cls.__module__.startswith(f"{self._folder}.")
        taken = (self._things if built_in else self).get(name)
        if taken and _place(taken) != _place(cls):
            raise ConfigError(
                f"class {_place(cls)}: the {self.kind} name {name!r} is taken by "
                f"{_place(taken)}; choose another name"
            )
        self._things[name] = cls
        cls.name = name  # type: ignore[attr-defined]

    def mark(
        self,
        function: Any = None,
        *,
        keys: type[Section] | None = None,
        entry: Entry | None = None,
        name: None = None,
    ) -> Any:
        """Mark a function of users' code as one of this kind; for use as a decorator.

        `keys` is a fedmpi.Keys with the keys that the function takes. Without it, its parameters
        are its keys, of any type. An `entry` gives further details. Raises ConfigError for other
        arguments, such as a `name`.
        """
        self._check_marked(function, keys, name)
        if function is None:
            return lambda marked: self.mark(marked, keys=keys)
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        setattr(function, _MARK, (
            self.kind, entry or Entry(summary, function, keys, self._arguments)))
        return function

    def _check_marked(self, function: Any, keys: Any, name: Any) -> None:
        """Raise ConfigError, with the line to write, if a decorator has other arguments."""
        made, _, word = self._made.partition(" with the decorator ")
        if _are_keys(function):
            given = function.__qualname__
            raise ConfigError(f"{word}({given}): write {word}(keys={given})")
        if name is not None or not (function is None or callable(function)):
            given = repr(function) if name is None else f"name={name!r}"
            raise ConfigError(f"{word}({given}): write {word} alone above {made.rstrip(',')}; a "
                              "configuration names it as package.module:object")
        if keys is not None and not _are_keys(keys):
            raise ConfigError(f"{word}(keys={keys!r}): must be a subclass; write class "
                              "Keys(fedmpi.Keys), and keys=Keys here")

    def find(self, name: str, place: str = "configuration") -> Any:
        """Return the thing that `name` refers to, and import the module of a user's object.

        `place` is the source of the name, for messages. Raises ConfigError.
        """
        where = f"{place}: {self.key} = {name!r}"
        if ":" not in name:
            if name not in self:
                own = "write own code as package.module:object"
                hint = own if "." in name else nearest(name, self)  # of a module or a file
                hint += f"; {own}" if hint.startswith("known") else ""
                raise ConfigError(f"{where}: unknown {self.kind}; {hint}")
            thing = self[name]
        else:
            thing = self._own(user_code.find(name, f"{place}: {self.key}"), name, where)
        if isabstract(thing):
            lacks = ", ".join(sorted(thing.__abstractmethods__))
            raise ConfigError(f"{where}: has no {lacks}; define it")
        if isinstance(thing, type) and (fault := hooks.misfit(thing) or _of_keys(thing)):
            raise ConfigError(f"{where}: {fault}")
        if isinstance(thing, Entry) and thing.arguments and thing.misfit:
            raise ConfigError(f"{where}: {thing.misfit}")
        return thing

    def _own(self, found: Any, name: str, where: str) -> Any:
        """Return the class or Entry of a user's object, if made for fedmpi and in this module."""
        marks = getattr(found, "__dict__", {})
        if _MARK not in marks or marks[_MARK][0] != self.kind:
            raise ConfigError(f"{where}: must be {self._made}")
        module = name.partition(":")[0]
        if found.__module__ != module:
            raise ConfigError(
                f"{where}: is defined in another module; name it "
                f"{found.__module__}:{found.__qualname__}"
            )
        return marks[_MARK][1]


def _of_keys(cls: type) -> str:
    """Return the fault in a class's Keys, or ""."""
    keys = getattr(cls, "Keys", Section)
    if _are_keys(keys):
        return ""
    return f"{cls.__qualname__}.Keys must be a subclass: write class Keys(fedmpi.Keys)"


def _are_keys(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Section)


def _place(cls: type) -> str:
    """Return the module and name of a class, which stay the same if it is defined again."""
    return f"{cls.__module__}.{cls.__qualname__}"
