"""The keys that a data set or a partition understands, as tables that check what is given."""

from dataclasses import dataclass
from difflib import get_close_matches

from fedmpi.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One key: its default, which also fixes its type, what it means, what is allowed."""

    default: object
    meaning: str
    low: float | None = None
    high: float | None = None
    above: float | None = None  # as `low`, but itself not allowed
    choices: tuple = ()

    @property
    def allowed(self):
        """What a value must be, in words."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        kind = {bool: "true or false", int: "a whole number", float: "a number"}
        bounds = (("above", self.above), ("at least", self.low), ("at most", self.high))
        said = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
        return ", ".join([kind.get(type(self.default), "a text"), *said])

    def fits(self, value):
        """Return whether a value of the right type is within the bounds."""
        if self.choices:
            return value in self.choices
        if type(self.default) not in (int, float):
            return True
        return (
            abs(value) != float("inf")
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )


def resolve(place, table, given):
    """Return every option's value: the given ones, checked, and the defaults of the others.

    Parameters
    ----------
    place : str
        Whose options these are, for messages, as in "data.dirichlet".
    table : dict
        Name -> Option.
    given : mapping
        Name -> value; a value of None counts as not given.

    Raises
    ------
    ConfigError
        For an unknown name (with the nearest known one), a wrong type or a value out of range.
    """
    values = {name: option.default for name, option in table.items()}
    for name, value in given.items():
        if name not in table:
            raise ConfigError(f"{place}: unknown option {name!r}; {nearest(name, table)}")
        if value is not None:
            values[name] = _checked(f"{place}.{name}", table[name], value)
    return values


def nearest(name, table):
    """Return the end of a message on an unknown name: the nearest known one, or all of them."""
    near = get_close_matches(str(name), table, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(table) or 'none'}"


def _checked(place, option, value):
    kind = type(option.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or not option.fits(value):
        raise ConfigError(f"{place} = {value!r}: must be {option.allowed}")
    return value
