"""Control characters in names and messages: the terminal shows them and does not obey."""

import io
import json
from pathlib import Path

import pytest

import fedmpi
from fedmpi import cli
from fedmpi.algorithms import ALGORITHMS
from fedmpi.cli.progress_display import LiveBar
from fedmpi.errors import LONGEST, ConfigError, FedmpiError, nearest
from fedmpi.experiment import resolve
from fedmpi.record.writer import Writer
from fedmpi.user_code import in_words
from tests.cli.rows import Row
from tests.faults.job import CONFIG
from tests.record import sample

STEERING = "a\x1b[2Jb\rc\x07d\u202ee"


def test_errors_hold_nothing_that_steers_a_terminal(capsys):
    cli.report(FedmpiError(f"{STEERING}\nsecond line"), False)
    assert capsys.readouterr().err == (
        "fedmpi: a\\x1b[2Jb\\rc\\x07d\\u202ee\nsecond line\n"
    )


def test_what_a_result_file_says_is_shown_and_not_obeyed(tmp_path, capsys):
    words = sample.fixed(name=STEERING)
    words["provenance"] = {"hosts": [STEERING], STEERING: STEERING}
    writer = Writer.create(tmp_path / "out.h5", **words)
    writer.append(*sample.one_round(0))
    writer.event("warning", STEERING)
    writer.finish("stopped")
    for verb in ("info", "compare", "watch", "table"):
        assert cli.main([verb, str(tmp_path / "out.h5")]) == (75 if verb == "watch" else 0)
        shown = capsys.readouterr()
        assert shown.out and not {"\x1b", "\r", "\x07", "\u202e"} & set(shown.out + shown.err)


def test_long_lines_are_cut_in_the_middle():
    text = str(FedmpiError("first" + "x" * 5000 + "last\nsecond"))
    first, second = text.split("\n")
    assert len(first) < LONGEST + 10 and first.startswith("first") and first.endswith("last")
    assert second == "second"


def test_an_unknown_method_is_answered_with_the_names_of_all():
    """The middle of the list was cut out."""
    ours = [name for name, cls in ALGORITHMS.items() if cls.__module__.startswith("fedmpi.")]
    fault = nearest("zzz", sorted(ours))
    said = str(ConfigError(f"{'x' * 100}: algorithm.name = 'zzz': unknown algorithm; {fault}"))
    assert len(ours) > 30 and all(f" {name}," in f"{said}," for name in ours)


@pytest.mark.parametrize("fails", [lambda: fedmpi.Keys().layers, lambda: json.loads("x")])
def test_an_unexpected_error_names_the_last_line_of_own_code(fails, capsys):
    with pytest.raises((AttributeError, ValueError)) as caught:
        fails()
    cli.report(caught.value, False)
    assert f"({__file__}:" in capsys.readouterr().err
    assert Path(__file__).name in in_words(caught.value)


@pytest.mark.parametrize("name", ["a\\u001b[2J", "a\\u009bb", "a\\rb", "\\n", ""])
def test_names_that_steer_are_refused(name):
    text = CONFIG.format(rounds=1, algorithm="Plain").replace("seed = 3", f'name = "{name}"')
    with pytest.raises(ConfigError, match=r"run\.name = "):
        resolve.resolve(text, "exp.toml")


@pytest.mark.parametrize("name", ["[/nope]", "[bold]", "a]", "[link=file:///etc]x"])
def test_names_in_the_bar_are_not_markup(name, monkeypatch):
    bar = LiveBar(name)
    monkeypatch.setattr(bar._progress.live.console, "file", io.StringIO())
    with bar:
        pass
    assert name in bar._progress.live.console.file.getvalue()


def test_a_long_name_leaves_room_for_the_facts(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    bar = LiveBar("n" * 100)
    monkeypatch.setattr(bar._progress.live.console, "file", io.StringIO())
    with bar:
        bar(Row(4, 0.5), 10)
    shown = bar._progress.live.console.file.getvalue()
    assert "nn…nn" in shown and "5/10  accuracy 50.0 %" in shown


@pytest.mark.parametrize("name", ["..:x", ".os:path", "os/../x:y", "a:b:c", ":x", "os:", "a b:c"])
def test_names_of_code_are_no_paths(name):
    with pytest.raises(ConfigError, match=r"package\.module:object"):
        resolve.resolve("", "exp.toml", [f'algorithm.name="{name}"'])


def test_a_configuration_is_not_read_for_ever():
    with pytest.raises(ConfigError, match="longer than 1,000,000 characters"):
        resolve.text_of("/dev/zero")
