"""Rules of selection beside slow twins without arrays, and resumed in every round."""

import copy
from math import ceil, inf, log, log1p, sqrt

import numpy as np
import pytest

from fedmpi.rng import rng_for
from fedmpi.selectors import SELECTORS, World

CLIENTS, SEED = 30, 4


def history(rounds=60):
    """Yield (round, World, number, losses of clients): a world that is the same for twins."""
    rng = np.random.default_rng(8)
    seconds = rng.lognormal(0, 1, CLIENTS)
    for round in range(rounds):
        sizes = rng.integers(1, 60, CLIENTS) * (rng.random(CLIENTS) < 0.8)
        yield round, World(sizes, 9.0 * round, lambda: seconds), 6, rng.exponential(2.0, CLIENTS)


def rows_of(round, world, chosen, losses):
    """The rows of a round; every fifth client never has a loss, the others now and then."""
    names = [("client", "<i4"), ("round", "<i4"), ("samples", "<i8"), ("train_loss", "<f8")]
    rows = np.zeros(len(chosen), names)
    rows["client"], rows["round"], rows["samples"] = chosen, round, world.sizes[chosen]
    silent = (chosen % 5 == 0) | ((chosen + round) % 7 == 0)
    rows["train_loss"] = np.where(silent, np.nan, losses[chosen])
    return rows


def weighted(rng, chances):
    """Places in the order of a weighted draw, by the definition of Efraimidis and Spirakis."""
    keys = [log1p(-u) / w for u, w in zip(rng.random(len(chances)), chances, strict=True)]
    return sorted(range(len(keys)), key=lambda i: -keys[i])


class PowerOfChoiceTwin:
    def __init__(self):
        self.loss = {}

    def select(self, round, world, number, rng):
        able = [k for k in range(CLIENTS) if world.sizes[k]]
        order = weighted(rng, [float(world.sizes[k]) for k in able])
        candidates = [able[i] for i in order][: ceil(2.0 * number)]
        known = [float(self.loss[k]) for k in candidates if self.loss.get(k) is not None]
        mean = np.mean(known) if known else 0.0
        loss = {k: self.loss.get(k, inf) for k in candidates}  # None: asked, never a report
        return sorted(candidates, key=lambda k: -mean if loss[k] is None else -loss[k])[:number]

    def begun(self, chosen):
        pass

    def learn(self, round, client, samples, loss):
        self.loss[client] = np.float32(loss)

    def miss(self, client):
        self.loss.setdefault(client, None)


class UniformTwin:
    def select(self, round, world, number, rng):
        able = [k for k in range(CLIENTS) if world.sizes[k]]
        return [able[i] for i in rng.choice(len(able), min(number, len(able)), replace=False)]

    def begun(self, chosen):
        pass

    def learn(self, *row):
        pass


class SamplesTwin(UniformTwin):
    def select(self, round, world, number, rng):
        able = [k for k in range(CLIENTS) if world.sizes[k]]
        return [able[i] for i in weighted(rng, [float(world.sizes[k]) for k in able])][:number]


class TurnsTwin(UniformTwin):
    first = 0

    def select(self, round, world, number, rng):
        turns = [(self.first + i) % CLIENTS for i in range(CLIENTS)]
        return [k for k in turns if world.sizes[k]][:number]

    def begun(self, chosen):
        self.first = chosen[-1] + 1


class FairTwin:
    def __init__(self):
        self.queue = [np.float32(0)] * CLIENTS

    def select(self, round, world, number, rng):
        able = list(rng.permutation([k for k in range(CLIENTS) if world.sizes[k]]))
        mean = sum(world.seconds) / CLIENTS
        score = {k: self.queue[k] - 0.5 * world.seconds[k] / mean for k in able}
        return sorted(able, key=lambda k: -score[k])[:number]

    def begun(self, chosen):
        for k in range(CLIENTS):
            grown = self.queue[k] + np.float32(len(chosen) / CLIENTS) - np.float32(k in chosen)
            self.queue[k] = max(grown, np.float32(0))

    def learn(self, *row):
        pass


