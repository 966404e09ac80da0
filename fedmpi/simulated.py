"""Configuration sections of the clients' simulated devices and of the server's schedule."""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fedmpi.section import (
    Amount,
    Name,
    NotNegative,
    Positive,
    Rate,
    Second,
    Section,
    Share,
    Speed,
    Unit,
)


class Tier(Section):
    """[[devices.tiers]]: one kind of device, and the share of clients that have it.

    For any number except the four rates, a tier without its own value uses that of [devices].
    """

    name: Name
    share: Share
    gflop_s: Speed
    up_mbit_s: Speed
    down_mbit_s: Speed
    latency_s: Amount = 0.05
    availability: Share | None = None
    dropout: Unit | None = None
    memory_mb: Rate | None = None
    power_w: Amount | None = None
    idle_w: Amount | None = None
    joule_per_mb: Amount | None = None


PROFILES = {
    "uniform": "every client has the same device: [devices] gflop_s and the links of [network]",
    "tiers": "clients are divided over named tiers: [[devices.tiers]], or slow, middle and fast",
    "mobile": "every client has its own phone and link, drawn from log-normal populations",
    "phones": "every client has one of three measured phones, a measured WiFi link, and a memory",
    "boards": "a Raspberry Pi 4 or one of four Jetson modules, with its memory and power",
    "servers": "a T4, V100 or A100 card in a data centre, with its memory and power",
    "FILE.csv": "one device in each row: gflop_s, up_mbit_s, down_mbit_s, latency_s; optional: "
    "name, availability, dropout, memory_mb, power_w, idle_w, joule_per_mb; the rows go to the "
    "clients in a random order",
}
TRACES = ("nights", "on-off")
Spells = tuple[tuple[float, ...], ...]
Links = tuple[tuple[Amount, Second, Speed, Speed], ...]
Intensity = tuple[tuple[Second, Amount], ...]


Zone = Annotated[float, Field(ge=-24, le=24)]
Spell = Annotated[float, Field(ge=0.001, le=1e12)]


