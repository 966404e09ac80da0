"""Sections of a configuration: the clients' simulated devices, and whom the server waits for."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fedmpi.section import Name, NotNegative, Positive, Rate, Section, Share, Unit


class Tier(Section):
    """[[devices.tiers]]: one kind of device, and the share of clients that have it.

    availability and dropout are those of [devices] where a tier has none of its own.
    """

    name: Name
    share: Share
    gflop_s: Rate
    up_mbit_s: Rate
    down_mbit_s: Rate
    latency_s: NotNegative = 0.05
    availability: Share | None = None
    dropout: Unit | None = None


PROFILES = {
    "uniform": "every client has the same device: [devices] gflop_s and the links of [network]",
    "tiers": "clients are dealt over named tiers: [[devices.tiers]], or slow, middle and fast",
    "mobile": "every client has a phone and a link of its own, drawn from log-normal populations",
    "FILE.csv": "one device in each row: gflop_s, up_mbit_s, down_mbit_s, latency_s, and if wanted "
    "name, availability, dropout; rows are dealt to the clients in a drawn order",
}


class Devices(Section):
    """[devices]: the simulated hardware of the clients, and whether it is there.

    profile: one of `fedmpi list devices`; a FILE.csv lies in the configuration's folder or where
    the command is started, and its rows become `tiers`, so that a run that goes on needs no file.
    availability: the probability that a client can be selected in a round. dropout: that one that
    was selected gets its message, and is then lost with all that it did.
    """

    profile: Name = "uniform"
    gflop_s: Rate = 10.0
    availability: Share = 1.0
    dropout: Unit = 0.0
    tiers: tuple[Tier, ...] | None = None

    @field_validator("profile")
    @classmethod
    def _profile_is_known(cls, profile):
        if profile not in PROFILES and not profile.endswith(".csv"):
            known = ", ".join(repr(name) for name in PROFILES if not name.endswith(".csv"))
            raise ValueError(f"{profile!r} is unknown; use {known}, or the path of a .csv file")
        return profile

    @property
    def from_file(self):
        """True if the devices are, or were, read from a file."""
        return self.profile.endswith(".csv")

    @model_validator(mode="after")
    def _tiers_fit(self):
        if self.tiers is not None and self.profile != "tiers" and not self.from_file:
            raise ValueError(f"tiers are given but profile = {self.profile!r}; use 'tiers'")
        if self.tiers is not None and not self.tiers:
            raise ValueError("tiers is empty; name at least one tier or leave it out")
        return self


class Schedule(Section):
    """[schedule]: whom the server asks, and when it goes on.

    "sync" waits for all, "deadline" for deadline_s virtual seconds at most; what comes later is
    lost. over_select: how many times as many clients are asked as [clients] says, rounded up.
    "async": as many clients as [clients] says are at work at any time, and the server steps, which
    ends a round, with buffer_size reports (default: 10, or all at work if they are fewer). One of s
    steps ago counts 1 / (1 + s)^staleness_power, and beyond max_staleness it is called off.
    """

    mode: Literal["sync", "deadline", "async"] = "sync"
    deadline_s: Rate | None = None
    over_select: Annotated[float, Field(ge=1, le=1000)] = 1.0
    buffer_size: Positive | None = None
    max_staleness: Annotated[int, Field(ge=0)] | None = None
    staleness_power: NotNegative = 0.5

    @model_validator(mode="after")
    def _keys_fit_the_mode(self):
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
                    f"{key} = {value:g} has no meaning for mode = {self.mode!r}; "
                    f"use {mode!r}, or remove it"
                )
        return self
