"""The head of the page: the configurations compared, their accuracy and their costs."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from fedmpi.analysis import compare, configs, quantities
from fedmpi.analysis.compare import setting
from fedmpi.analysis.report.blocks import bars
from fedmpi.analysis.report.figure import classes, figure
from fedmpi.analysis.report.markup import Html, details, join, section, table, tag
from fedmpi.analysis.report.study import Group, Study, spread
from fedmpi.errors import counted, listed
from fedmpi.record.reader import Run

HEAD = ("Configuration", "Final accuracy", "Best accuracy", "Up", "Down", "FLOPs", "Virtual time",
        "Wall time", "Rounds", "Runs", "Status", "Density up", "Model density",
        "FLOPs, one inference", "Energy", "CO2")
ALWAYS = len(HEAD) - 3  # columns of every table; older or plain runs lack the others
MOST_NAMED = 4  # runs, configurations, or values of a key, in a title or a cell
COSTS = ("bytes_up", "bytes_down", "flops")


def facts(study: Study) -> Html:
    """Return the lines under the title: the facts that all runs share."""
    runs = study.runs
    data = shared(runs, lambda run: f"{setting(run, 'data', 'name')}, {split(run)}")
    model = shared(runs, lambda run: setting(run, "model", "name"))
    clients = shared(
        runs, lambda run: f"{run.population:,}, {setting(run, 'clients', 'cohort')} a round")
    rounds = shared(runs, lambda run: setting(run, "run", "rounds"))
    pairs = [
        ("Runs", f"{len(runs)} of {counted(len(study.groups), 'configuration')}"),
        ("Data", data), ("Model", model),
        ("Clients", clients), ("Rounds planned", rounds),
    ]  # fmt: skip
    if any(map(epsilon, runs)):
        pairs.append(("Privacy at the end", shared(runs, lambda run: epsilon(run) or "-")))
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in pairs),
               class_="facts")


def epsilon(run: Run) -> str:
    """Return the epsilon, the privacy loss, at the end of a run, "" if it adds no noise."""
    known = "epsilon" in run.rounds and len(run.rounds)
    last = run.rounds["epsilon"][-1] if known else np.nan
    return "" if np.isnan(last) else f"epsilon {last:.3g}"


def heading(study: Study) -> str:
    """Return the title of the page: the differences between the configurations, and the data."""
    firsts = [group.runs[0] for group in study.groups]
    data = shared(firsts, lambda run: setting(run, "data", "name"))
    method = shared(firsts, lambda run: setting(run, "algorithm", "name"))
    if len(firsts) == 1:
        return f"{study.groups[0].name}: {method} on {data}"
    found = {key: values for key, values in configs.differences(firsts).items()
             if key not in (*configs.FREE, *configs.DERIVED)}
    methods = found.get("algorithm.name", ())
    if len(found) == 1 and not methods:
        ((key, values),) = found.items()
        return f"{key} = {listed(values, MOST_NAMED)}: {method} on {data}"
    named = methods if len(set(methods)) == len(firsts) else [g.name for g in study.groups]
    return f"{listed(named, MOST_NAMED)} on {data}"


def split(run: Run) -> str:
    """Return how a run splits its data, such as "dirichlet (alpha 0.5)"."""
    keys = ("alpha", "classes_per_client")
    found = [f"{key} {setting(run, 'data', key)}" for key in keys
             if setting(run, "data", key) not in ("-", "None")]
    return setting(run, "data", "partition") + (f" ({', '.join(found)})" if found else "")


def shared(runs: Sequence[Run], fact: Callable[[Run], str]) -> str:
    """Return the fact that all runs share; a few different facts are listed, many counted."""
    found = list(dict.fromkeys(map(fact, runs)))
    return "; ".join(found) if len(found) < 4 else f"{len(found)} different"


def summary(study: Study) -> Html:
    """Return the section with the most important numbers."""
    several = any(len(group.runs) > 1 for group in study.groups)
    notes = [tag("p", note, class_="beware") for note in study.notes if note.startswith("Beware")]
    return section(
        "summary", "Summary", *notes, configurations(study),
        details(f"All {len(study.runs)} runs", every_run(study)) if several else None,
        to_target(study),
    )  # fmt: skip


def configurations(study: Study) -> Html:
    """Return the table of configurations, with means over the runs of each."""
    rows = []
    for group in study.groups:
        paid = [price(group.total(name), study.reference.total(name),
                      FORMS.get(name, quantities.in_bytes), group is study.reference)
                for name in COSTS]
        virtual = price(group.last("virtual_time"), study.reference.last("virtual_time"),
                        quantities.in_seconds, group is study.reference)
        rows.append((
            swatch(group),
            spread(group.values("final_accuracy")), spread(group.values("best_accuracy")),
            *paid, virtual, quantities.in_seconds(group.last("wall_time")),
            rounds(group), str(len(group.runs)), states(group),
            share(group.mean("density_up")), share(group.last("model_density")),
            in_flops(group.last("flops_inference")),
            *(price(spent(group, name), spent(study.reference, name), form,
                    group is study.reference) for name, form in POWER.items()),
        ))  # fmt: skip
    repeats = any(len(group.runs) > 1 for group in study.groups)
    caption = "Accuracy and cost of each configuration, for the whole run and all clients"
    if repeats:
        caption += "; means over its runs, ± standard deviation"
    if len(rows) > 1:
        caption += f"; small numbers: relative to {study.reference.name}"
    shown = [k for k in range(len(HEAD)) if k < ALWAYS or any(row[k] != "-" for row in rows)]
    head, *found = ([row[k] for k in shown] for row in (HEAD, *rows))
    return table(caption, head, found, right=set(range(1, len(head))) - {10}, class_="wide")


def spent(group: Group, column: str) -> float | None:
    """Return the energy or the CO2 of the clients' devices; None if no power was given."""
    if not all(column in run.rounds for run in group.runs):
        return None
    return group.total(column) or None