class DevicesSection(Section):
    """[devices]: the simulated hardware of the clients, and when it is available.

    profile: one of `fedmpi list devices`. A FILE.csv is in the folder of the configuration or in
    the folder where the command is started. Its rows become `tiers`, so a resumed run does not
    need the file.
    availability: probability that a client can be selected in a round.
    dropout: probability that a selected client receives its message and is then lost.
    trace: "nights" (night_h hours from night_starts_h o'clock, both drawn with the deviation
    night_spread_h), "on-off" (present for on_s seconds and absent for off_s seconds on average),
    or a FILE.json or FILE.csv. An absent client is not selected; a client that leaves is lost.
    time_zones: hours ahead of UTC, assigned to the clients in turn.
    bandwidth: a FILE.csv of link speeds over time.
    jitter: deviation of the logarithm of a factor on rates and latency, drawn for each round.
    cell_mbit_s: capacity that the uploads of cell_clients neighbours share; only for mode "sync".
    policy: which clients get less than a whole round's work. "fixed": none; "speed": in proportion
    to gflop_s; "fit-deadline": as much as the profile can do before schedule.deadline_s;
    "fit-memory": as much as fits memory_mb.
    knob: what is reduced: a key of the method, or the number of local steps.
    memory_mb: memory that a plan may need.
    power_w: power while the device computes; idle_w: while it receives or sends; joule_per_mb:
    energy of a megabyte received or sent.
    carbon_g_per_kwh: a number, or a FILE.csv over time.
    recorded, links, intensity: contents of these files, filled in by fedmpi.
    """

    profile: Name = "uniform"
    gflop_s: Speed = 10.0
    availability: Share = 1.0
    dropout: Unit = 0.0
    tiers: tuple[Tier, ...] | None = None
    trace: Name | None = None
    time_zones: tuple[Zone, ...] = ()
    night_starts_h: Zone = 22.0
    night_h: Annotated[float, Field(gt=0, le=12)] = 7.0
    night_spread_h: Annotated[float, Field(ge=0, le=6)] = 1.5
    on_s: Spell = 3600.0
    off_s: Spell = 3600.0
    bandwidth: Name | None = None
    jitter: Annotated[float, Field(ge=0, le=3)] = 0.0
    cell_clients: Positive = 100
    cell_mbit_s: Speed | None = None
    policy: Literal["fixed", "speed", "fit-deadline", "fit-memory"] = "fixed"
    knob: Literal["method", "steps"] = "method"
    memory_mb: Rate | None = None
    power_w: Amount = 0.0
    idle_w: Amount = 0.0
    joule_per_mb: Amount = 0.0
    carbon_g_per_kwh: Amount | Name = 0.0
    recorded: Spells | None = None
    links: Links | None = None
    intensity: Intensity | None = None

    @field_validator("profile")
    @classmethod
    def _profile_is_known(cls, profile: str) -> str:
        if profile not in PROFILES and not profile.endswith(".csv"):
            known = ", ".join(repr(name) for name in PROFILES if not name.endswith(".csv"))
            raise ValueError(f"{profile!r} is unknown; use {known}, or the path of a .csv file")
        return profile

    @field_validator("trace")
    @classmethod
    def _trace_is_known(cls, trace: str | None) -> str | None:
        if trace and trace not in TRACES and not trace.endswith((".csv", ".json", ".txt")):
            known = ", ".join(map(repr, TRACES))
            raise ValueError(f"{trace!r} is unknown; use {known}, or the path of a .csv or .json")
        return trace

    @field_validator("recorded", "links", "intensity")
    @classmethod
    def _files_have_rows(cls, rows: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if rows == ():
            raise ValueError("has no row; leave it out, and fedmpi reads the file")
        return rows

    @field_validator("recorded")
    @classmethod
    def _spells_are_in_order(cls, rows: Spells | None) -> Spells | None:
        for number, row in enumerate(rows or ()):
            seconds = (0.0, *row[1:], *row[:1])  # the first is the length of the record
            in_order = all(before <= after for before, after in pairwise(seconds))
            if len(row) % 2 == 0 or not 0 < row[0] < math.inf or not in_order:
                raise ValueError(f"row {number} must be length, start, stop, start, stop, ... with "
                                 "0 <= start <= stop <= length")
        return rows

    @field_validator("links", "intensity")
    @classmethod
    def _series_are_sorted(cls, rows: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if rows is not None and list(rows) != sorted(rows):
            raise ValueError("rows must be sorted, by client and second")
        return rows

    @property
    def files(self) -> dict[str, str]:
        """Names of the files that have not been read yet, by key."""
        named = {
            "profile": (self.from_file, self.tiers),
            "trace": (self.trace not in (None, *TRACES), self.recorded),
            "bandwidth": (self.bandwidth is not None, self.links),
            "carbon_g_per_kwh": (isinstance(self.carbon_g_per_kwh, str), self.intensity),
        }
        wanted = [key for key, (is_file, held) in named.items() if is_file and held is None]
        return {key: getattr(self, key) for key in wanted}

    @property
    def from_file(self) -> bool:
        """True if the devices are, or were, read from a file."""
        return self.profile.endswith(".csv")

    @model_validator(mode="after")
    def _tiers_fit(self) -> "DevicesSection":
        if self.tiers is not None and self.profile != "tiers" and not self.from_file:
            raise ValueError(f"tiers are given but profile = {self.profile!r}; use 'tiers'")
        if self.tiers is not None and not self.tiers:
            raise ValueError("tiers is empty; name at least one tier or leave it out")
        return self


class ScheduleSection(Section):
    """[schedule]: the clients that the server asks, and the end of a round.

    "sync" waits for all clients. "deadline" waits at most deadline_s virtual seconds; later
    reports are lost. over_select: factor on the number of clients in [clients], rounded up.
    "async": the number of clients in [clients] are at work at any time. The server takes a step,
    which ends a round, after buffer_size reports (default: 10, or all clients at work if fewer).
    A report that began s steps ago has the weight 1 / (1 + s)^staleness_power. A client that began
    more than max_staleness steps ago is stopped.
    """

    mode: Literal["sync", "deadline", "async"] = "sync"
    deadline_s: Annotated[float, Field(gt=0, le=1e12)] | None = None
    over_select: Annotated[float, Field(ge=1, le=1000)] = 1.0
    buffer_size: Positive | None = None
    max_staleness: Annotated[int, Field(ge=0)] | None = None
    staleness_power: NotNegative = 0.5

    @model_validator(mode="after")
    def _keys_fit_the_mode(self) -> "ScheduleSection":
        if self.mode == "deadline" and self.deadline_s is None:
            raise ValueError("mode = 'deadline' needs deadline_s; give it, in virtual seconds")
        only = {"deadline_s": "deadline", "over_select": "deadline"} | dict.fromkeys(
            ("buffer_size", "max_staleness", "staleness_power"), "async"
        )
        for key, mode in only.items():
            value, usual = getattr(self, key), type(self).model_fields[key].default
            with_sync = key == "over_select" and self.mode == "sync"
            if value != usual and self.mode != mode and not with_sync:
                raise ValueError(
                    f"{key} = {value:g} does not apply to mode = {self.mode!r}; "
                    f"use {mode!r}, or remove it"
                )
        return self
