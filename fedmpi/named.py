"""Code of the user's own, which a configuration names as package.module:object."""

import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from fedmpi.errors import ConfigError, FedmpiError


def find(name, place):
    """Return the object that `name`, "package.module:object", stands for.

    `place` is the key it was given for, for messages. Raises ConfigError: a name of another
    form, a module that is not there or fails while it is imported, no such object in it.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise ConfigError(f"{place} = {name!r}: must be of the form package.module:object")
    with blamed(f"{place} = {name!r}"):
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # it is there, and imports something that is not
            raise ConfigError(
                f"{place} = {name!r}: {error}; start in its folder, or put that on PYTHONPATH"
            ) from None
    if not hasattr(found, attribute):
        near = get_close_matches(attribute, dir(found), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{place} = {name!r}: module {module} has no {attribute}{hint}")
    return getattr(found, attribute)


@contextmanager
def blamed(place):
    """Turn what own code raises in this block into a ConfigError that says what and where.

    The errors of fedmpi pass as they are. The line that is named is the last one outside of
    fedmpi and the installed libraries.
    """
    try:
        yield
    except FedmpiError:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _own(frame)]
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        said = " ".join(str(error).split())
        raise ConfigError(f"{place}: {type(error).__name__}: {said}{where}") from error


def _own(frame):
    path = Path(frame.filename)
    here = Path(__file__).parent
    return path.is_file() and here not in path.parents and "site-packages" not in path.parts
