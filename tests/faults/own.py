"""Methods with faults of their own, for tests: `[algorithm] name = "tests.faults.own:Nan"`."""

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

import fedmpi
from fedmpi.errors import ClientError
from fedmpi.exchange import Part
from fedmpi.plan import Plan


class Plain(fedmpi.Algorithm):
    """FedAvg."""

    def plan(self, state, round, client):
        everything = fedmpi.Support.all(self.layout)
        return Plan(down=everything, up=everything)


class Remembers(Plain):
    """Each client starts from the mean of the weights received and its last weights sent."""

    remembers = True

    def plan(self, state, round, client):
        memory = self.memory(client)
        start = (state["weights"] + memory["weights"]) / 2 if memory else None
        everything = fedmpi.Support.all(self.layout)
        return Plan(down=everything, up=everything, start=start, steps=1 + len(memory))

    def remember(self, job, report, message, arrival):
        return {"weights": report.weights, "visits": np.array(report.steps)}


class Counts(Plain):
    """Clients train for a step more each time."""

    seen = 0

    def plan(self, state, round, client):
        self.seen += 1
        return replace(super().plan(state, round, client), steps=self.seen)


class Draws(Plain):
    """The message of a client depends on numpy's global generator."""

    def message(self, job, report):
        report.weights[7] += np.random.random()  # noqa: NPY002
        return super().message(job, report)


class ByProcess(Plain):
    """The message of a client depends on the process that trains it."""

    def message(self, job, report):
        report.weights[7] = os.getpid() % 1000
        return super().message(job, report)


def chosen(round, client):
    """Return whether a client fails in a round, as a quarter of the clients do."""
    return (round + client) % 4 == 1


class Nan(Plain):
    """Some clients send a weight that is NaN, others a weight that is too large."""

    def message(self, job, report):
        if chosen(self.round, report.client):
            report.weights[7] = np.nan if report.client % 2 else 1e30
        return super().message(job, report)

    def plan(self, state, round, client):
        self.round = round
        return super().plan(state, round, client)


class Raises(Nan):
    """Some clients fail, in numpy or in the method itself."""

    def message(self, job, report):
        if chosen(self.round, report.client):
            if report.client % 2:
                np.linalg.inv(np.zeros((2, 2)))
            raise ClientError("my matrix has no inverse")
        return {"weights": Part(report.weights, job.plan.up)}


class AllFail(Nan):
    """From round 2 on, every client fails."""

    def message(self, job, report):
        if self.round >= 2:
            raise ClientError("nothing works any more")
        return {"weights": Part(report.weights, job.plan.up)}


class Hangs(Nan):
    """One client of round 5 finds the file `hang`, and is busy as long as it has its new name."""

    def message(self, job, report):
        if self.round == 5:
            with suppress(FileNotFoundError):
                Path("hang").rename("hanging")
                while Path("hanging").exists():
                    time.sleep(0.01)
        return {"weights": Part(report.weights, job.plan.up)}


ENDS = {
    "SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "MemoryError": MemoryError,
    "GeneratorExit": GeneratorExit, "KeyError": KeyError,
}  # fmt: skip


class Leaves(Plain):
    """In a round, on one rank or alone, a method raises what `how` names, or ends its process."""

    class Keys(fedmpi.Keys):
        how: str
        round: int = 2
        rank: int = 0
        place: str = "plan"

    remembers = True
    now = 0

    def plan(self, state, round, client):
        self.now = round
        self._leave("plan")
        return super().plan(state, round, client)

    def message(self, job, report):
        self._leave("message")
        return super().message(job, report)

    def remember(self, job, report, message, arrival):
        self._leave("remember")

    def add(self, sums, arrival):
        self._leave("add")
        super().add(sums, arrival)

    def step(self, state, sums, round):
        self._leave("step")
        return super().step(state, sums, round)

    def _leave(self, place):
        here = os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0"))
        at = place == self.keys.place and self.now == self.keys.round
        if at and int(here) == self.keys.rank:
            if self.keys.how == "_exit":
                os._exit(0)
            if ENDS[self.keys.how]:
                raise ENDS[self.keys.how](3)


class Breaks(Plain):
    """A fault of the program, on one client."""

    def message(self, job, report):
        if report.client % 3 == 1:
            raise KeyError("a key that nobody has")
        return super().message(job, report)


@fedmpi.dataset
def counted(root, step=1):
    """Two hundred points in two classes; another `step`, or the file `shifted`, gives others."""
    x = np.arange(200, dtype=np.float32)[:, None] * step % 7 - Path("shifted").exists()
    y = (x[:, 0] > 3).astype(np.int64)
    return fedmpi.Dataset.of("counted", "features", (x, y), (x, y), classes=2)


@fedmpi.model
def drawn_by_numpy(input_shape, classes):
    """Softmax regression whose weights come from numpy's global generator."""
    import torch

    module = torch.nn.Linear(input_shape[0], classes)
    with torch.no_grad():
        drawn = np.random.standard_normal((classes, input_shape[0]))  # noqa: NPY002
        module.weight.copy_(torch.from_numpy(drawn))
    return module


@fedmpi.model
def drawn_by_rank(input_shape, classes):
    """Softmax regression with other weights on each rank."""
    import torch

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))
    with torch.no_grad():
        here = os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0"))
        module[1].weight.fill_(float(here))
    return module


@fedmpi.dataset
def verses(root):
    """Sequences of five of 300 words, and the next."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 300, (60, 6))
    train, test = words[:40], words[40:]
    return fedmpi.Dataset.of("verses", "text", (train[:, :5], train[:, 5]),
                             (test[:, :5], test[:, 5]), 300)
