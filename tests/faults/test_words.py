"""Words of others on our terminal: shown, but not obeyed."""

import io

import pytest
from tests.faults.job import CONFIG

from fedmpi import cli
from fedmpi.cli.progress import Bar
from fedmpi.errors import LONGEST, ConfigError, FedmpiError
from fedmpi.sim import resolve

STEERING = "a\x1b[2Jb\rc\x07d\u202ee"


def test_errors_hold_nothing_that_steers_a_terminal(capsys):
    cli.report(FedmpiError(f"{STEERING}\nsecond line"), False)
    assert capsys.readouterr().err == (
        "fedmpi: a\\x1b[2Jb\\rc\\x07d\\u202ee\nsecond line\n"
    )


def test_long_lines_are_cut_in_the_middle():
    text = str(FedmpiError("first" + "x" * 5000 + "last\nsecond"))
    first, second = text.split("\n")
    assert len(first) < LONGEST + 10 and first.startswith("first") and first.endswith("last")
    assert second == "second"


@pytest.mark.parametrize("name", ["a\\u001b[2J", "a\\u009bb", "a\\rb", "\\n", ""])
def test_names_that_steer_are_refused(name):
    text = CONFIG.format(rounds=1, algorithm="Plain").replace("seed = 3", f'name = "{name}"')
    with pytest.raises(ConfigError, match=r"run\.name = "):
        resolve.resolve(text, "exp.toml")


@pytest.mark.parametrize("name", ["[/nope]", "[bold]", "a]", "[link=file:///etc]x"])
def test_names_in_the_bar_are_not_markup(name, monkeypatch):
    bar = Bar(name)
    monkeypatch.setattr(bar._progress.live.console, "file", io.StringIO())
    with bar:
        pass
    assert name in bar._progress.live.console.file.getvalue()


@pytest.mark.parametrize("name", ["..:x", ".os:path", "os/../x:y", "a:b:c", ":x", "os:", "a b:c"])
def test_names_of_code_are_no_paths(name):
    for key in ("algorithm.name",):
        with pytest.raises(ConfigError, match=r"package\.module:object"):
            resolve.resolve("", "exp.toml", [f'{key}="{name}"'])


def test_a_configuration_is_not_read_for_ever():
    with pytest.raises(ConfigError, match="longer than 1,000,000 characters"):
        resolve.text_of("/dev/zero")
