"""The contract between methods and the round loop, as checks that run a small experiment.

The tests of the built-in methods run the same checks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fedmpi import planned, returned, user_code
from fedmpi.arrays import State
from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.exchange import Job
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import read, resolve
from fedmpi.experiment.stop import NoSignals
from fedmpi.layout import Support
from fedmpi.round.cohort import Cohort
from fedmpi.round.fixed import Experiment
from fedmpi.round.loop import Simulation
from fedmpi.round.memories import pack, unpack
from fedmpi.round.synchronous import Synchronous
from fedmpi.round.visit import add_arrival, visits

Make: TypeAlias = Callable[[], Experiment]
"""Makes an Experiment of the method."""
Group: TypeAlias = list[tuple[int, float]]
"""The clients of a rank in the order of their visits, and their shares."""

ROUNDS = 4  # the most rounds that a check runs

SMALL = """
[run]
seed = 3
rounds = 4
engine = "torch"
[data]
name = "digits"
partition = "dirichlet"
alpha = 0.5
[clients]
number = 12
per_round = 5
local_steps = 3
batch_size = 8
"""


def faults(
    method: type | str, config: str | PathLike[str] | None = None, overrides: Sequence[str] = (),
    root_of: Callable[[str | None], Path | None] = lambda named: None,
) -> Iterator[tuple[str, str]]:
    """Yield (check, fault) for each check of a method, "" for no fault; one pair if it cannot run.

    `method` is a name for [algorithm], or a class; `config` the path of an experiment to run it
    in, by default a small one; `root_of` gives the folder of the data sets, given [data] root.
    Raises ConfigError for a method or an experiment that cannot be built.
    """
    name = method if isinstance(method, str) else user_code.name_of(method)
    words = [f"algorithm.name={name}", *overrides]
    found = read(config, words) if config else resolve(SMALL, "the experiment of the check", words)
    found = found.with_run(rounds=max(found.config.run.rounds, ROUNDS))

    def make() -> Experiment:
        """Return a new Experiment of the method."""
        return assemble(found, Serial(), root_of(found.config.data.root))

    for check in CHECKS:
        what = (check.__doc__ or "").partition("\n")[0].rstrip(".")
        raised = True
        try:
            fault, raised = check(make), False
        except KeyboardInterrupt:
            raise
        except FedmpiError as error:
            fault = str(error)
        except BaseException as error:  # users' code may raise anything, and exit
            fault = user_code.in_words(error)
        yield what, fault
        if raised and check is runs_three_rounds:
            return  # the other checks need an experiment that runs


def runs_three_rounds(make: Make) -> str:
    """Three rounds have finite losses, and the method returns arrays of the right shapes.

    A round without a step, which only measures, has no loss.
    """
    run = Simulation(make(), Serial(), NoSignals())
    for found in filter(None, [run.round() for _ in range(3)]):
        row = found.columns
        if found.clients["steps"].any() and not np.isfinite(row["train_loss"]):
            return f"the training loss of round {row['round']} is {row['train_loss']}"
        if not row["clients_completed"]:
            return f"no client completed round {row['round']}"
    return ""


def plans_are_functions(make: Make) -> str:
    """A plan depends only on the state, the round and the client, and leaves the state as it is."""
    made = make()
    state = made.algorithm.start(made.weights)
    before = copied(state)
    first, last = int(made.holders[0]), int(made.holders[-1])
    one = made.algorithm.plan(state, 2, last)
    planned.check(one, made.layout, made.algorithm, made.dataset.classes)
    made.algorithm.plan(state, 3, first)
    other = made.algorithm.plan(state, 2, last)
    for field in fields(one):
        if not equal(getattr(one, field.name), getattr(other, field.name)):
            return (f"plan(state, 2, {last}) returned a different {field.name} in a second call; "
                    "draw from self.rng_for(purpose, round, client) and keep nothing between calls")
    changed = [key for key, array in before.items() if not np.array_equal(state[key], array)]
    return f"plan changed {', '.join(changed)} of the state; copy it first" if changed else ""


def ranks_do_not_matter(make: Make) -> str:
    """The sums have the same bits however a round's clients are ordered and split over ranks."""
    alone, split = run_rounds(make(), whole), run_rounds(make(), dealt)
    return differing(alone, split, "the clients' reports are added in different groups and order; "
                     "add reports to `sums` only, and draw from self.rng_for")


def a_fresh_instance_goes_on(make: Make) -> str:
    """A run that is killed and resumed ends with the same bits, so the object keeps nothing."""
    whole_run, first, second = make(), make(), make()
    unbroken = run_rounds(whole_run, whole, rounds=ROUNDS)
    state = run_rounds(first, whole, rounds=2)
    for client in first.memories.clients():
        second.memories.prepare(client, unpack(pack(first.memories[client])))
    second.memories.commit()
    state = copied(state)
    resumed = run_rounds(second, whole, rounds=ROUNDS, first=2, state=state)
    return differing(unbroken, resumed, "a new object continues after round 2; keep values that "
                     "later rounds need in the state, or with a client by `remember`, or in the "
                     "memory that a stage returns")


