"""Print the results of the benchmarks: tables of rows, arms and bars."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from fedmpi.bench.measure import Found


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(*columns[:1], box=None, pad_edge=False, header_style="bold")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _print(table: "Table") -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def show_rows(rows: "Sequence[Found]") -> None:
    """Print dicts of the same keys as a table, or nothing if there are none."""
    if rows:
        table = _table(*rows[0])
        for row in rows:
            table.add_row(*map(_short, row.values()))
        _print(table)


def show_machine(machine: "Found") -> None:
    """Print the machine of a measurement, and its load at that time."""
    load = " to ".join(f"{machine[key][0]:.1f}" for key in ("load_before", "load_after"))
    names = f"{machine['processor']}, {machine['instructions']}"
    print(f"{names}, {machine['cores']} cores; load {load}")


def show_choices(found: "Found") -> None:
    """Print both engines' times for each model, the choice of "auto", and the gain by pruning."""
    machine = found["machine"]
    show_machine(machine)
    print(f"kernels for registers of {machine['vector_width']} float32; torch: {machine['torch']}")
    show_rows(found["models"])
    show_rows(found["pruning"])


def show_arms(found: "Found") -> None:
    """Print the clients per second of each arm."""
    print(f"data: {found['setting']['data']}")
    show_machine(found["machine"])
    table = _table("arm", "ranks", "clients/s", "lowest", "highest", "rounds", "accuracy", "")
    for arm in found["arms"]:
        rate = arm.get("clients_per_second")
        shown = [f"{rate[key]:.1f}" for key in ("median", "low", "high")] if rate else [""] * 3
        rounds = str(rate["count"]) if rate else ""
        accuracy = f"{arm['accuracy']:.3f}" if rate else ""
        note = arm["note"].splitlines()[0][:60] if arm["note"] else ""
        table.add_row(arm["name"], str(arm["ranks"]), *shown, rounds, accuracy, note)
    _print(table)


def show_bars(bars: "Sequence[Found]") -> None:
    """Print the bars, which are promised limits, and whether they are met."""
    if bars:
        table = _table("bar", "value", "", "bound", "met")
        for bar in bars:
            met = {True: "yes", False: "NO", None: "not measured"}[bar["met"]]
            table.add_row(bar["name"], _short(bar["value"]), bar["kind"], _short(bar["bound"]), met)
        _print(table)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
