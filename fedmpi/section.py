"""The base classes of configuration sections, which are frozen and typed, and their messages."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeGuard, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedmpi.errors import ConfigError, UnknownKeyError, either, nearest_key, typed

# Names are shown on terminals, so they must not contain control characters.
Name = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Share = Annotated[float, Field(gt=0, le=1)]
Shares = Annotated[tuple[Share, ...], Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Unit = Annotated[float, Field(ge=0, lt=1)]
# For Erdos-Renyi-Kernel: with much larger powers the densities of layers would underflow.
ERKPower = Annotated[float, Field(ge=0, le=10)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# For simulated devices: virtual times, joules and grams stay finite within these limits.
Speed = Annotated[float, Field(ge=1e-6, le=1e15)]
Amount = Annotated[float, Field(ge=0, le=1e9)]
Second = Annotated[float, Field(ge=0, le=1e12)]


Checked = TypeVar("Checked", bound=BaseModel)
Path: TypeAlias = tuple[int | str, ...]
"""The place of a value in a tree: keys, and indices of arrays."""
Fault: TypeAlias = Mapping[str, Any]
"""One error of pydantic about a value, its ErrorDetails."""

_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "tuple_type": "an array, such as [1, 2]",
    "model_type": "a section of keys, not a value",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


class Section(BaseModel):
    """A part of the configuration: frozen, with no unknown keys and no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse keys that are lists or sets, since a section is frozen."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if _holds_lists(field.annotation):
                raise ConfigError(f"{cls.__module__}.{cls.__qualname__}: {name} is declared as a "
                                  "list or a set; declare it as a tuple, such as tuple[int, ...]")


class OpenSection(BaseModel):
    """A section that also holds the keys of the thing that it names, which are checked later."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    def own_keys(self) -> dict[str, Any]:
        """Return the keys that belong to the named thing."""
        return dict(self.__pydantic_extra__ or {})


class NamedSection(OpenSection):
    """A section with a name and the keys of the named thing."""

    name: Name


def check(
    section: type[Checked], tree: Mapping[str, Any], place: str, prefix: str = "",
    beside: Iterable[str] = (), of: str = "",
) -> Checked:
    """Return `section` built from the dict `tree`, or raise ConfigError that names each fault.

    `place` and `prefix` precede the key in messages. `beside` holds other keys of the same table,
    for which a misspelt key may stand. `of` is the name that determines the known keys.
    """
    try:
        tree = _tuples(tree)
        return section.model_validate(tree)
    except RecursionError:
        raise ConfigError(f"{place}: is nested too deeply; keys are section.key = value") from None
    except ValidationError as error:
        # Report a misspelt key first, since a missing key is often the same key.
        ordered = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        found: dict[Path, list[Fault]] = {}
        for fault in ordered:
            found.setdefault(_path(fault, tree), []).append(fault)
        faults = [_explain(section, path, at, prefix, beside, of) for path, at in found.items()]
        more = f" (and {len(faults) - 2} more)" if len(faults) > 2 else ""
        kind = UnknownKeyError if ordered[0]["type"] == "extra_forbidden" else ConfigError
        raise kind("\n".join(f"{place}: {fault}" for fault in faults[:2]) + more) from None


def _holds_lists(kind: Any) -> bool:
    """Return whether a type is a list or a set, or has a part that is."""
    mutable = kind in (list, set) or get_origin(kind) in (list, set)
    return mutable or any(map(_holds_lists, get_args(kind)))


def _tuples(tree: Any) -> Any:
    """Return a tree with its TOML arrays as tuples, which frozen sections need."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(map(_tuples, tree)) if isinstance(tree, list) else tree


def _path(fault: Fault, tree: Any) -> Path:
    """Return the path in `tree` of a fault reported by pydantic.

    If a value may have several types, pydantic reports a fault for each type, and appends the name
    of the type to the path. Such names are removed.
    """
    where: Path = fault["loc"]
    if fault["type"] == "missing":
        return where
    path: list[int | str] = []
    for part in where:
        if part in tree if isinstance(tree, dict) else isinstance(part, int):
            path.append(part)
            tree = tree[part]
    return tuple(path)


def _explain(
    section: type[BaseModel], path: Path, faults: Sequence[Fault], prefix: str,
    beside: Iterable[str], of: str,
) -> str:
    """Return the faults of one value in one line: key, value, allowed values, remedy."""
    where = (prefix + ".".join(map(str, path))).removesuffix(".")  # of the section for no key
    fault = faults[0]
    if fault["type"] == "extra_forbidden":
        known = [*_fields(section, path[:-1]), *beside]
        return f"{where}: unknown key; {_hint(section, path, known, of)}"
    if fault["type"] == "missing":  # a key, or an element of an array
        return f"{where}: missing; give it a value"
    if fault["type"] == "value_error":
        return f"{where}: {fault['ctx']['error']}" if where else str(fault["ctx"]["error"])
    if fault["type"] == "tuple_type" and isinstance(fault["input"], dict):
        return f"{where}: must be an array; write an array of sections as [[{where}]]"
    wanted = dict.fromkeys(map(_wanted, faults))
    return f"{where} = {_shown(fault['input'])}: must be {either(wanted)}"


def _hint(section: type[BaseModel], path: Path, known: Sequence[str], of: str) -> str:
    """Return a hint at the key that was probably meant by the unknown key at `path`."""
    key = str(path[-1])
    homes = [name for name in known if len(path) == 1 and key in _fields(section, (name,))]
    if homes and homes != known:
        return f"it belongs to a section: {either(f'{home}.{key}' for home in homes)}"
    return nearest_key(key, known, of)


def _wanted(fault: Fault) -> str:
    """Return what a value must be, in the terms of TOML."""
    kind: str = fault["type"]
    about: Mapping[str, Any] = fault.get("ctx", {})
    if kind.endswith("_type") and kind in _KINDS:
        return _KINDS[kind]
    if kind in _BOUNDS:
        if fault["input"] != fault["input"]:  # NaN, which is on neither side of a bound
            return "a finite number"
        word, key = _BOUNDS[kind]
        return f"{word} {limit(about[key])}"
    if kind == "too_long":
        return f"an array of at most {about['max_length']}"
    if kind == "too_short":
        return f"an array of at least {about['min_length']}"
    if kind == "string_unicode":
        return "a text in UTF-8"
    if kind in ("string_pattern_mismatch", "string_too_long"):
        return "a text of 1 to 200 characters, none of them a control character"
    if kind == "literal_error":
        return str(about["expected"]).replace("False", "false").replace("True", "true")
    said: str = fault["msg"]
    return said.replace("Input should be ", "").replace("Input should ", "such that it ")


def limit(number: float) -> str:
    """Return a limit in a readable form: 0.001, 1,024, 1e9, 2^63."""
    if number == 2**63:
        return "2^63"
    text = f"{number:,g}"
    exact = float(text.replace(",", "")) == number
    return re.sub(r"e\+?(-?)0*", r"e\1", text) if exact else f"{number:,}"


def _shown(value: Any) -> str:
    """Return a value as the user wrote it, cut to 60 characters."""
    text = typed(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(section: type[BaseModel], path: Path) -> Iterable[str]:
    """Return the names of the keys allowed at `path` below `section`."""
    for part in path:
        field = section.model_fields.get(part) if isinstance(part, str) else None
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        nested = [kind for kind in kinds if _is_section(kind)]
        section = nested[0] if nested else section
    return section.model_fields


def _is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
