"""Numbers for human readers: three digits and a fitting unit."""

import math
import textwrap
from collections.abc import Container, Sequence
from typing import TypeAlias

Units: TypeAlias = tuple[tuple[float, str], ...]
"""(size, name) of each, the largest first."""

BYTES: Units = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B"))
FLOPS: Units = ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP"),
         (1, "FLOP"))
ENERGY: Units = ((3.6e6, "kWh"), (3.6e3, "Wh"), (1, "J"))
GRAMS: Units = ((1e6, "t"), (1e3, "kg"), (1, "g"), (1e-3, "mg"))
WIDTH = 80  # letters of a line of a terminal
NAME = 24  # letters of a name that stands among facts
BESIDE = 40  # letters of a line of a table beside a long name
SECONDS: Units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))


def quantity(value: float | None, units: Units) -> str:
    """Return `value` in the largest of `units` ((size, name), falling) that it reaches."""
    if value is None or not math.isfinite(value):
        return "-"
    for size, name in units:
        if abs(value) >= 0.9995 * size:
            return f"{digits(value / size)} {name}"
    return f"{digits(value / units[-1][0])} {units[-1][1]}" if value else f"0 {base(units)}"


def axis_unit(most: float, units: Units) -> tuple[float, str]:
    """Return the (size, name) of `units` that suits an axis up to `most`."""
    return next((unit for unit in units if most >= unit[0]), units[-1])


def base(units: Units) -> str:
    """Return the name of the unit of size 1."""
    return next(name for size, name in units if size == 1)


def digits(value: float) -> str:
    """Return a number with three digits, and no more zeros than needed: 1.5, 20, 312, 4e7."""
    text = f"{value:.3g}"
    if abs(value) >= 999_999.5:
        return text.replace("e+0", "e").replace("e+", "e")
    if abs(value) >= 999.5:
        return f"{value:.0f}"
    return text if "e" not in text else f"{value:.3f}".rstrip("0").rstrip(".")


def in_bytes(value: float | None) -> str:
    """Return a number of bytes, such as "1.24 MB"; "-" for None."""
    return quantity(value, BYTES)


def in_seconds(value: float | None) -> str:
    """Return a duration given in seconds, such as "2.5 h"; "-" for None."""
    return quantity(value, SECONDS)


def duration(seconds: float) -> str:
    """Return seconds as a duration for readers, such as "2 h 5 min"."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def share(value: float | None) -> str:
    """Return a share as per cent, such as "25 %"; "-" for None."""
    return "-" if value is None else f"{digits(100 * value)} %"


def accuracy(value: float | None) -> str:
    """Return an accuracy with four decimals; "-" for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def score(accuracy: float, loss: float) -> str:
    """Return an accuracy as a fact, the test loss of a task without accuracies, "" for neither."""
    if not math.isnan(accuracy):
        return f"accuracy {100 * accuracy:.1f} %"
    return "" if math.isnan(loss) else f"test loss {digits(loss)}"


def shortened(name: str, letters: int = NAME) -> str:
    """Return a name of at most `letters` characters, which leaves out the middle of a longer."""
    if len(name) <= letters:
        return name
    front = letters // 2
    return f"{name[:front]}…{name[front + 1 - letters :]}"


def columns(
    rows: Sequence[Sequence[str]],
    right: Container[int] = (),
    most: int | None = None,
    joined: Container[int] = (),
) -> list[str]:
    """Return rows of texts (the first is the head) as aligned lines.

    `right` holds the indices of the right-aligned columns. If lines would be longer than `most`,
    the last columns go into a further table below, which repeats the first column; a column of
    `joined` stays with the column before it.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for shown in _parts(widths, most, joined):
        lines += [""] if lines else []
        for row in rows:
            cells = [row[i].rjust(widths[i]) if i in right else row[i].ljust(widths[i])
                     for i in shown]
            lines.append("  ".join(cells).rstrip())
    return lines


def _parts(widths: list[int], most: int | None, joined: Container[int]) -> list[list[int]]:
    """Return lists of columns, each with column 0, whose lines have at most `most` letters.

    Beside a long name in column 0 there is always room for BESIDE more letters.
    """
    limit = math.inf if most is None else max(most, widths[0] + BESIDE)
    parts = [[0]]
    for start in (i for i in range(1, len(widths)) if i not in joined):
        end = next((i for i in range(start + 1, len(widths)) if i not in joined), len(widths))
        new = list(range(start, end))
        length = sum(widths[i] + 2 for i in parts[-1] + new) - 2
        if length > limit and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1] += new
    return parts


def paragraph(text: str) -> list[str]:
    """Return a sentence as lines of at most WIDTH letters, unless a single word is longer."""
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
