"""The examples of README and manual do what the text says, as a new user starts them."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from fedmpi.algorithms import ALGORITHMS
from fedmpi.learn.data import DATASETS, files
from tests.conftest import ROOT, errors_of


def blocks(name, language):
    """The code blocks of one page in one language, by the file that their first line names."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    named = [(re.match(r"# (\S+\.\w+)", block), block) for block in found]
    return {match.group(1) if match else "mine.py": block for match, block in named}


@pytest.fixture
def pages(tmp_path):
    """An empty folder with the files of docs/own.md and README's method."""
    method = [b for b in blocks("README.md", "python").values() if "class FedLP" in b]
    files = blocks("docs/own.md", "python") | blocks("docs/own.md", "toml")
    for name, text in (files | {"mine.py": method[0]}).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(run_fedmpi, out):
    return json.loads(run_fedmpi("info", "--json", out).stdout)["weights_sha256"]


@pytest.mark.parametrize("out", ["own.h5", "cnn.h5"])
def test_own_code_runs_where_it_lies_and_gives_the_same_bits_on_3_ranks(run_fedmpi, pages, out):
    lines = (ROOT / "docs/own.md").read_text().splitlines()
    line = next(line for line in lines if f"-o {out}" in line)
    words = shlex.split(line)[4:]
    assert words[0] == "run"
    done = run_fedmpi(*words, ranks=3)
    assert done.returncode == 0, done.stderr
    alone = run_fedmpi(*[word.replace(".h5", "1.h5") for word in words])
    assert alone.returncode == 0, alone.stderr
    assert digest(run_fedmpi, out) == digest(run_fedmpi, out.replace(".h5", "1.h5"))
    words = ["resume", out, "--set", "run.rounds=6", "--quiet"]
    assert run_fedmpi(*words, "--allow-code").returncode == 0


def test_the_example_in_python_prints_the_accuracies_alone(run_python, pages):
    done = run_python("by_hand.py")
    assert done.returncode == 0 and done.stderr == ""
    accuracies = [float(word) for word in done.stdout.strip("[]\n").split()]
    assert len(accuracies) == 5 and accuracies[-1] > 0.5


FAULTS = {
    "model.name=my_model:smal_cnn": "module my_model has no smal_cnn; did you mean small_cnn?",
    "model.name=mymodel:small_cnn": "No module named 'mymodel'; start in its folder",
    "model.name=my_model:nn": "must be a function (input_shape, classes, **keys)",
    "data.name=my_data:np": "with the decorator @fedmpi.dataset",
    "data.nose=3": "own.toml: data.nose: unknown key; did you mean noise?",
    "algorithm.name=my_data:two_moons": "must be a subclass of fedmpi.Algorithm",
    "algorithm.name=broken:Method": "ZeroDivisionError: division by zero (broken.py:2)",
    "algorithm.name=lacks:Method": "algorithm.name = 'lacks:Method': has no plan; define it",
}


@pytest.mark.parametrize("word", FAULTS)
def test_faults_of_own_code_are_named_with_their_line(run_fedmpi, pages, word):
    (pages / "broken.py").write_text("class Method:\n    size = 1 / 0\n")
    (pages / "lacks.py").write_text(
        "import fedmpi\nclass Method(fedmpi.Algorithm, name='lacks'):\n    pass\n"
    )
    done = run_fedmpi("run", "own.toml", "-o", "a.h5", "--set", word)
    assert done.returncode == 2, done.stderr
    assert FAULTS[word] in done.stderr and len(errors_of(done.stderr)) <= 2
    assert not Path(pages, "a.h5").exists()


def test_every_page_of_the_manual_is_in_its_list():
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    lists = re.findall(r"^```{toctree}\n(.*?)^```", (ROOT / "docs/index.md").read_text(),
                       re.DOTALL | re.M)
    listed = [line for text in lists for line in text.splitlines() if line and line[0] != ":"]
    assert sorted(listed) == sorted(pages), os.linesep.join(sorted(pages))


def test_the_rows_of_a_table_have_the_columns_of_its_head():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("jobs/*.md"),
             ROOT / "fedmpi/record/SCHEMA.md"]
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M)
        for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
            cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(cells) == 1, (page.name, table)


def test_the_manual_names_the_methods_that_a_policy_can_give_less_work():
    text = (ROOT / "docs/time.md").read_text().partition("| method | key | values |")[2]
    listed = set(re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\|[^|]*", text, re.M)[1:])))
    able = {name for name in ALGORITHMS if ALGORITHMS[name].knob}
    assert able and able <= listed, able - listed


def test_the_manual_lists_the_folders_of_all_data_files():
    text = (ROOT / "docs/experiment.md").read_text()
    paths = {path for known in files.FILES.values() for path in known}
    for path in paths:
        folder = path.rpartition("/")[0]
        folder = "shakespeare/moby-plays" if "moby-plays" in folder else folder
        assert f"{folder}/" in text, path
    assert all(f"`{name}`" in text for name in DATASETS)


def test_the_manual_names_the_methods_whose_schedule_follows_the_number_of_rounds():
    files = (ROOT / "fedmpi/algorithms").glob("*.py")
    spread = re.compile(r"(self\.|\* )setting\.rounds")
    using = {path.stem for path in files if spread.search(path.read_text())}
    text = (ROOT / "docs/sharp.md").read_text()
    (names,) = re.findall(r"schedule\.\*\* (.*?)spread", text, re.DOTALL)
    assert set(re.findall(r"\w+", names.lower().replace(" and\n", " "))) == using
