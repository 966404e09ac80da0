"""Policies that adapt a method's work to a device, by the value of a knob such as a width.

A knob has ascending `values`. A larger value means more work, bytes and memory. Each policy
chooses one of the values for one client.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedmpi.errors import ConfigError
from fedmpi.world.clock import spans
from fedmpi.world.conditions import Conditions


@dataclass(frozen=True)
class RoundCost:
    """Cost of a client's whole round with one value of the knob."""

    bytes_down: int
    bytes_up: int
    flops: float
    memory_mb: float


CostOf = Callable[[float], RoundCost]
Policy = Callable[[Sequence[float], Conditions, int, CostOf], float]


def fixed(values: Sequence[float], conditions: Conditions, client: int, cost_of: CostOf) -> float:
    """Return the largest value, for every device."""
    return values[-1]


def speed(values: Sequence[float], conditions: Conditions, client: int, cost_of: CostOf) -> float:
    """Return the largest value that is at most the device's speed relative to the fastest device.

    FedSkel sets its ratios in this way (Luo et al., 2021). A device slower than all values gets the
    smallest. Counts, such as steps, are compared as fractions of the largest count.
    """
    limit = conditions.devices.speed[client] * max(values[-1], 1.0)
    return max((value for value in values if value <= limit), default=values[0])


def fit_deadline(
    values: Sequence[float], conditions: Conditions, client: int, cost_of: CostOf
) -> float:
    """Return the largest value with which the client's report comes by the deadline.

    Traces, jitter and varying bandwidth are ignored. If no value is in time, the smallest is
    returned; the client will be late, and the result file records it as late.
    """
    schedule = conditions.for_each(client)

    def in_time(value: float) -> bool:
        cost = cost_of(value)
        work = (cost.bytes_down, cost.bytes_up, cost.flops)
        return not bool(schedule.late(spans(conditions.devices, client, *work)))

    found = largest(values, in_time)
    return values[0] if found is None else found


def fit_memory(
    values: Sequence[float], conditions: Conditions, client: int, cost_of: CostOf
) -> float:
    """Return the largest value for which the training fits the device's memory.

    Raises ConfigError if not even the smallest value fits.
    """
    there = conditions.devices.memory_mb[client]
    found = largest(values, lambda value: cost_of(value).memory_mb <= there)
    if found is None:
        raise ConfigError(
            f"client {client}: training takes {cost_of(values[0]).memory_mb:.4g} MB of memory at "
            f"least, and devices.memory_mb is {there:.4g}; use a smaller model, or more memory"
        )
    return found


def largest(values: Sequence[float], fits: Callable[[float], bool]) -> float | None:
    """Return the largest of the ascending `values` that fits, or None, by binary search.

    This relies on costs that grow with the value: every value below one that fits, fits too.
    """
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fits(values[middle]) else (low, middle)
    return values[low - 1] if low else None


POLICIES: dict[str, Policy] = {
    "fixed": fixed,
    "speed": speed,
    "fit-deadline": fit_deadline,
    "fit-memory": fit_memory,
}
