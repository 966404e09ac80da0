"""Read text files that users write: a configuration, a sweep, a site's file or a table."""

from os import PathLike

from fedmpi.errors import ConfigError

LONGEST = 1_000_000  # most characters of a configuration


def text_of(path: str | PathLike[str], kind: str = "TOML", longest: int = LONGEST) -> str:
    """Return the text of the file at `path`, which should hold `kind`. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(longest + 1)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; give the path of a {kind} file, or save it "
                          "as UTF-8") from None
    except (OSError, ValueError) as error:  # a ValueError for a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: {reason}; give the path of a {kind} file") from None
    if len(text) > longest:
        raise ConfigError(f"{path}: longer than {longest:,} characters; give a shorter {kind} file")
    return text
