"""How much of a method's work a device gets: the value of its knob, such as a ratio or a width.

A knob has `values`, ascending, of which a larger one means more work, bytes and memory. Each
policy returns one of them for one client.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedmpi.errors import ConfigError
from fedmpi.world.clock import spans
from fedmpi.world.conditions import Conditions


@dataclass(frozen=True)
class RoundCost:
    """What a value of the knob costs a client: a whole round of it."""

    bytes_down: int
    bytes_up: int
    flops: float
    memory_mb: float


CostOf = Callable[[float], RoundCost]
Policy = Callable[[Sequence[float], Conditions, int, CostOf], float]


def fixed(values: Sequence[float], conditions: Conditions, client: int, cost_of: CostOf) -> float:
    """Return the largest value, whatever the device."""
    return values[-1]


def speed(values: Sequence[float], conditions: Conditions, client: int, cost_of: CostOf) -> float:
    """Return the largest value of at most the device's speed relative to the fastest device.

    As FedSkel sets its ratios (Luo et al., 2021); the smallest value if the device is slower.
    Counts, such as steps, are compared as shares of the largest.
    """
    limit = conditions.devices.speed[client] * max(values[-1], 1.0)
    return max((value for value in values if value <= limit), default=values[0])


def fit_deadline(
    values: Sequence[float], conditions: Conditions, client: int, cost_of: CostOf
) -> float:
    """Return the largest value whose report is in time: by the deadline.

    Traces, jitter and bandwidth over time do not count. If no value is in time, it is the smallest:
    the client will be late, as the result file says.
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
    """Return the largest value that the device's memory holds.

    Raises ConfigError if not even the smallest fits.
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
    """Return the largest of ascending `values` that fits, by halving; None if none does.

    Relies on costs that grow with the value: what is below a value that fits, fits.
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