def what_is_given_stays(make: Make) -> str:
    """A round changes no array of the state or of a client's memory in place.

    In asynchronous mode clients still train from earlier states, and the new memory of a client
    that is late or rejected must be discarded.
    """
    made = make()
    state = made.algorithm.start(made.weights)
    given: list[tuple[State, State]] = []

    def handed(cohort: Cohort) -> list[Group]:
        memories = [made.memories[client] for client in cohort.clients.tolist()]
        given.extend((arrays, copied(arrays)) for arrays in memories)
        return whole(cohort)

    for round in range(ROUNDS):
        given.append((state, copied(state)))
        state = run_rounds(made, handed, rounds=round + 1, first=round, state=state)
        changed = {key for now, before in given for key, array in before.items()
                   if not np.array_equal(now[key], array, equal_nan=array.dtype.kind == "f")}
        if changed:
            return (f"round {round} changed {', '.join(sorted(changed))} in place; return new "
                    "arrays")
    return ""


def an_empty_round_changes_nothing(make: Make) -> str:
    """A round without reports keeps the weights, unless the class says `prunes = True`."""
    made = make()
    state = made.algorithm.start(made.weights)
    before = state["weights"].copy()
    after = made.algorithm.step(state, made.algorithm.zero(), 1)["weights"]
    if not made.algorithm.prunes and not np.array_equal(before, after):
        return "step changed the weights although no client reported"
    return ""


CHECKS = (runs_three_rounds, plans_are_functions, what_is_given_stays, ranks_do_not_matter,
          a_fresh_instance_goes_on, an_empty_round_changes_nothing)


def run_rounds(
    made: Experiment, groups_of: Callable[[Cohort], list[Group]], rounds: int = 3, first: int = 0,
    state: State | None = None,
) -> State:
    """Run rounds of an Experiment, with each cohort split as over ranks; return the last state.

    `groups_of` returns for a Cohort the list of (client, share) of each rank, in order.
    """
    algorithm, store = made.algorithm, made.memories
    server = made.server()
    state = algorithm.start(made.weights) if state is None else state
    for round in range(first, rounds):
        totals, cohort = algorithm.zero(), Synchronous(made).cohort(state, round, 0.0)
        for group in groups_of(cohort):
            sums = algorithm.zero()
            jobs = [Job(client, round, state, algorithm.plan(state, round, client), share)
                    for client, share in group]
            for done in visits(server, made.engine, jobs):
                if done.arrival is not None:
                    done = add_arrival(algorithm, sums, done, done.arrival)
                if done.reason:
                    raise FedmpiError(f"client {done.job.client} is rejected: {done.reason}")
                for stage in made.stages:
                    stage.seal(sums, round, done.job.client, cohort.clients)
                if done.memory is not None:
                    store.prepare(done.job.client, unpack(pack(done.memory)))
            for key, total in sums.items():
                totals[key].join(total)
        store.commit()
        for stage in made.stages[::-1]:
            stage.unseal(totals, round, cohort.clients, cohort.clients)
        for stage in made.stages:
            stage.server(totals, round, cohort.shares)
        state = algorithm.step(state, totals, round)
        returned.state(state, made.layout, algorithm, "step")
    return state


def copied(arrays: State) -> State:
    """Return a copy of a state or a memory, with copies of its arrays."""
    return {key: array.copy() for key, array in arrays.items()}


def whole(cohort: Cohort) -> list[Group]:
    """Return the cohort as the clients of a single rank."""
    return [list(zip(cohort.clients.tolist(), cohort.shares.tolist(), strict=True))]


def dealt(cohort: Cohort) -> list[Group]:
    """Return the cohort over four ranks, one of them without clients, and out of order."""
    (everyone,) = whole(cohort)
    return [everyone[3:], everyone[:1], [], everyone[1:3][::-1]]


def differing(one: State, other: State, when: str) -> str:
    """Return "" for equal states, else a text with the names of the arrays that differ."""
    if one.keys() != other.keys():
        return f"the state has different arrays when {when}"
    names = [key for key in one if not np.array_equal(one[key], other[key], equal_nan=True)]
    return f"{', '.join(names)} differ when {when}" if names else ""


def equal(one: Any, other: Any) -> bool:
    """Return whether two values of a plan are equal, arrays and nested values included."""
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, Support):
        return bool(one == other)
    if hasattr(one, "__dataclass_fields__"):
        return all(equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)
