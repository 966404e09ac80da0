"""How well relevance tells which unit of a trained network can go: a table for two sizes.

    python jobs/relevance.py [NETS]

Trains NETS networks (default 50) of each size on rule-plus-exception by batch gradient descent
until all outputs are within 0.1 of their targets, and compares three estimates of each hidden
unit's relevance (Mozer and Smolensky, NIPS 1988) with what its removal really does to the
error sum |t - o|: the linear one with its sign, its magnitude, and the quadratic one.
"""

import sys

import numpy as np

from fedmpi.comm.base import Serial
from fedmpi.exchange import Job
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import resolve
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.loop import Simulation

TEXT = """
[run]
rounds = 1000
eval_every = 1000
[data]
name = "rules"
[clients]
number = 1
local_steps = 200
batch_size = 16
[model]
name = "mlp"
activation = "sigmoid"
[optimizer]
lr = 1.0
momentum = 0.9
[algorithm]
name = "skeletonization"
error = "quadratic"
outputs = "sigmoid"
criterion = 1e-9
"""
ROUNDS = 40  # of 200 steps; networks that learn later are left out
NEAR = 0.1
ESTIMATES = ("signed", "absolute", "quadratic")


def misses(made, weights):
    """Return |t - o| of all patterns and outputs, float64[N, 2]."""
    x, y = made.test.take(np.arange(len(made.test)))
    outputs = 1 / (1 + np.exp(-made.engine.outputs(weights, x).astype(np.float64)))
    return np.abs(np.eye(2)[y] - outputs)


def trained(hidden, seed):
    """Return the Simulation of a network that has learned, or None."""
    made = assemble(resolve(TEXT, "study", [f"model.hidden=[{hidden}]", f"run.seed={seed}"]),
                    Serial(), None)  # fmt: skip
    simulation = Simulation(made, Serial(), NoSignals())
    for _ in range(ROUNDS):
        simulation.round()
        if misses(made, simulation.state["weights"]).max() < NEAR:
            return simulation
    return None


def estimated(made, weights, error):
    """Return the relevance of each hidden unit as the method estimates it, float64[H]."""
    algorithm = made.algorithm
    algorithm.keys = algorithm.keys.model_copy(update={"relevance": error})
    state = algorithm.start(weights) | {"phase": np.array(1)}
    plan = algorithm.plan(state, 0, 0)
    job = Job(0, 0, state, plan, 1.0)
    (report,) = made.engine.train([job])
    values = algorithm.message(job, report)["relevance"].values
    return values[algorithm.units.place[algorithm.units.inputs :]].astype(np.float64)


def true(made, weights):
    """Return the rise of the mean of sum |t - o| without each hidden unit, float64[H]."""
    block = made.layout.slice("fc2.weight")
    found = []
    for unit in range(made.layout.layers[0].rows):
        without = weights.copy()
        without[block].reshape(2, -1)[:, unit] = 0
        found.append(misses(made, without).sum(axis=1).mean())
    return np.array(found) - misses(made, weights).sum(axis=1).mean()


def correlation(one, other):
    """Return Spearman's correlation of two float64[H] without ties."""
    ranks = [values.argsort().argsort() for values in (one, other)]
    return np.corrcoef(*ranks)[0, 1]


def study(hidden, seeds):
    """Return what the table shows of a network for each seed: a dict of means over networks."""
    rows = []
    for seed in seeds:
        simulation = trained(hidden, seed)
        if simulation is None:
            continue
        made, weights = simulation.experiment, simulation.state["weights"]
        linear, square = (estimated(made, weights, e) for e in ("linear", "quadratic"))
        truth = true(made, weights)
        patterns = len(made.test)  # relevance is a mean over them, the paper's a sum
        row = {"linear": patterns * np.abs(linear).mean()}
        row |= {"square": patterns * np.abs(square).mean()}
        row |= {"negative": (linear < 0).mean(), "truly negative": (truth < 0).mean()}
        for name, values in zip(ESTIMATES, (linear, np.abs(linear), square), strict=True):
            row[f"rank {name}"] = correlation(values, truth)
            row[f"hit {name}"] = float(values.argmin() == truth.argmin())
        rows.append(row)
    if not rows:
        raise SystemExit(f"none of the networks with {hidden} hidden units has learned; train more")
    return {"nets": len(rows)} | {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}


def main():
    """Print the table."""
    nets = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    print("| hidden | nets | Spearman: signed / absolute / quadratic | least one found: the same |"
          " mean size linear / quadratic | negative: estimated / true |")  # fmt: skip
    print("|" + " --- |" * 6)
    for hidden in (4, 8):
        found = study(hidden, range(nets))
        rank, hit = (" / ".join(f"{found[f'{what} {name}']:.2f}" for name in ESTIMATES)
                     for what in ("rank", "hit"))  # fmt: skip
        print(f"| {hidden} | {found['nets']} | {rank} | {hit} | {found['linear']:.2f} / "
              f"{found['square']:.3f} | {found['negative']:.2f} / {found['truly negative']:.2f} |")


if __name__ == "__main__":
    main()