class TiersTwin(PowerOfChoiceTwin):
    def miss(self, client):
        pass

    def select(self, round, world, number, rng):
        order = sorted(range(CLIENTS), key=lambda k: world.seconds[k])
        tiers = [order[6 * n : 6 * n + 6] for n in range(5)]
        tiers = [tier for tier in tiers if any(world.sizes[k] for k in tier)]
        means = []
        for tier in tiers:
            losses = [float(self.loss[k]) for k in tier if k in self.loss]
            means.append(sum(losses) / len(losses) if losses else None)
        top = max([m for m in means if m is not None], default=1.0)
        chances = np.array([top if m is None else m for m in means])
        first = int(rng.choice(len(tiers), p=chances / chances.sum()))
        drawn = [list(rng.permutation([k for k in tier if world.sizes[k]])) for tier in tiers]
        chosen = []
        for n in [*range(first, len(tiers)), *range(first - 1, -1, -1)]:
            chosen += drawn[n]
        return chosen[:number]


class OortTwin:
    def __init__(self):
        self.value, self.last, self.sums, self.percentile = {}, {}, [], 30.0

    def select(self, round, world, number, rng):
        able = [k for k in range(CLIENTS) if world.sizes[k]]
        known, new = [k for k in able if k in self.last], [k for k in able if k not in self.last]
        wanted = int(np.rint(max(0.2, 0.9 * 0.98**round) * number))
        wanted = min(max(wanted, number - len(known)), len(new))
        order = weighted(rng, [1.0 / world.seconds[k] for k in new])
        found = [new[i] for i in order[:wanted]]
        most = min(number - wanted, len(known))
        if not most:
            return found
        cut = np.quantile([float(self.value[k]) for k in known], 0.95)
        value = {k: min(float(self.value[k]), cut) for k in known}
        low, high = min(value.values()), max(value.values())
        limit = np.percentile([world.seconds[k] for k in known], self.percentile)
        for k in known:
            value[k] = (value[k] - low) / (high - low) if high > low else 1.0
            value[k] += sqrt(0.1 * log(round + 1) / self.last[k])
            if world.seconds[k] > limit:
                value[k] *= (limit / world.seconds[k]) ** 2.0
        bar = 0.95 * sorted(value.values(), reverse=True)[most - 1]
        pool = [k for k in known if value[k] >= bar]
        order = weighted(rng, [max(value[k], 1e-12) for k in pool])
        return rng.permutation([pool[i] for i in order[:most]] + found).tolist()

    def begun(self, chosen):
        pass

    def learn(self, round, client, samples, loss):
        self.value[client], self.last[client] = np.float32(samples * loss), round + 1
        self.sums[round // 20 :] = [sum(self.sums[round // 20 :]) + samples * loss]

    def end(self, round):
        if (round + 1) % 20 == 0 and len(self.sums) > 1 and self.sums[-1] < self.sums[-2]:
            self.percentile += 5.0


TWINS = {
    "power-of-choice": (PowerOfChoiceTwin, {}), "fair": (FairTwin, {"haste": 0.5}),
    "tiers": (TiersTwin, {}), "oort": (OortTwin, {}), "uniform": (UniformTwin, {}),
    "samples": (SamplesTwin, {}), "round-robin": (TurnsTwin, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_who_is_selected_is_as_the_twin_says_and_after_a_resume(name):
    kind, keys = TWINS[name]
    selector, twin = SELECTORS[name](SELECTORS[name].Keys(**keys), SEED, CLIENTS), kind()
    for round, world, number, losses in history():
        chosen = selector.select(round, world, number, in_turn=True)
        rng = rng_for(SEED, "cohort", round)
        assert chosen.tolist() == twin.select(round, world, number, rng), round
        began = chosen[: 6 - round % 3]  # some that were drawn get no turn
        selector.begun(began)
        twin.begun(began.tolist())
        rows = rows_of(round, world, chosen, losses)
        selector.learn(rows)
        for row in rows[np.isnan(rows["train_loss"])]:
            if hasattr(twin, "miss"):
                twin.miss(int(row["client"]))
        for row in rows[np.isfinite(rows["train_loss"])]:
            values = (row["client"], row["samples"], row["train_loss"])
            twin.learn(round, *(value.item() for value in values))
        if hasattr(twin, "end"):
            twin.end(round)
        again = SELECTORS[name](SELECTORS[name].Keys(**keys), SEED, CLIENTS)
        again.restore(copy.deepcopy(selector.arrays()))
        selector = again


def selected(name, rounds=300, **keys):
    """How often each client was asked, where all are there and losses are 1 but for client 3."""
    selector = SELECTORS[name](SELECTORS[name].Keys(**keys), SEED, CLIENTS)
    world = World(np.full(CLIENTS, 20), 0.0, lambda: 1.0 + np.arange(CLIENTS))
    losses, counts = np.where(np.arange(CLIENTS) == 3, 5.0, 1.0), np.zeros(CLIENTS, int)
    for round in range(rounds):
        chosen = selector.select(round, world, 5, in_turn=False)
        counts[chosen] += 1
        selector.begun(chosen)
        rows = rows_of(round, world, chosen, losses)
        rows["train_loss"] = losses[chosen]
        selector.learn(rows)
    return counts


def test_what_each_rule_is_for():
    """Fair: the same for all. Oort: fast clients. Power of choice: large losses."""
    fair = selected("fair")
    assert fair.max() - fair.min() <= 1 and selected("fair", haste=5.0)[0] > fair[0] + 20
    oort = selected("oort")
    assert oort.min() > 0 and oort[:10].sum() > 2 * oort[-10:].sum()
    choice = selected("power-of-choice")
    assert choice[3] > 1.5 * np.median(choice)
    together = selected("tiers", tiers=6)
    assert together[:5].sum() > 1.5 * together[5:10].sum()  # the tier of client 3


def test_power_of_choice_does_not_fill_cohorts_with_clients_that_are_always_late():
    """Their loss stayed unknown, and an unknown loss comes first: no round had a report."""
    selector = SELECTORS["power-of-choice"](SELECTORS["power-of-choice"].Keys(), SEED, CLIENTS)
    world = World(np.full(CLIENTS, 20), 0.0, lambda: np.ones(CLIENTS))
    done, rng = 0, np.random.default_rng(1)
    for round in range(100):
        chosen = selector.select(round, world, 5, in_turn=False)
        rows = rows_of(round, world, chosen, rng.exponential(1.0, CLIENTS))
        rows["train_loss"][chosen % 2 == 0] = np.nan
        selector.learn(rows)
        done += (chosen % 2 == 1).sum()
    assert 150 < done < 350  # of 500, as many as are never late


def test_oort_ranks_losses_that_exceed_float32():
    """Its utilities became infinite, and their scaled values NaN."""
    selector = SELECTORS["oort"](SELECTORS["oort"].Keys(), SEED, CLIENTS)
    world = World(np.full(CLIENTS, 20), 0.0, lambda: np.ones(CLIENTS))
    rows = rows_of(0, world, np.arange(CLIENTS), np.linspace(1e37, 3e38, CLIENTS))
    rows["train_loss"] = np.linspace(1e37, 3e38, CLIENTS)
    selector.learn(rows)
    chosen = [selector.select(round, world, 3, in_turn=False) for round in range(1, 50)]
    assert np.concatenate(chosen).min() > 0 and np.isfinite(selector._value).all()


def test_new_clients_of_oort_get_turns_where_more_are_drawn_than_begin():
    """They came after all known clients, so hardly any began where many clients are lost."""
    selector = SELECTORS["oort"](SELECTORS["oort"].Keys(), SEED, CLIENTS)
    world = World(np.full(CLIENTS, 20), 0.0, lambda: np.ones(CLIENTS))
    selector.learn(rows_of(0, world, np.arange(20), np.ones(CLIENTS)))
    drawn = [selector.select(round, world, 10, in_turn=True) for round in range(1, 40)]
    new = [(chosen[half] >= 20).sum() for chosen in drawn for half in (slice(5), slice(5, 10))]
    assert abs(sum(new[::2]) - sum(new[1::2])) < 0.3 * sum(new)
