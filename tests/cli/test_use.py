"""Mistyped commands and terminals of all kinds: short answers, the right exit codes."""

import argparse
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from fedmpi import cli
from fedmpi.cli import progress_display
from fedmpi.cli.machine import one_thread_each
from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import resolve
from fedmpi.record import reader
from tests.cli.rows import Row
from tests.conftest import ROOT, SOON, errors_of, mpiexec

SMALL = """
[run]
name = "Käse"
rounds = 3
[clients]
number = 4
[model]
name = "softmax"
"""

TYPED = {
    "": "fedmpi: the following arguments are required: VERB",
    "rum exp.toml": "fedmpi: VERB 'rum': unknown; did you mean run?",
    "run exp.toml": "fedmpi run: the following arguments are required: -o/--out",
    "run exp.toml -o a.h5 --overwrit2": "unknown: --overwrit2; did you mean --overwrite?",
    "run exp.toml -o a.h5 --rounds 3": "unknown: --rounds 3; keys of the configuration: --set",
    "list algoritms": "fedmpi list: what 'algoritms': unknown; did you mean algorithms?",
    "table a.h5 --format xml": "--format 'xml': unknown; known: tsv, csv, json",
    "compare a.h5 --target x": "argument --target: invalid float value: 'x'",
    "bench kernels --json no/a.json": "--json: no/a.json: name a file in a folder that exists",
    "bench kernels --json /proc/a.json": "a.json: No such file or directory; name a file",
    "bench colectives": "fedmpi bench: WHAT 'colectives': unknown; did you mean collectives?",
}


@pytest.fixture
def folder(tmp_path):
    """A folder whose name has spaces and letters beyond ASCII, with an experiment in it."""
    found = tmp_path / "näh e"
    found.mkdir()
    (found / "exp.toml").write_text(SMALL, encoding="utf-8")
    return found


@pytest.mark.parametrize("words", TYPED)
def test_a_command_typed_wrong_gets_two_lines_and_2(run_fedmpi, words):
    done = run_fedmpi(*words.split())
    assert done.returncode == 2 and done.stdout == ""
    first, second = done.stderr.splitlines()
    assert TYPED[words] in first and second.startswith("see: fedmpi") and second.endswith("--help")


def test_ranks_say_it_once(run_fedmpi):
    done = run_fedmpi("run", "exp.toml", ranks=3)
    assert done.returncode == 2 and len(errors_of(done.stderr)) == 2


def test_every_verb_has_its_line_in_the_help(run_fedmpi):
    lines = run_fedmpi("--help", COLUMNS="80").stdout.splitlines()
    verbs = [line for line in lines if line.startswith("    ")]
    assert len(verbs) >= 17 and all(len(line.split()) > 2 for line in verbs)


def test_the_help_of_every_verb_ends_with_an_example_that_is_right():
    def parsers(parser):
        for action in parser._actions:
            for found in (action.choices or {}).values() if action.nargs == "A..." else ():
                yield found
                yield from parsers(found)

    found = [one for one in parsers(cli._parser()) if not one._subparsers]
    assert len(found) >= 20
    for parser in found:
        words = parser.format_help().splitlines()[-1].split(" && ")[0].split()
        words = words[words.index("fedmpi") + 1:]
        assert cli._parser().parse_args(words).parser.prog == parser.prog


CANNOT_START = {
    "--set data.name=mnist --set data.root=/none": 1,
    "--set model.name=fedlp-cnn": 2,
    "--set clients.number=5000": 2,
    "--set data.name=rules --set data.augment=crop-flip": 2,
}


@pytest.mark.parametrize("words", CANNOT_START)
def test_ranks_that_cannot_start_end_in_order(run_fedmpi, folder, words):
    done = run_fedmpi("run", "exp.toml", "-o", "a.h5", *words.split(), ranks=3, cwd=folder)
    assert done.returncode == CANNOT_START[words]
    errors = errors_of(done.stderr)
    assert 1 <= len(errors) <= 2 and errors[0].startswith("fedmpi: ")
    assert "TERMINAT" not in done.stdout  # of the launcher, about ranks that were killed


