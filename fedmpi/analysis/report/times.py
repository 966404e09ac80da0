"""The sections on time: simulated, of clients by tier of device, and measured, of ranks."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from fedmpi.analysis import compare, quantities
from fedmpi.analysis.report.blocks import bars
from fedmpi.analysis.report.clients import tier_of
from fedmpi.analysis.report.figure import figure
from fedmpi.analysis.report.markup import Html, details, section, table, tag
from fedmpi.analysis.report.study import Group, Study
from fedmpi.analysis.report.summary import key, share, swatch
from fedmpi.arrays import Integers, Reals
from fedmpi.record.reader import Run
from fedmpi.record.schema import CLIENT_STATUS, COLLECTIVES, PHASES

STAGES = (("p1", "down"), ("p2", "compute"), ("p0", "up"), ("p5", "waits for other clients"))
KEY = tuple(zip(("p6", "p2", "p0", "p4", "p3", "p1", "p5"), PHASES, strict=True))
Tiers: TypeAlias = tuple[list[str], Reals, Reals]
"""The result of `by_tier`."""
RANKS = 16  # drawn; of more ranks this many, from the longest wait to the shortest


def virtual(study: Study) -> Html:
    """Return the section on the simulated time of clients."""
    spent = {group: by_tier(group) for group in study.groups}
    figures = []
    longest = max(np.nan_to_num(rows[:, :4]).sum(1).max(initial=0) for _, rows, _ in spent.values())
    for group, (names, rows, _) in spent.items():
        seen = np.nan_to_num(rows[:, :4])
        title = f"virtual seconds of a client in a round, {group.name}"
        texts = [quantities.in_seconds(value) for value in rows[:, :4].sum(1)]
        drawing = bars(title, names, seen, texts, STAGES, longest)
        figures.append(figure(group.name, drawing))
    about = ("Simulated seconds of a client in a round, from the cost model: the mean over the"
             " clients of a tier that completed the round. All panels have the same scale.")
    return section("virtual", "Virtual time", tag("p", about), key(*STAGES),
                   tag("div", *figures, class_="figures"), stragglers(study, spent))


def by_tier(group: Group) -> Tiers:
    """Return (tier names, float64[tiers, 5], counts float64[tiers, statuses]) of a group.

    Columns are the mean seconds of STAGES (NaN if no client completed a round; waiting is 0 with an
    asynchronous schedule), and the share of rounds that ended with a client of the tier. This share
    and the counts are NaN if the files do not have the rows of all clients.
    """
    names = sorted({name for run in group.runs for name in tier_of(run)[0]})
    pieces = [stages(run, names) for run in group.runs]
    tier, seconds, last = (np.concatenate(part) for part in zip(*(p[:3] for p in pieces),
                                                                 strict=True))
    rows = np.full((len(names), 5), np.nan)
    for k in range(len(names)):
        if (tier == k).any():
            rows[k, :4] = seconds[tier == k].mean(0)
    if not all(map(has_all_clients, group.runs)):
        return names, rows, np.full((len(names), len(CLIENT_STATUS)), np.nan)
    rows[:, 4] = np.bincount(last[last >= 0], minlength=len(names)) / max(len(last), 1)
    return names, rows, np.sum([p[3] for p in pieces], axis=0, dtype=float)


def has_all_clients(run: Run) -> bool:
    """Return whether the file has a row for each client of each round.

    run.record_clients can leave rows out, and a file rebuilt from a checkpoint lacks early rows.
    """
    return len(run.clients) >= int(run.rounds["clients_selected"].sum())


def stages(run: Run, names: Sequence[str]) -> tuple[Integers, Reals, Integers, Integers]:
    """Return (tier int64[n], seconds float64[n, 4], last int64[R], counts) of one run.

    n counts the rows of clients that completed; `last` is the tier of the last client of each
    round, -1 if the round ended at a deadline instead, or no client completed it.
    """
    tiers, index = tier_of(run)
    index = np.array([names.index(name) for name in tiers])[index]
    ends, status = run.rounds["virtual_time"], run.clients["status"]
    client, row = run.clients["client"], np.searchsorted(run.rounds["round"], run.clients["round"])
    known = (client >= 0) & (client < len(index)) & (row < len(ends))
    kinds = len(CLIENT_STATUS)
    valid = known & (status < kinds)
    pairs = index[client[valid]] * kinds + status[valid]
    counts = np.bincount(pairs, minlength=len(names) * kinds).reshape(len(names), kinds)
    done = known & (status == 0)
    seconds = ("seconds_down", "seconds_compute", "seconds_up")
    columns = [run.clients[name][done] for name in seconds]
    end, row, tier = run.clients["virtual_end"][done], row[done], index[client[done]]
    wait = np.maximum(ends[row] - end, 0)
    if compare.setting(run, "schedule", "mode") == "async":
        wait = np.zeros_like(wait)
    order = np.lexsort((end, row))
    final = order[np.append(row[order][1:] != row[order][:-1], True)] if len(order) else order
    last = np.full(len(ends), -1)
    last[row[final]] = np.where(end[final] >= ends[row[final]], tier[final], -1)
    return tier, np.stack([*columns, wait], axis=1), last, counts


def stragglers(study: Study, spent: Mapping[Group, Tiers]) -> Html:
    """Return the table of tiers: seconds, share of rounds they end, and outcomes of clients."""
    head = ("Configuration", "Tier", "Down", "Compute", "Up", "Waits", "Ends the round",
            *(word.capitalize() for word in CLIENT_STATUS))
    rows = []
    for group in study.groups:
        names, seconds, counts = spent[group]
        for k, name in enumerate(names):
            rows.append((
                swatch(group), name, *(quantities.in_seconds(value) for value in seconds[k, :4]),
                share(seconds[k, 4]), *map(number_of, counts[k]),
            ))  # fmt: skip
    caption = ("Tiers of devices: mean seconds of a client that completed, the share of rounds that"
               " a client of the tier ended, and the outcomes of the clients, over all runs; not"
               " known where a file lacks rows of clients")
    return table(caption, head, rows, right=set(range(2, len(head))))


def number_of(count: float) -> str:
    """Return a number of clients as text, "-" for NaN."""
    return "-" if np.isnan(count) else f"{count:,.0f}"


def measured(study: Study) -> Html | None:
    """Return the section on the measured time of the ranks."""
    shown = [(run, row["run"]) for run, row in zip(study.runs, study.rows, strict=True)
             if len(run.rounds)]
    if not shown:
        return None
    names = [name for _, name in shown]
    means = np.array([seconds_of(run).mean(1) for run, _ in shown])
    texts = [quantities.in_seconds(value) for value in means.sum(1)]
    drawing = bars("measured seconds by phase", names, means, texts, KEY)
    about = ("Measured on the machine of each run, so it differs between runs, unlike the"
             " results. Means over the ranks of a run.")
    firsts = [group.runs[0] for group in study.groups if len(group.runs[0].rounds)]
    ranks = [ranks_of(run, name) for run, name in shown
             if run in firsts and run.phases.shape[1] > 1]
    return section(
        "measured", "Measured time", tag("p", about), key(*KEY),
        tag("div", figure("Seconds by phase", drawing), class_="figures"), shares(shown, means),
        details("Rank by rank", tag("div", *ranks, class_="figures")) if ranks else None,
    )  # fmt: skip


def seconds_of(run: Run) -> Reals:
    """Return the measured seconds of a run, float64[phases, ranks]."""
    return np.array(list(run.seconds_of_ranks().values()))


def shares(shown: Sequence[tuple[Run, str]], means: Reals) -> Html:
    """Return the table of measured time; `shown` are (run, name), `means` seconds by phase."""
    head = ("Run", "Ranks", "Wall time", "Clients a second",
            *(phase.capitalize() for phase in PHASES), "Longest training", "Between ranks",
            "Collective")
    rows = []
    for (run, name), seconds in zip(shown, means, strict=True):
        total, train = seconds.sum(), run.seconds_of_ranks()["train"]
        spent = float(run.rounds["wall_time"][-1] - run.rounds["wall_time"][0])
        rate = run.rounds["clients_selected"][1:].sum() / spent if spent > 0 else np.nan
        rows.append((
            name, str(run.ranks), quantities.in_seconds(run.rounds["wall_time"][-1]),
            quantities.digits(rate) if np.isfinite(rate) else "-",
            *(share(value / total if total else None) for value in seconds),
            share(train.max() / train.mean() if train.any() else None),
            quantities.in_bytes(run.rounds["mpi_bytes"].sum(dtype=float)), collectives(run),
        ))  # fmt: skip
    caption = ("Phases as shares of a rank's time. Clients per second: without the first round."
               " Longest training: the slowest rank relative to the mean. Between ranks: bytes of"
               " their messages.")
    return table(caption, head, rows, right=set(range(1, len(head) - 1)))


def collectives(run: Run) -> str:
    """Return the names of the collectives that a run used."""
    codes = np.unique(run.rounds["collective"])
    return ", ".join(COLLECTIVES[code] for code in codes if code < len(COLLECTIVES)) or "-"


def ranks_of(run: Run, name: str) -> Html:
    """Return the figure of the phases of each rank of a run."""
    seconds = seconds_of(run).T
    order, title = np.arange(len(seconds)), name
    if len(order) > RANKS:
        waits = np.argsort(-seconds[:, PHASES.index("wait")], kind="stable")
        order = waits[np.linspace(0, len(order) - 1, RANKS).round().astype(int)]
        title = f"{name}: {RANKS} of {len(seconds)} ranks, from the longest wait to the shortest"
    texts = [quantities.in_seconds(value) for value in seconds[order].sum(1)]
    return figure(title, bars(f"measured seconds of each rank, {name}",
                              [f"rank {rank}" for rank in order], seconds[order], texts, KEY))
