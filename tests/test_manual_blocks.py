"""The pages for newcomers: every block of code runs, in the order of the page, in one folder.

`mpiexec -n N` is left out, since ranks do not change the bits; tests/mpi shows that.
"""

import re
import shlex
from glob import glob

import pytest

from tests.conftest import ROOT

DOCS = sorted(ROOT.glob("docs/*.md"))


def blocks(page):
    """Yield (language, text) of the fenced blocks of a page."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.M)


def run_blocks(page, main, capsys):
    """Write the TOML files of a page, run commands and Python; return what they print."""
    shown = []
    for language, text in blocks(page):
        if language == "toml":
            name = re.match(r"# (\S+)", text)[1]
            with open(name, "w") as file:
                file.write(text)
        elif language == "python":
            exec(compile(text, page, "exec"), {})
        for line in text.splitlines() if language == "sh" else ():
            words = shlex.split(line)
            words = words[words.index("fedmpi") + 1 :]
            words = [name for word in words for name in sorted(glob(word)) or [word]]
            assert main(words) == 0, (line, capsys.readouterr().err)
        shown.append(capsys.readouterr().out)
    return "\n".join(shown)


def test_tutorial_and_reading(main, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = run_blocks("docs/tutorial.md", main, capsys)
    assert "# memory of a rank" in shown and "all 4 runs" not in shown
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert "fedavg, fedlp on digits" in (tmp_path / "report.html").read_text()
    shown = run_blocks("docs/reading.md", main, capsys)
    assert "finished 20 fedavg" in shown
    assert (tmp_path / "tables/fedlp-s0/rounds.csv").is_file()


def test_sweep(main, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = run_blocks("docs/sweep.md", main, capsys)
    assert all(f"p={p}_seed={seed}" in shown for p in (0.3, 0.7) for seed in (0, 1))


@pytest.mark.parametrize("page", [f"docs/{p.name}" for p in DOCS])
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


PAGES = ["README.md", "CHANGELOG.md", "jobs/README.md", *(f"docs/{p.name}" for p in DOCS)]


@pytest.mark.parametrize("page", PAGES)
def test_lines_of_prose_have_100_columns(page):
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.M)
    long = [line for line in prose.splitlines()
            if len(line) > 100 and not line.startswith(("|", "    "))]
    assert not long
    assert page != "README.md" or len((ROOT / page).read_text().splitlines()) < 150
