"""Time all kernels: training against torch, sparse kernels against numpy, torch and a copy.

The result is a dict for JSON: "floors" (this machine's copy bandwidth in bytes and matrix
product in FLOPs per second), "tables" (name -> rows) and "bars".
"""

from collections.abc import Sequence
from dataclasses import asdict

from fedmpi.bench import kernels_net as net
from fedmpi.bench import kernels_sparse as sparse
from fedmpi.bench.arms import SIZE
from fedmpi.bench.arms import Row as Timed
from fedmpi.bench.arms import rows as timed
from fedmpi.bench.measure import Bar, Found, Say, copy_bandwidth, gemm_rate, judged, plain
from fedmpi.learn import eager


def run(quick: bool = False, say: Say = lambda text: None) -> Found:
    """Measure everything, or with `quick` a small part; return the dict above."""
    say("floors of this machine")
    floors = {"copy_bytes_per_second": copy_bandwidth(), "gemm_flops_per_second": gemm_rate()}
    say("training steps and back-propagation")
    training = _training(quick)
    say("selection, supports and their formats")
    arms = sparse.every(50_000 if quick else SIZE, eager.feedback)
    rows = timed(arms, 2 if quick else 15)
    tables: dict[str, Sequence[net.Row | Timed]] = {"training": training, "sparse": rows}
    bars = [Bar(row.name, row.ratio, row.bar) for row in training if row.bar] + sparse.bars(rows)
    return dict(plain(
        {
            "quick": quick,
            "floors": floors,
            "tables": {name: [asdict(row) for row in table] for name, table in tables.items()},
            "bars": judged(bars, quick),
        }
    ))  # fmt: skip


def _training(quick: bool) -> list[net.Row]:
    """Return the Rows of whole steps, skeleton back-propagation, masks and the update."""
    if quick:
        rows = net.steps(net.STEPS[:1], turns=3) + net.skeletons(net.SKELETONS[:1], turns=3)
        return rows + net.masks(net.MASKED[:1], net.DENSITIES[1:2], turns=3)
    rows = net.steps() + net.skeletons() + net.skeleton_steps()
    return rows + net.masks() + net.updates()