def every_run(study: Study) -> Html:
    """Return the table of single runs."""
    rows = []
    for run, row in zip(study.runs, study.rows, strict=True):
        done = len(run.rounds)
        last = {name: float(run.rounds[name][-1]) if done else None
                for name in ("virtual_time", "wall_time", "model_density")}
        rows.append((
            row["run"],
            quantities.accuracy(row["final_accuracy"]), quantities.accuracy(row["best_accuracy"]),
            *(FORMS.get(name, quantities.in_bytes)(int(run.rounds[name].sum())) for name in COSTS),
            quantities.in_seconds(last["virtual_time"]), quantities.in_seconds(last["wall_time"]),
            str(done), setting(run, "run", "seed"), run.status,
            share(run.rounds["density_up"].mean() if done else None), share(last["model_density"]),
        ))  # fmt: skip
    head = ("Run", *("Seed" if name == "Runs" else name for name in HEAD[1:ALWAYS]))
    return table("Each run", head, rows, right=set(range(1, len(head))) - {10}, class_="wide")


def to_target(study: Study) -> Html:
    """Return the part on what each configuration paid for the target accuracy."""
    whence = [note for note in study.notes if not note.startswith("Beware")]
    if study.target is None:
        return join(tag("h3", "To a target"), tag("p", *whence))
    head = ("Configuration", "Reached by", "Rounds", "Up", "Down", "Up and down", "Virtual time")
    rows, first = [], prices(study.reference)
    for group in study.groups:
        paid, alone = prices(group), group is study.reference
        rows.append((
            swatch(group), f"{len(group.values('rounds_to'))} of {len(group.runs)}",
            "-" if paid["rounds_to"] is None else quantities.digits(paid["rounds_to"]),
            quantities.in_bytes(paid["bytes_up_to"]), quantities.in_bytes(paid["bytes_down_to"]),
            price(paid["bytes_to"], first["bytes_to"], quantities.in_bytes, alone),
            price(paid["seconds_to"], first["seconds_to"], quantities.in_seconds, alone),
        ))  # fmt: skip
    caption = f"Cost of test accuracy {study.target:.6g}"
    if len(rows) > 1:
        caption += f"; small numbers: relative to {study.reference.name}"
    return join(
        tag("h3", f"To test accuracy {study.target:.6g}"), tag("p", *whence) if whence else None,
        table(caption, head, rows, right=set(range(1, len(head)))), target_figures(study),
    )  # fmt: skip


