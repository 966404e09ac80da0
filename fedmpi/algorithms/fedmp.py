"""FedMP: a bandit finds how narrow each client's network should be, from its loss and its time.

Jiang, Xu, Xu, Wang, Qiao and Zhao, "FedMP: Federated Learning Through Adaptive Model Pruning in
Heterogeneous Edge Computing", ICDE 2022. Written from the abstract and otherwise from memory; no
code of its authors was found. A client of ratio a holds the share 1 - a of the rows of each layer
but the last, those of largest L1 norm in the model received, and the weights that read them. The
server completes each client's part with the old values of the weights that the client lacked, and
averages (residual recovery, R2SP). The ratio is the arm of a discounted UCB bandit (Garivier and
Moulines, ALT 2011) with the largest mean reward plus sqrt(2 log n / n_a), n the discounted pulls.
Each arm is first pulled once, in an order drawn for each client. The reward is the decrease of the
client's loss since its last round, divided by the distance of its virtual time from the mean of
the last round, |T / mean - 1| + `margin`.

Deviations: the arms are `ratios`, where the paper divides the range of ratios by a tree; times are
those that the cost model predicts for a Plan; each client keeps its own bandit, where the paper's
server does, and sends its time; the mean time sent back to it is not counted in bytes.
"""

import numpy as np
from pydantic import Field, field_validator

from fedmpi.algorithm import Algorithm, Narrowing
from fedmpi.arrays import Memory, Reals, State, Vector
from fedmpi.exchange import Arrival, Job, Part, Parts, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan, Submodel
from fedmpi.section import Rate, Section, Unit
from fedmpi.sparsity import largest
from fedmpi.totals import Sums
from fedmpi.units import count_of, narrowed


class FedMP(Algorithm, name="fedmp"):
    """Widths by bandit; ratios = [0.0] is FedAvg."""

    level = "coordinate"
    fill = "old"
    summed = ("seconds",)
    remembers = True

    class Keys(Section):
        """The [algorithm] keys of FedMP."""

        ratios: tuple[Unit, ...] = (0.0, 0.2, 0.4, 0.6, 0.8)  # shares of the rows that are left out
        discount: float = Field(0.98, gt=0, le=1)  # factor on a client's older rewards each round
        margin: Rate = 0.05  # added to the distance between times

        @field_validator("ratios")
        @classmethod
        def _some(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
            if not ratios or len(set(ratios)) < len(ratios):
                raise ValueError(f"ratios = {list(ratios)}: name at least one, each once")
            return ratios

    @property
    def narrows(self) -> Narrowing:
        """Says that each layer loses rows of its own, if any ratio leaves out rows."""
        return "apart" if any(self.keys.ratios) else ""

    def start(self, weights: Vector) -> State:
        """Return the weights, and the mean time of a round, 0 before the first."""
        return {"weights": weights, "seconds": np.zeros(1)}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the largest rows both ways, as many as the bandit chooses."""
        ratio = self.keys.ratios[self.arm_of(client)]
        if ratio == 0:
            whole = Support.all(self.layout)
            return Plan(down=whole, up=whole)
        *layers, last = self.layout.layers
        rows = []
        for layer, tensors in zip(layers, self.layout.layer_tensors, strict=False):
            tensor = self.layout.tensors[tensors[0]]
            block = state["weights"][tensor.block]
            norms = np.abs(block, dtype=np.float64).reshape(tensor.rows, -1).sum(1)
            rows.append(largest(norms, count_of(1 - ratio, layer.rows)) != 0)
        rows.append(np.ones(last.rows, bool))
        held = Support(self.layout, "coordinate", narrowed(self.layout, rows))
        part = Submodel.of_rows(rows)
        return Plan(down=held, up=held, submodel=part)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the rows, and the time of the round in the first coordinate."""
        seconds, keep = np.zeros(self.layout.size, np.float32), np.zeros(self.layout.size, np.uint8)
        seconds[0], keep[0] = self.setting.seconds(job.client, job.plan), 1
        return super().message(job, report) | {
            "seconds": Part(seconds, Support(self.layout, "coordinate", keep))
        }

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Return the discounted pulls and rewards of the arms, and the loss."""
        pulls, rewards, loss = self._bandit(report.client)
        arm, mean = self.arm_of(report.client), job.state["seconds"][0]
        away = abs(message["seconds"].values[0] / mean - 1) if mean else 1.0
        reward = (loss - report.loss) / (away + self.keys.margin) if np.isfinite(loss) else 0.0
        one = np.arange(len(pulls)) == arm
        return {
            "pulls": self.keys.discount * pulls + one,
            "rewards": self.keys.discount * rewards + reward * one,
            "loss": np.array([report.loss]),
        }

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average the clients' parts, completed with the old weights, and their times."""
        weights = sums["weights"].mean(state["weights"])
        if not sums["seconds"].all:
            return state
        seconds = sums["seconds"].mean(np.zeros_like(weights))[:1]
        return {**state, "weights": weights, "seconds": seconds.astype(np.float64)}

    def arm_of(self, client: int) -> int:
        """Return which of the ratios a client takes next."""
        pulls, rewards, _ = self._bandit(client)
        order = self.rng_for("fedmp", 0, client).permutation(len(pulls))
        for arm in order[pulls[order] == 0]:
            return int(arm)
        explored = np.sqrt(2 * np.log(max(pulls.sum(), 1)) / pulls)
        return int((rewards / pulls + explored).argmax())

    def _bandit(self, client: int) -> tuple[Reals, Reals, float]:
        """Return a client's pulls and rewards float64[arms], and its last loss, NaN at first."""
        kept, none = self.memory(client), np.zeros(len(self.keys.ratios))
        loss = kept["loss"][0] if kept else np.nan
        return kept.get("pulls", none), kept.get("rewards", none), loss
