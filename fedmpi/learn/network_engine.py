"""The common base of the engines that compute with the networks of a torch model."""

from collections.abc import Callable, Mapping
from functools import cached_property

from fedmpi.arrays import AnyArray, Reals, Vector
from fedmpi.errors import ConfigError
from fedmpi.layout import Layout
from fedmpi.learn.draws import Draws
from fedmpi.learn.engine import ClientData, Engine, nothing
from fedmpi.learn.losses import KINDS, loss_of
from fedmpi.learn.networks import Networks
from fedmpi.plan import Plan, Submodel


class NetworkEngine(Engine):
    """An engine that computes with Networks.

    Parameters
    ----------
    networks : Networks
        The networks of the run's model, with the backends that the subclass needs.
    data, on_step
        As for every Engine.
    """

    def __init__(
        self, networks: Networks, data: ClientData, on_step: Callable[[], None] = nothing
    ) -> None:
        super().__init__(data, on_step)
        self.networks = networks

    @property
    def layout(self) -> Layout:
        return self.networks.whole.layout

    @property
    def initial_weights(self) -> Vector:
        return self.networks.whole.first

    @property
    def constants(self) -> Mapping[str, AnyArray]:
        return self.networks.constants

    def layout_of(self, submodel: Submodel | None) -> Layout:
        return self.networks.of(submodel).layout

    def part_of(self, submodel: Submodel | None, values: AnyArray | None) -> AnyArray | None:
        return self.networks.of(submodel).part_of(values)

    def check(self, plan: Plan) -> None:
        super().check(plan)
        self._check_error(plan)
        why = "columns" in plan.statistics and self.networks.of(plan.submodel).backend.no_columns
        if why:
            raise ConfigError(
                f"model: {why}, so the relevance of what it reads (statistic 'columns') cannot be "
                "measured; use linear layers and convolutions with groups = 1, all of them "
                "trained, such as mlp or lenet5"
            )

    def _check_error(self, plan: Plan) -> None:
        """Raise ConfigError if a plan's own error compares outputs with targets of another kind."""
        loss = self.data.loss
        wanted, given = (loss_of(name).target for name in (plan.error or loss, loss))
        if wanted != given:
            raise ConfigError(
                f"algorithm: clients would minimise {plan.error!r}, which compares outputs with "
                f"{KINDS[wanted]}, but model.loss = {loss!r} is for data with {KINDS[given]}; take "
                f"data with {KINDS[wanted]}, or a method that minimises model.loss, such as fedavg"
            )

    def block_statistics(self, weights: Vector, x: AnyArray, block: int) -> Vector:
        return self._statistics(weights, x, Draws(self.data.seed, 0, block, "statistics"))

    @cached_property
    def _statistics(self) -> Callable[[Vector, AnyArray, Draws], Vector]:
        from fedmpi.learn.static_norm import statistics_of  # needs torch

        return statistics_of(self.networks.module(), self.layout)

    def flow(self, weights: Vector) -> Reals:
        return self._flow(weights)

    @cached_property
    def _flow(self) -> Callable[[Vector], Reals]:
        from fedmpi.learn.flow import flow_of  # needs torch

        return flow_of(self.networks.module(), self.layout, self.networks.sample)