def test_an_existing_result_is_refused_by_all_ranks_in_order(run_fedmpi, folder):
    (folder / "a.h5").write_text("")
    done = run_fedmpi("run", "exp.toml", "-o", "a.h5", ranks=3, cwd=folder)
    assert done.returncode == 1 and done.stdout == ""
    (error,) = errors_of(done.stderr)
    assert "--overwrite" in error


@pytest.mark.parametrize("coding", ["ascii", "utf-8"])
def test_any_coding_of_the_terminal_will_do(run_fedmpi, folder, coding):
    env = {"PYTHONIOENCODING": coding, "cwd": folder}
    assert run_fedmpi("run", "exp.toml", "-o", "ö ut.h5", "--overwrite", **env).returncode == 0
    for words in (["info", "ö ut.h5"], ["compare", "ö ut.h5"], ["check", "exp.toml"],
                  ["table", "ö ut.h5"], ["list", "models"], ["partition", "exp.toml"]):
        done = run_fedmpi(*words, **env)
        assert (done.returncode, done.stderr) == (0, ""), words
        curves = words[0] == "compare" and coding == "utf-8"
        assert ("│" in done.stdout) == curves


@pytest.mark.parametrize("words", [
    "info a.h5", "table a.h5", pytest.param("check exp.toml", marks=pytest.mark.soak),
    "list columns",
])  # fmt: skip
def test_a_full_disk_behind_the_output_is_named(run_fedmpi, folder, words):
    assert run_fedmpi("run", "exp.toml", "-o", "a.h5", cwd=folder).returncode == 0
    code = (
        "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'fedmpi', *sys.argv[1:]])"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *words.split()], cwd=folder, env=env,
                          capture_output=True, text=True, timeout=SOON)
    assert done.returncode == 1
    assert done.stderr == (
        "fedmpi: the output cannot be written: No space left on device; make room\n"
    )


@pytest.mark.parametrize("closed", [
    *(pytest.param(one, marks=pytest.mark.soak) for one in ("<&-", ">&-", "2>&-")), "<&- >&- 2>&-",
])  # fmt: skip
@pytest.mark.parametrize("words", ["table a.h5", "watch a.h5", "resume a.h5 --set run.rounds=4"])
def test_a_closed_stream_takes_nothing_from_a_command(run_fedmpi, folder, words, closed):
    assert run_fedmpi("run", "exp.toml", "-o", "a.h5", cwd=folder).returncode == 0
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "fedmpi"]
    done = subprocess.run([*command, *words.split()], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=SOON)
    assert (done.returncode, "fedmpi:" in done.stderr) == (0, False), done.stderr


