"""Predicted costs of a client's Plan: bytes, floating-point operations and memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedmpi import flops, returned
from fedmpi.arrays import Reals
from fedmpi.config import Config
from fedmpi.layout import Support
from fedmpi.learn.engine import Engine
from fedmpi.plan import Plan
from fedmpi.round.messages import KEPT, Messages
from fedmpi.round.predicted_bytes import weights_up
from fedmpi.stages import Stage
from fedmpi.world.clock import spans
from fedmpi.world.conditions import Conditions
from fedmpi.world.devices import Devices
from fedmpi.world.memory import check_memory, needed_mb
from fedmpi.world.policies import POLICIES, RoundCost
from fedmpi.world.schedule import schedule_of


@dataclass(frozen=True, eq=False)
class Costs:
    """Predict the cost of Plans for the clients of a run, on their devices."""

    config: Config
    engine: Engine
    devices: Devices
    stages: Sequence[Stage]

    def of(self, plan: Plan, client: int) -> RoundCost:
        """Return the RoundCost of a client's round by its Plan."""
        work = self.flops(plan, client, self.samples(plan, client), self.probed(plan, client))
        down = sum(part.bytes.total for part in self._messages.down(plan))
        up = self._up(plan)
        return RoundCost(down, up, work, self._memory_mb(plan))

    def messages(self) -> Messages:
        """Return a new Messages with this run's settings."""
        more_down = [stage.more_down for stage in self.stages]
        for stage, found in zip(self.stages, more_down, strict=True):
            returned.whole(found, stage, "more_down")
        return Messages(self.config.network.value_type, sum(more_down))

    def flops(self, plan: Plan, client: int, seen: int, probed: int = 0) -> float:
        """Return the FLOPs of a client's training by its Plan, on `seen` and `probed` samples."""
        part, engine = plan.submodel, self.engine
        if part is not None:
            mask, update = engine.part_of(part, plan.mask), engine.part_of(part, plan.update)
            plan = replace(plan, mask=mask, update=update)
        first = min(engine.data.local.batch_size, self._size(client))
        return float(flops.of_plan(engine.layout_of(part), plan, seen, probed, first).sum())

    def samples(self, plan: Plan, client: int) -> int:
        """Return the number of samples that a client trains on by its Plan, with repetitions."""
        local, size, steps = self.engine.data.local, self._size(client), plan.steps
        return int(local.samples_of(size) if steps is None else local.samples_in(size, steps))

    def probed(self, plan: Plan, client: int) -> int:
        """Return the per-sample gradients that a client's statistics take, besides training."""
        size = self._size(client)
        batches = min(size, plan.probes * self.engine.data.local.batch_size)
        gradients = {"gradient": batches, "curvature": 2 * batches, "columns": size}
        return sum(gradients.get(name, 0) for name in plan.statistics)

    def steps(self, client: int) -> int:
        """Return the number of optimiser steps in a client's whole round."""
        return int(self.engine.data.local.steps_of(self._size(client)))

    def _size(self, client: int) -> int:
        """Return the number of samples of a client."""
        return int(self.engine.data.partition.sizes[client])

    @cached_property
    def seconds(self) -> Reals:
        """float64[K]: virtual seconds that each client takes for a round of the whole model."""
        local, sizes = self.engine.data.local, self.engine.data.partition.sizes
        whole = Support.all(self.engine.layout)
        plan, every = Plan(down=whole, up=whole), np.arange(len(sizes))
        down = sum(part.bytes.total for part in self._messages.down(plan))
        work = local.samples_of(sizes) * float(flops.count(self.engine.layout).sum())
        total: Reals = spans(self.devices, every, down, self._up(plan), work).total
        return total

    def seconds_of(self, client: int, plan: Plan) -> float:
        """Return the virtual seconds of a client's round by its Plan, without random variation."""
        cost = self.of(plan, client)
        work = (cost.bytes_down, cost.bytes_up, cost.flops)
        return float(spans(self.devices, client, *work).total)

    def check_memory(self, plan: Plan, client: int) -> None:
        """Raise ConfigError if a client's device cannot hold what its Plan trains."""
        if self.devices.has_limits:
            check_memory(self.devices, client, self._memory_mb(plan))

    def _memory_mb(self, plan: Plan) -> float:
        """Return the memory in MB that a device needs to train a Plan's network."""
        optimizer, batch_size = self.config.optimizer, self.engine.data.local.batch_size
        moments = 2 if optimizer.name == "adam" else int(optimizer.momentum > 0)
        return needed_mb(self.engine.layout_of(plan.submodel), batch_size, moments)

    @cached_property
    def _conditions(self) -> Conditions:
        """Conditions as the server knows them: device profiles without a round's variation."""
        return Conditions(self.devices, schedule_of(self.config.schedule), 0.0)

    @cached_property
    def _messages(self) -> Messages:
        """The Messages that give the sizes of plans."""
        return self.messages()

    @cached_property
    def _sizes(self) -> dict[tuple[object, ...], int]:
        """Cached results of `_up`, keyed by the supports of a Plan."""
        return {}

    def _up(self, plan: Plan) -> int:
        """Return the bytes of the weights that a Plan sends, after the stages."""
        key = plan.up.level, plan.up.digest, plan.down.level, plan.down.digest
        if key not in self._sizes:
            if len(self._sizes) >= KEPT:
                self._sizes.clear()
            seed, state = self.config.run.seed, {"weights": self.engine.initial_weights}
            self._sizes[key] = weights_up(self.stages, self._messages, seed, state, plan)
        return self._sizes[key]

    def fit(
        self, values: Sequence[float], client: int, plan_of: Callable[[float], Plan],
        bytes_up: int | None = None,
    ) -> float:
        """Return the one of the ascending `values` that [devices] policy chooses for a client.

        `plan_of` gives the Plan for a value; a larger value costs more. With equal plans the choice
        depends on the client only, so all ranks and rounds agree. `bytes_up` is the number of bytes
        sent whatever the value, or None if it follows from the Plan.
        """

        def cost_of(value: float) -> RoundCost:
            """Return the RoundCost of a value for this client."""
            cost = self.of(plan_of(value), client)
            return cost if bytes_up is None else replace(cost, bytes_up=bytes_up)

        policy = POLICIES[self.config.devices.policy]
        return policy(values, self._conditions, client, cost_of)
