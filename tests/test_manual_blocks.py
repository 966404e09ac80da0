"""The pages: every block of code runs, in the order of the page, in one folder.

`mpiexec -n N` is left out, since ranks do not change the bits; tests/mpi shows that.
"""

import re
import shlex
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from fedmpi import cli
from tests.conftest import ROOT

DOCS = sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))
PAGES = ["README.md", "jobs/README.md", *DOCS]

# Pages that build on each other share a folder.
TOGETHER = [["docs/tutorial.md", "docs/reading.md", "docs/result.md"],
            ["README.md", "docs/own.md"],
            ["jobs/README.md", "docs/scaling.md", "docs/engines.md"],
            ["docs/models.md", "docs/stages.md", "docs/time.md"]]
GROUPS = TOGETHER + [[page] for page in PAGES if not any(page in pages for pages in TOGETHER)]

# Lines that do not run here, by how they begin, and why. Options of `fedmpi` are checked anyway.
LEFT_OUT = {
    "NUMBA_CPU_NAME=": "takes minutes; tests/bench",
    "apptainer ": "needs Apptainer; tests/jobs/test_container.py enters the same file system",
    "bash jobs/papers.sh": "takes hours; tests/jobs/test_configs.py",
    "cp jobs/sites": "suits one cluster; tests/jobs/test_submit.py tries each file",
    "fedmpi bench": "takes minutes; tests/bench",
    "fedmpi compare lr/": "reads what a sweep of 24 runs wrote; docs/sweep.md runs a small one",
    "fedmpi data fetch": "needs a network; tests/cli/test_data.py",
    "fedmpi doctor": "judges the machine and not the page; tests/cli/test_doctor.py",
    "fedmpi info strong/": "reads what jobs/scaling.py wrote",
    "fedmpi watch": "waits for a job; tests/cli/test_follow.py",
    "make ": "installs, and runs these tests",
    "mksquashfs ": "needs squashfs-tools",
    "pip install": "needs a network; tests/test_packaging.py",
    "python jobs/reproduction.py": "reads what jobs/papers.sh wrote",
    "python jobs/scaling.py": "starts up to 64 ranks; tests/jobs/test_recipes.py",
    "python3.11 -m venv": "makes an environment; tests/test_packaging.py",
    "sbatch ": "needs Slurm; tests/jobs",
    "sbcast ": "needs Slurm",
    "srun ": "needs Slurm; tests/jobs",
}
REHEARSED = "fedmpi submit", "-o lr"  # with --dry-run: no scheduler is here, or too many runs
# Less work, and data and devices that are here.
CHEAPER = {"run.rounds=50": "run.rounds=1", "-o fedskel.h5": "-o fedskel.h5 --set run.rounds=1",
           "-o fedavg.h5": "-o fedavg.h5 --set run.rounds=1", '"fashion-mnist"': '"digits"',
           "seeds = [0, 1]\n": "seeds = [1]\n", "p = [0.3, 0.7]": "p = [0.7]",
           'device = "cuda"': "", '"traces.json"': '"spells.csv"'}
SMALL = """\
[run]
rounds = 1
[data]
partition = "dirichlet"
alpha = 1.0
[model]
name = "softmax"
"""
GIVEN = {  # files that the reader of a page has
    "exp.toml": SMALL, "mnist.toml": SMALL, ".config/fedmpi/site.toml": "",
    "fedmpi/.venv/bin/activate": "",
    "links.csv": "client,second,up_mbit_s,down_mbit_s\n0,0,10,50\n",
    "spells.csv": "client,start,stop,state\n0,0,3600,on\n",
}
STUBS = "set -e; launch=(srun); module() { :; }\n"  # as where jobs/env.sh is sourced


def blocks(page):
    """Return (language, text) of the fenced blocks of a page."""
    text = (ROOT / page).read_text()
    for long, short in CHEAPER.items():
        text = text.replace(long, short)
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.M)


def left_out(line):
    """Return the beginning of LEFT_OUT that a line has, or None."""
    return next((begin for begin in LEFT_OUT if line.startswith(begin)), None)


def run_line(line, main, capsys):
    """Run one line of shell: `fedmpi` in this process, all else by bash."""
    words = shlex.split(line, comments=True)
    if "fedmpi" not in words or words[0] == "apptainer":
        if not left_out(line):
            subprocess.run(["bash", "-c", STUBS + line], check=True)
        return
    words = words[words.index("fedmpi") + 1 :]
    if left_out(line):
        cli.parse(cli._parser(), words)
        return
    words = [name for word in words for name in sorted(glob(word)) or [word]]
    words += ["--dry-run"] if any(word in line for word in REHEARSED) else []
    assert main(words) == 0, (line, capsys.readouterr().err)


def run_page(page, main, capsys):
    """Write the files of a page, then run its commands and Python; return their output."""
    for language, text in blocks(page):
        if named := re.match(r"# (\S+\.\w+)\n", text):
            Path(named[1]).write_text(text)
        elif language == "toml":  # a part of a configuration
            Path("part.toml").write_text(text)
            assert main(["check", "part.toml"]) == 0, (text, capsys.readouterr().err)
    shown = []
    for language, text in blocks(page):
        if language == "python" and not re.match(r"# (mine|my_\w+)\.py", text):
            exec(compile(text, page, "exec"), {})
        for line in text.replace("\\\n", "").splitlines() if language == "sh" else ():
            run_line(line, main, capsys)
        shown.append(capsys.readouterr().out)
    return "\n".join(shown)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder, also the home, with the files that readers have; modules are forgotten after it."""
    for name, text in GIVEN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("jobs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


SHOWN = {  # some of the output of a group of pages
    "docs/tutorial.md": ["# memory of a rank", "finished 20 fedavg"],
    "docs/sweep.md": ["p=0.7_seed=1"],
    "README.md": ["# memory of a rank", "p = 0.7"],
    "jobs/README.md": ["#SBATCH --nodes=2", "#PBS", "flux", "fedlp_lr=0.1_alpha=0.1_seed=0"],
}
WRITTEN = {  # some of the files that they write, and how these begin
    "docs/tutorial.md": {"figure.pdf": "%PDF", "tables/fedlp-s0/rounds.csv": "round,"},
    "docs/sweep.md": {"results/p=0.7_seed=1.h5": "", "results/points.tsv": ""},
    "README.md": {"paper.pdf": "%PDF", "partition.png": "", "sparse_mean.py": '"""'},
}


@pytest.mark.parametrize("pages", GROUPS, ids=lambda pages: pages[0])
def test_the_blocks_of_a_page_run(pages, main, folder, capsys):
    shown = "\n".join(run_page(page, main, capsys) for page in pages)
    assert [text for text in SHOWN.get(pages[0], ()) if text not in shown] == []
    for name, begin in WRITTEN.get(pages[0], {}).items():
        assert (folder / name).read_bytes().startswith(begin.encode()), name


def test_every_line_that_is_left_out_is_on_a_page():
    lines = [line for page in PAGES for language, text in blocks(page) if language == "sh"
             for line in text.splitlines()]
    assert set(map(left_out, lines)) - {None} == set(LEFT_OUT)


@pytest.mark.parametrize("page", PAGES)
def test_code_on_a_page_is_fenced(page):
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.M)
    assert not re.findall(r"\n\n    \S.*", prose)


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "SECURITY.md", "REPRODUCTION.md"])
def test_lines_of_prose_have_100_columns(page):
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.M)
    assert not [line for line in prose.splitlines() if len(line) > 100 and line[:1] != "|"]
    assert page != "README.md" or len((ROOT / page).read_text().splitlines()) < 150