def test_a_run_goes_on_when_nobody_reads_its_progress(folder):
    command = [sys.executable, "-m", "fedmpi", "run", "exp.toml", "-o", "a.h5"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0 and "fedmpi:" not in said, said
    with reader.open(folder / "a.h5") as run:
        assert run.status == "finished"


def test_what_check_prints_is_a_configuration_again(tmp_path, run_fedmpi, folder):
    first = run_fedmpi("check", "exp.toml", cwd=folder).stdout
    assert resolve(first, "printed").values() == resolve(SMALL, "given").values()


def test_a_run_that_is_done_says_so_and_cannot_be_shortened(run_fedmpi, folder):
    assert run_fedmpi("run", "exp.toml", "-o", "a.h5", cwd=folder).returncode == 0
    before = (folder / "a.h5").read_bytes()
    done = run_fedmpi("resume", "a.h5", cwd=folder)
    assert done.returncode == 0 and "all 3 rounds are done" in done.stdout
    done = run_fedmpi("resume", "a.h5", "--set", "run.rounds=2", cwd=folder)
    assert done.returncode == 2 and "run.rounds = 2: 3 rounds are done already" in done.stderr
    assert (folder / "a.h5").read_bytes() == before


def on_terminal(columns, words, cwd):
    """Run fedmpi on a pseudo-terminal with `columns` columns; return its exit code and text."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    env |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "fedmpi", *words], stdin=other, stdout=other,
                               stderr=other, cwd=cwd, env=env)
    os.close(other)
    parts = []
    try:
        while part := os.read(main, 4096):
            parts.append(part)
    except OSError:  # how a terminal reports that it has no more writers
        pass
    os.close(main)
    return process.wait(SOON), b"".join(parts).decode()


@pytest.mark.parametrize(("columns", "bar"), [(40, False), (120, True)])
def test_progress_fits_the_terminal(folder, columns, bar):
    code, text = on_terminal(columns, ["run", "exp.toml", "-o", "a.h5"], folder)
    assert code == 0 and "result in a.h5" in text
    shown = [line for line in text.split("\r") if "3/3" in line][-1]
    assert "accuracy" in shown and "…" not in shown and ("━" in shown) == bar
    code, text = on_terminal(columns, ["resume", "a.h5", "--quiet"], folder)
    assert (code, text) == (0, "")


def test_the_terminal_that_open_mpi_gives_a_rank_is_nobodys(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert type(progress_display.progress_for("auto", "exp")) is progress_display.LiveBar
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    assert type(progress_display.progress_for("auto", "exp")) is progress_display.Lines
    assert type(progress_display.progress_for("bar", "exp")) is progress_display.LiveBar


def helps(parser):
    """Yield the help of a parser and of all verbs below it."""
    yield parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from helps(below)


def test_help_fits_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = list(helps(cli._parser()))
    assert len(found) > 20
    assert not [line for text in found for line in text.splitlines() if len(line) > 80]


def test_time_left_counts_neither_the_start_nor_what_was_done_before(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress_display, "monotonic", lambda: now[0])
    lines = progress_display.progress_for("lines", "exp")
    for number, passed in ((50, 60.0), (51, 10.0), (52, 10.0), (199, 10.0)):
        now[0] += passed
        lines(Row(number), 200)
    shown = [line.split("50.0 %  ")[1].split("  sent")[0].split("  ")
             for line in capsys.readouterr().out.splitlines()]
    assert shown == [["sent 3 B", "virtual time 1 s"], ["24 min 40 s left", "2 clients/s"],
                     ["24 min 30 s left", "2 clients/s"], ["2 clients/s"]]


def test_the_loss_stands_for_the_accuracy_of_numbers_and_labels(capsys, monkeypatch):
    monkeypatch.setattr(progress_display, "LINE_EVERY", -1.0)
    lines, none = progress_display.progress_for("lines", "exp"), float("nan")
    for row in (Row(0, none, none), Row(1, none, 2.5), Row(2, none, none), Row(3, 0.25, 1.5)):
        lines(row, 9)
    shown = [line.split("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["accuracy -", "test loss 2.5", "test loss 2.5", "accuracy 25.0 %"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_ctrl_c_while_it_starts_ends_it_soon(folder, ranks):
    """The first of the numbers are before main, where Python itself may speak."""
    command = [sys.executable, "-m", "fedmpi", "run", "exp.toml", "-o", "a.h5", "--quiet"]
    words = [*(mpiexec(ranks) if ranks > 1 else []), *command, "--set", "run.rounds=1000000"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for delay in (0.4, 0.8, 1.2, 2.0):
        process = subprocess.Popen([str(w) for w in words], cwd=folder, env=env, text=True,
                                   start_new_session=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.communicate(timeout=SOON)  # once it trains, a client is finished first
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode != 0
        for left in folder.glob("a.h5*"):
            left.unlink()


@pytest.mark.parametrize("given", ["0", "-1", "two"])
def test_threads_that_numba_would_not_take_are_refused(monkeypatch, given):
    monkeypatch.setenv("NUMBA_NUM_THREADS", given)
    with pytest.raises(ConfigError, match=f"NUMBA_NUM_THREADS = '{given}': must be a whole number"):
        one_thread_each(1)
