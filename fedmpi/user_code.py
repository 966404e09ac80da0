"""Users' code, which a configuration names as package.module:object."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from re import compile as pattern
from typing import Any, TypeGuard

from fedmpi.errors import ConfigError, FedmpiError, nearest

_NAME = pattern(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_own(value: object) -> TypeGuard[str]:
    """Return whether a value has the form package.module:object of a name in users' code."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def names_in(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (key, name) of every value in nested dicts and lists that may name user's code."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict | list | tuple):
            yield from names_in(value, place)
        elif is_own(value) and place != "run.name":
            yield place, value


def name_of(thing: Any) -> str:
    """Return the name by which a configuration refers to a class or function of users' code.

    It is "module:object" for an object at the top of a module, and otherwise the name with which
    the class was defined. Raises ConfigError for an object that has neither.
    """
    module, path = thing.__module__, thing.__qualname__
    given: str | None = vars(thing).get("name")
    if module.startswith("fedmpi.") and given and not module.startswith("fedmpi.examples"):
        return given
    if getattr(sys.modules.get(module), path, None) is thing:
        return f"{module}:{path}"
    if given:
        return given
    if path.endswith("<lambda>"):
        raise ConfigError(f"{path}: has no name that a file could give; write it as a function, by "
                          "def, at the top of a module")
    named = isinstance(thing, type) and isinstance(getattr(thing, "name", None), str)
    how = ", or name it, as in: class Mine(fedmpi.Algorithm, name=\"mine\")" if named else ""
    raise ConfigError(
        f"{path}: is defined inside a function or a class, so no file could name it; define it "
        f"at the top of a module{how}"
    )


def attribute(name: str) -> Any:
    """Return the object of fedmpi that `name`, "package.module:object", refers to."""
    module, _, found = name.partition(":")
    return getattr(import_module(module), found)


def find(name: str, place: str) -> Any:
    """Return the object that `name`, "package.module:object", refers to.

    `place` is the key with this value, for messages. Raises ConfigError if the name has another
    form, if the module does not exist or fails on import, or if it has no such object.
    """
    module, _, attribute = name.partition(":")
    if not is_own(name):
        raise ConfigError(f"{place} = {name!r}: must be of the form package.module:object")
    with config_error_at(f"{place} = {name!r}"):
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            if module.endswith(".py"):
                plain = f"{module.removesuffix('.py')}:{attribute}"
                raise ConfigError(f"{place} = {name!r}: write {plain}, without .py") from None
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # the module exists, and imports a module that does not
            raise ConfigError(
                f"{place} = {name!r}: {error}; start in its folder, or add it to PYTHONPATH"
            ) from None
    if not hasattr(found, attribute) and module == "__main__":
        raise ConfigError(
            f"{place} = {name!r}: is of a script or notebook; run or resume it there (from Python: "
            "fedmpi.resume(OUT, allow_code=True)), or move it to a file of its own and run again"
        )
    if not hasattr(found, attribute):
        public = [word for word in dir(found) if not word.startswith("_")]
        hint = nearest(attribute, public, "it has")
        raise ConfigError(f"{place} = {name!r}: module {module} has no {attribute}; {hint}")
    return getattr(found, attribute)


@contextmanager
def config_error_at(place: str) -> Iterator[None]:
    """Turn an error of users' code in this block into a ConfigError with its text and place.

    Errors of fedmpi and Ctrl-C pass unchanged. The line that is named is the last line outside
    fedmpi and the installed libraries.
    """
    try:
        yield
    except (FedmpiError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a script that exits on import must not end the run silently
        raise ConfigError(f"{place}: {in_words(error)}") from error


@contextmanager
def exit_as_error() -> Iterator[None]:
    """Turn SystemExit from users' code in this block into a FedmpiError, as no orderly end."""
    try:
        yield
    except SystemExit as error:
        raise FedmpiError(f"{in_words(error)}: code of a run must raise an error, not exit"
                          ) from error


def in_words(error: BaseException) -> str:
    """Return an error in one line: type, message, and the last line of users' code it passed."""
    text = " ".join(str(error).split())
    if getattr(error, "code", None) == "model-field-missing-annotation":  # a code of pydantic
        text = f"a key lacks its type: {text.split('`')[1]}; write it as in p: float = 0.5"
    said = ": ".join(filter(None, [type(error).__name__, text]))
    frames = own_frames(traceback.extract_tb(error.__traceback__))
    return said + (f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else "")


def own_frames(frames: traceback.StackSummary) -> list[traceback.FrameSummary]:
    """Return the lines of a traceback that are in users' code."""
    return [frame for frame in frames if _own(frame)]


def _own(frame: traceback.FrameSummary) -> bool:
    """Return whether a line of a traceback is in users' code."""
    path = Path(frame.filename)
    libraries = {Path(__file__).parent, Path(traceback.__file__).parent}
    return (path.is_file() and libraries.isdisjoint(path.parents)
            and "site-packages" not in path.parts)