def target_figures(study: Study) -> Html | None:
    """Return bars of bytes and of virtual time to the target; None for a single configuration."""
    shown = [(group, prices(group)) for group in study.groups]
    shown = [(group, paid) for group, paid in shown if paid["rounds_to"] is not None]
    if len(shown) < 2:
        return None
    names = [group.name for group, _ in shown]
    sent = np.array([[paid["bytes_up_to"], paid["bytes_down_to"]] for _, paid in shown], float)
    spent = np.array([[paid["seconds_to"]] for _, paid in shown], float)
    titles = ("Bytes to the target", "Virtual time to the target")
    ways, until = (("p0", "up"), ("p1", "down")), (("p2", "until the round that reaches it"),)
    drawn = (
        bars(titles[0], names, sent, [quantities.in_bytes(x) for x in sent.sum(1)], ways),
        bars(titles[1], names, spent, [quantities.in_seconds(x) for x in spent[:, 0]], until),
    )
    return tag("div", figure(titles[0], join(key(*ways), drawn[0])),
               figure(titles[1], join(key(*until), drawn[1])),
               class_="figures")


def prices(group: Group) -> dict[str, float | None]:
    """Return the mean costs of the target, None if a run did not reach it."""
    found = {name: group.values(name) for name in compare.PAID}
    return {name: float(np.mean(values)) if len(values) == len(group.runs) else None
            for name, values in found.items()}


def price(
    paid: float | None, first: float | None, form: Callable[[float | None], str], alone: bool
) -> str:
    """Return a cost, and beneath it the saving against the reference unless it is `alone`."""
    saved = compare.saving(paid, first)
    if alone or saved is None or not np.isfinite(saved):
        return form(paid)
    saved = round(saved, 4)
    sign = "−" if saved > 0 else "+" if saved < 0 else "±"
    return join(form(paid), tag("small", f"{sign}{quantities.share(abs(saved))}"))


def swatch(group: Group) -> Html:
    """Return a configuration's name after a sample of its line in the figures."""
    line = tag("svg", tag("path", class_="line", d="M0,6H28"), viewBox="0 0 28 12",
               class_=f"swatch {classes(group.index)}", aria_hidden="true")
    return tag("span", line, tag("span", group.name), class_="name")


def key(*pairs: tuple[str, str], line: str | None = None) -> Html:
    """Return the legend of (class, meaning) pairs, and of the line, if there is one."""
    marks = [("chip", 12, tag("rect", width=12, height=12, class_=kind), meaning)
             for kind, meaning in pairs]
    if line:
        marks.append(("swatch", 28, tag("path", class_="over", d="M0,6H28"), line))
    items = (tag("li", tag("svg", mark, viewBox=f"0 0 {width} 12", class_=kind,
                           aria_hidden="true"), " ", meaning)
             for kind, width, mark, meaning in marks)
    return tag("ul", *items, class_="key")


def states(group: Group) -> str:
    """Return the states of a group's runs: "finished", or "2 finished, 1 running"."""
    found = [run.status for run in group.runs]
    kinds = sorted(set(found))
    return kinds[0] if len(kinds) == 1 else ", ".join(f"{found.count(k)} {k}" for k in kinds)


def rounds(group: Group) -> str:
    """Return the number of rounds of a group's runs: "40", or "12 to 40"."""
    found = [len(run.rounds) for run in group.runs]
    return f"{min(found)} to {max(found)}" if min(found) < max(found) else str(found[0])


def share(part: float | None) -> str:
    """Return a share in per cent, "-" if there is none."""
    return "-" if part is None or not np.isfinite(part) else quantities.share(float(part))


def in_flops(number: float | None) -> str:
    """Return a number of floating-point operations, such as "1.24 TFLOP"."""
    return quantities.quantity(number, quantities.FLOPS)


FORMS = {"flops": in_flops}
POWER = {"joules": partial(quantities.quantity, units=quantities.ENERGY),
         "co2_g": partial(quantities.quantity, units=quantities.GRAMS)}
