"""The sections on events, configurations, provenance, and reproduction of the runs."""

import json

from fedmpi.analysis import configs
from fedmpi.analysis.report.markup import Html, details, join, section, table, tag
from fedmpi.analysis.report.study import Study
from fedmpi.analysis.report.summary import swatch
from fedmpi.analysis.text_tables import core_names
from fedmpi.errors import counted, listed
from fedmpi.record.reader import Run
from fedmpi.toml_text import leaves

EVENTS = 100  # shown of all runs together
SHOWN = ("created", "updated", "ranks", "software_version", "schema", "weights_sha256")


def events(study: Study) -> Html:
    """Return the section of events."""
    found = [(row["run"], event) for run, row in zip(study.runs, study.rows, strict=True)
             for event in run.events]
    if not found:
        return section("events", "Events", tag("p", "No run was stopped, resumed or changed, and"
                                                    " none gave a warning."))
    rows = [(name, str(event["round"]), event["kind"], event["text"], event["time"][:19])
            for name, event in found[:EVENTS]]
    caption = counted(len(found), "event")
    if len(found) > EVENTS:
        caption += f", of which the first {EVENTS} are shown; fedmpi info lists those of a run"
    return section("events", "Events", table(
        caption, ("Run", "After round", "Kind", "What happened", "When (UTC)"), rows, right={1}))


def configuration(study: Study) -> Html:
    """Return the section of configurations: where they differ, and each in full."""
    firsts = [group.runs[0] for group in study.groups]
    found = configs.differences(firsts)
    found = {key: values for key, values in found.items() if key not in configs.FREE}
    parts = []
    if found:
        head = ("Key", *(swatch(group) for group in study.groups))
        rows = [(tag("code", key), *("-" if value is None else tag("code", plain(value))
                                     for value in values)) for key, values in found.items()]
        parts.append(table("Keys in which the configurations differ", head, rows))
    elif len(firsts) > 1:
        parts.append(tag("p", "The configurations differ in no key."))
    note = tag("p", "Provenance and reproduction lists every value that a run used.")
    return section("configuration", "Configuration", *parts, note)


def plain(value: object) -> str:
    """Return a configured value as text: a string as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def provenance(study: Study) -> Html:
    """Return the section on the provenance of the results and their reproduction."""
    head = ("Run", "Status", "Ranks", "Commit", "fedmpi", "MPI", "Hosts", "Weights (sha256)")
    rows = []
    for run, row in zip(study.runs, study.rows, strict=True):
        facts = run.provenance
        hosts = facts.get("hosts")
        distinct = list(dict.fromkeys(hosts)) if isinstance(hosts, list) else []
        rows.append((
            row["run"], run.status, str(run.ranks), short(facts.get("git_commit")),
            run.software_version, brief(facts.get("mpi")),
            listed(distinct, 3), short(run.weights_sha256),
        ))  # fmt: skip
    return section(
        "provenance", "Provenance and reproduction",
        tag("p", "The same configuration and seed give the same weights, bytes, virtual time and"
                 " accuracies on any number of ranks: save a run's configuration as a file and"
                 " start it as shown. Wall time and phases differ from machine to machine."),
        table("What made the results", head, rows, right={2}),
        *(again(run, row["run"]) for run, row in zip(study.runs, study.rows, strict=True)),
    )  # fmt: skip


def short(digest: object) -> str:
    """Return the start of a digest or commit, with the whole text as its title; "-" for none."""
    if not digest:
        return "-"
    text = str(digest)
    dirty = "-dirty" * text.endswith("-dirty")
    return tag("code", tag("abbr", f"{text[:12]}{dirty}", title=text) if len(text) > 12 else text)


def brief(library: object) -> str:
    """Return the first line of an MPI library's description, without runs of blanks."""
    lines = str(library or "-").splitlines() or ["-"]
    return " ".join(lines[0].split())[:60]


def again(run: Run, name: str) -> Html:
    """Return a folded part: how to reproduce a run, and all the provenance in its file."""
    command = str(run.provenance.get("command") or "-")
    facts = [("file", run.path), *((key, getattr(run, key)) for key in SHOWN),
             *((key, core_names(value) if key == "cores" else value)
               for key, value in leaves(run.provenance) if key != "command")]
    rows = [(key.replace("_", " "), compact(value)) for key, value in facts]
    code = [tag("code", words) for words in ("config.toml", "fedmpi info")]
    return details(
        f"{name}: every value used, and how to repeat the run",
        tag("p", "The command was"), block(command),
        tag("p", "or, with the configuration below saved as ", code[0], " anywhere,"),
        block(f"mpiexec -n {run.ranks} fedmpi run config.toml -o out.h5"),
        block(configs.as_toml(run.config)),
        details("The configuration as it was given, without --set", block(run.toml)),
        table(join("The run, as ", code[1], " shows it"), ("Fact", "Value"), rows),
    )  # fmt: skip


def block(words: str) -> Html:
    """Return words to copy, as preformatted code."""
    return tag("pre", tag("code", words), tabindex=0)


def compact(value: object) -> str:
    """Return a value as text; a list of equal values as one of them and their number."""
    if isinstance(value, list):
        kinds = list(dict.fromkeys(map(str, value)))
        if len(kinds) == 1 and len(value) > 1:
            return f"{kinds[0]} ({len(value)} ranks)"
        return listed(value, 64)
    return "-" if value is None or value == "" else str(value)
