"""Read traces of when devices were present: FLASH's states, FedScale's behaviour, or plain CSV.

A trace becomes rows (length, start, stop, start, stop, ...) in seconds, one for each device.
"""

import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from fedmpi.errors import ConfigError, of_parser
from fedmpi.world.csv_lines import check_clients, lines_below
from fedmpi.world.presence import DAY, TICK

Rows = tuple[tuple[float, ...], ...]
HEADS = ("client", "start", "stop", "state")
THERE, AWAY = ("available", "on", "1", "true"), ("away", "off", "0", "false")
LAST = 1e12  # seconds


def rows_in(text: str, place: str) -> Rows:
    """Return the rows of a trace's `text`; `place` names the file in messages.

    Raises ConfigError with the file and the place of the fault.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith(("{", "[")):
        return _of_json(text, place)
    return _of_csv(text, place)


def _of_json(text: str, place: str) -> Rows:
    """Return the rows of FLASH's or FedScale's traces, told apart by the keys of a device."""
    try:
        tree = json.loads(text, parse_int=float)  # a large integer would not convert to float
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: not valid JSON: {of_parser(error)}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{place}: must be an object of devices by name (FLASH, FedScale)")
    rows = []
    for name, device in tree.items():
        where = f"{place}: device {name!r:.40}"
        if isinstance(device, dict) and "messages" in device:
            rows.append(_flash(device["messages"], where))
        elif isinstance(device, dict) and "active" in device:
            rows.append(_fedscale(device, where))
        else:
            raise ConfigError(f"{where}: has neither 'messages' (FLASH) nor 'active' (FedScale)")
    return _some(rows, place)


def _flash(messages: Any, where: str) -> tuple[float, ...]:
    """Return the row of a phone of FLASH, present while it charges on WiFi with its screen off.

    This is the criterion of Yang et al. (WWW 2021, arXiv:2006.06983). Second 0 is the midnight
    before the first line, and the length is a whole number of days, so the time of day is
    preserved. Offsets from UTC are ignored, since a phone's day follows its own clock.
    """
    events = []
    for line in str(messages).splitlines():
        stamp, _, event = line.partition("\t")
        try:
            time = datetime.fromisoformat(stamp.strip()).replace(tzinfo=None)
            events.append((time, event.strip()))
        except ValueError:
            raise ConfigError(f"{where}: {line!r:.60}: must be TIME<tab>EVENT") from None
    events.sort(key=lambda event: event[0])  # lines of the same second keep their order
    if not events:
        return (DAY,)
    midnight = events[0][0].replace(hour=0, minute=0, second=0, microsecond=0)
    seconds = [(time - midnight).total_seconds() for time, _ in events]
    dark = charged = wifi = False
    spells = []
    for (start, stop), (_, event) in zip(pairwise(seconds), events[:-1], strict=True):
        dark = {"screen_off": True, "screen_on": False}.get(event, dark)
        charged = {"battery_charged_on": True, "battery_charged_off": False}.get(event, charged)
        if event in ("wifi", "2G", "3G", "4G", "5G", "Unknown"):
            wifi = event == "wifi"
        if dark and charged and wifi:
            spells.append((start, stop))
    return _row(DAY * (seconds[-1] // DAY + 1), spells, where)


def _fedscale(device: Any, where: str) -> tuple[float, ...]:
    """Return the row of a client of FedScale (Lai et al., ICML 2022, arXiv:2105.11367)."""
    active, inactive = device["active"], device.get("inactive")
    numbers = [device.get("finish_time")]
    for values in (active, inactive):
        numbers += values if isinstance(values, list) else [None]
    if not all(isinstance(number, float) for number in numbers):
        raise ConfigError(f"{where}: needs numbers active, inactive (lists) and finish_time")
    if len(active) != len(inactive):
        raise ConfigError(f"{where}: {len(active)} active but {len(inactive)} inactive times")
    return _row(numbers[0], zip(active, inactive, strict=True), where)


def _of_csv(text: str, place: str) -> Rows:
    """Return the rows of lines client,start,stop,state, in order of client.

    Every row has the last stop in the file as its length.
    """
    spells: dict[int, list[tuple[float, float]]] = {}
    breaks: dict[int, list[tuple[float, float]]] = {}
    length = 0.0
    for where, cells in lines_below(HEADS, text, place):
        client, start, stop, there = _line(cells, where)
        length = max(length, stop)
        for of, said in ((spells, there), (breaks, not there)):
            of.setdefault(client, []).extend([(start, stop)] if said else [])
    found = sorted(spells)
    check_clients(found, place)
    for client in found:
        _agree(spells[client], breaks[client], f"{place}: client {client}")
    return _some([_row(length, spells[k], f"{place}: client {k}") for k in found], place)


def _line(cells: list[str], where: str) -> tuple[int, float, float, bool]:
    """Return (client, start, stop, there) of one line of CSV."""
    try:
        first, second, third, state = cells
        client, start, stop = int(first), float(second), float(third)
    except ValueError:
        raise ConfigError(f"{where}: must be {','.join(HEADS)}, the first three numbers") from None
    if (word := state.strip().lower()) not in (*THERE, *AWAY):
        known = ", ".join((*THERE, *AWAY))
        raise ConfigError(f"{where}: state = {state!r:.40}: must be one of {known}")
    if not (client >= 0 and 0 <= start <= stop <= LAST):
        raise ConfigError(f"{where}: needs client >= 0 and 0 <= start <= stop <= {LAST:g}")
    return client, start, stop, word in THERE


def _agree(spells: Sequence[tuple[float, float]], breaks: Sequence[tuple[float, float]],
           where: str) -> None:
    """Raise ConfigError if a device is both present and away at the same second."""
    marks = [(*one, True) for one in spells] + [(*one, False) for one in breaks]
    until = {True: 0.0, False: 0.0}  # the last stop so far, by state
    for start, stop, there in sorted(marks):
        if start < min(stop, until[not there]):
            raise ConfigError(f"{where}: is present and away at second {start:g}; lines of "
                              "different states must not overlap")
        until[there] = max(until[there], stop)


def _row(length: float, spells: Iterable[tuple[float, float]], where: str) -> tuple[float, ...]:
    """Return (length, start, stop, ...), with spells in order, joined if they touch or overlap."""
    if not 0 < length <= LAST:
        raise ConfigError(f"{where}: ends at second {length:g}; must be above 0, at most {LAST:g}")
    joined: list[list[float]] = []
    for start, stop in sorted(spells):
        if not (math.isfinite(start) and 0 <= start <= stop):
            raise ConfigError(f"{where}: from {start:g} to {stop:g}: must be 0 <= start <= stop")
        stop = min(stop, length)
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], stop)
        else:
            joined.append([start, stop])
    # Spells of at most two ticks are dropped, since a round begins one tick into a spell.
    long = [spell for spell in joined if spell[1] - spell[0] > 2 * TICK]
    return (length, *(second for spell in long for second in spell))


def _some(rows: Sequence[tuple[float, ...]], place: str) -> Rows:
    """Return the rows; raise ConfigError if there are none or if no device is ever present."""
    if not rows:
        raise ConfigError(f"{place}: has no device")
    if all(len(row) == 1 for row in rows):
        raise ConfigError(f"{place}: no device is ever present, so no client could be selected")
    return tuple(rows)
