"""The report: its numbers are those of the tables, and its page is safe to open."""

import base64
import hashlib
import re

import h5py
import numpy as np
import pytest

from fedmpi.analysis import quantities
from fedmpi.analysis.compare import compare
from fedmpi.analysis.report.page import page, part, write
from fedmpi.errors import ConfigError, ResultError
from fedmpi.record import reader, schema
from tests.analysis.pages import Page
from tests.record import sample

DENSE = [0.2, 0.5, np.nan, 0.8, 0.9]
SPARSE = [[0.1, 0.4, 0.5, 0.7, 0.85], [0.1, 0.4, 0.5, 0.8, 0.87]]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;\x1b[2J\u202e"


def save(path, seed=1, **names):
    """Write a sample whose configuration has this seed; return its Run."""
    given = {"rounds": 5, "accuracy": None, "cost": 1.0, "status": "finished"} | names
    fixed = sample.fixed(algorithm=given.get("algorithm", "fedavg"))
    fixed["resolved"]["run"] = {"name": given.get("algorithm", "fedavg"), "seed": seed}
    writer = sample.Writer.create(path, **fixed)
    for number in range(given["rounds"]):
        value = given["accuracy"][number] if given["accuracy"] else None
        writer.append(*sample.one_round(number, cost=given["cost"], accuracy=value))
    writer.finish(given["status"], sample.weights(seed), f"{seed:064d}")
    return reader.open(path)


@pytest.fixture
def runs(tmp_path):
    """Return a dense run and two seeds of a sparse one: half the bytes up, half the seconds."""
    dense = save(tmp_path / "dense.h5", accuracy=DENSE)
    sparse = [save(tmp_path / f"sparse-s{seed}.h5", seed, accuracy=accuracy, cost=0.5,
                   algorithm="fedskel") for seed, accuracy in enumerate(SPARSE)]
    return [dense, *sparse]


def test_the_summary_has_the_numbers_of_the_tables(runs):
    dense, sparse = Page(page(runs)).table("Accuracy and cost of each configuration")
    assert dense["Configuration"] == "fedavg" and sparse["Configuration"] == "fedskel"
    assert (dense["Runs"], sparse["Runs"]) == ("1", "2")
    assert (dense["Final accuracy"], dense["Best accuracy"]) == ("0.9000", "0.9000")
    assert sparse["Final accuracy"] == "0.8600 ± 0.0141"  # of 0.85 and 0.87
    for name, column in (("Up", "bytes_up"), ("Down", "bytes_down")):
        assert dense[name] == quantities.in_bytes(int(runs[0].rounds[column].sum()))
    assert sparse["Up"] == "10 kB −50 %" and sparse["Down"] == "40 kB ±0 %"
    assert dense["Virtual time"] == "50 s" and sparse["Virtual time"] == "25 s −50 %"
    assert dense["Status"] == "finished" and dense["Rounds"] == "5"


def test_energy_is_shown_where_a_power_was_given(runs):
    assert not {"Energy", "CO2"} & {*Page(page(runs)).table("Accuracy and cost")[0]}
    for place, joules in enumerate((0.72e6, 0.36e6, 0.36e6)):  # of each of 5 rounds
        runs[place].close()
        with h5py.File(runs[place].path, "r+") as file:
            file["rounds/joules"][:], file["rounds/co2_g"][:] = joules, joules / 14_400
        runs[place] = reader.open(runs[place].path)
    dense, sparse = Page(page(runs)).table("Accuracy and cost")
    assert (dense["Energy"], dense["CO2"]) == ("1 kWh", "250 g")
    assert (sparse["Energy"], sparse["CO2"]) == ("500 Wh −50 %", "125 g −50 %")


def test_every_run_is_in_the_table_of_runs(runs):
    rows = Page(page(runs)).table("Each run")
    for run, row in zip(runs, rows, strict=True):
        info = run.info()
        assert row["Final accuracy"] == quantities.accuracy(info["final_accuracy"])
        assert row["Best accuracy"] == quantities.accuracy(info["best_accuracy"])
        assert row["Up"] == quantities.in_bytes(info["bytes_up"])
        assert row["Down"] == quantities.in_bytes(info["bytes_down"])
        assert row["Virtual time"] == quantities.in_seconds(info["virtual_time"])
        assert row["Wall time"] == quantities.in_seconds(info["wall_time"])
    assert [row["Run"] for row in rows] == ["dense", "sparse-s0", "sparse-s1"]
    assert [row["Seed"] for row in rows] == ["1", "0", "1"]


def test_the_price_of_a_target_is_that_of_compare(runs):
    dense, sparse = Page(page(runs, 0.8)).table("Cost of test accuracy 0.8")
    found = compare(runs, 0.8).rows
    assert dense["Rounds"] == "4" and dense["Up and down"] == "48 kB"
    assert dense["Virtual time"] == "40 s" and dense["Reached by"] == "1 of 1"
    both = [np.mean([row[name] for row in found[1:]]) for name in ("bytes_to", "seconds_to")]
    assert sparse["Rounds"] == "4.5" and both == [45_000, 22.5]
    assert sparse["Up and down"] == "45 kB −6.25 %" and sparse["Virtual time"] == "22.5 s −43.8 %"


def test_a_target_that_some_runs_miss_has_no_mean_price(runs):
    _, sparse = Page(page(runs, 0.86)).table("Cost of test accuracy 0.86")
    assert sparse["Reached by"] == "1 of 2"
    assert {sparse[name] for name in ("Rounds", "Up", "Down", "Up and down")} == {"-"}


def test_the_curves_pass_through_the_accuracies(runs):
    drawing, *_ = [a for a in Page(page(runs[:1])).all("svg") if a.get("class") == "lines"]
    low, high = map(float, drawing["data-y"].split())
    left, right, top, bottom = map(float, drawing["data-area"].split())
    (line,) = [a["d"] for a in Page(page(runs[:1])).all("path") if "data-name" in a][:1]
    points = np.array([list(map(float, pair.split(","))) for pair in line[1:].split()])
    values = low + (bottom - points[:, 1]) / (bottom - top) * (high - low)
    np.testing.assert_allclose(values, [0.2, 0.5, 0.8, 0.9], atol=0.001)
    np.testing.assert_allclose((points[:, 0] - left) / (right - left) * 5, [1, 2, 4, 5], atol=0.01)


def test_bytes_are_split_by_purpose(runs):
    dense, _ = Page(page(runs)).table("Bytes of the whole run")
    assert (dense["Up"], dense["values"], dense["frame"]) == ("20 kB", "0 %", "100 %")
    assert (dense["One client up"], dense["One client down"]) == ("1 kB", "2 kB")


def test_differences_hashes_and_events(runs, tmp_path):
    run = save(tmp_path / "other.h5", rounds=1, status="stopped", algorithm="fedlp")
    found = Page(page([*runs, run]))
    (key,) = found.table("Keys in which the configurations differ")
    assert key == {"Key": "algorithm.name", "fedavg": "fedavg", "fedskel": "fedskel",
                   "fedlp": "fedlp"}
    rows = found.table("What made the results")
    assert [row["Status"] for row in rows] == ["finished"] * 3 + ["stopped"]
    titles = [a.get("title") for a in found.all("abbr")]
    assert titles.count(runs[0].weights_sha256) == 3
    assert "stopped" in {row["Status"] for row in found.table("Accuracy and cost")}


def evil_run(path):
    """Write a file with EVIL in every text that a file can hold; return its Run."""
    fixed = sample.fixed() | {"layer_names": [f"{EVIL}{i}" for i in range(3)], "config_toml": EVIL}
    fixed["resolved"] = {"run": {"name": EVIL, "seed": EVIL}, EVIL: {EVIL: [EVIL]},
                         "algorithm": {"name": EVIL}, "data": {"name": EVIL, "alpha": EVIL}}
    fixed["provenance"] = {"command": EVIL, "mpi": EVIL, "hosts": [EVIL, "b"], "git_commit": EVIL}
    fixed["devices"] = {"tier": [EVIL] * 6, "x": np.ones(6)}
    writer = sample.Writer.create(path, **fixed)
    writer.append(*sample.one_round(0))
    writer.event("warning", EVIL)
    writer.finish("finished", sample.weights(), "<b>")
    return reader.open(path)


def test_what_a_file_says_is_never_markup(tmp_path, runs):
    path = tmp_path / "<b onclick=x>'\".h5"
    found = Page(page([evil_run(path), *runs]))
    assert found.all("script") == [{}]
    assert found.sources["script"] == part("page.js")
    names = {name for name, _ in found.elements}
    assert not names & {"img", "b", "iframe", "object", "embed", "link", "base", "form"}
    assert not [key for _, a in found.elements for key in a if key.startswith("on")]
    shown = "".join(found.shown)
    assert shown.count("<script>alert(1)</script>") > 10
    assert "\x1b" not in found.text and "\u202e" not in found.text


def test_the_page_asks_nobody_for_anything(runs):
    found = Page(page(runs))
    for _, attributes in found.elements:
        for key, value in attributes.items():
            assert key not in ("src", "srcset", "style", "action", "data")
            assert key != "href" or value.startswith("#")
    assert not re.search(r"https?:|url\(|@import|//\w+\.\w", found.text)
    (policy,) = [a["content"] for a in found.all("meta") if "http-equiv" in a]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy
    for name in ("script", "style"):
        digest = hashlib.sha256(found.sources[name].encode()).digest()
        assert rules[f"{name}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_the_page_can_be_read_without_eyes_and_without_a_mouse(runs):
    found = Page(page(runs))
    assert all(a.get("aria-label") for a in found.all("div") if a.get("role") == "region")
    assert all(a.get("tabindex") == "0" for a in found.all("div") if a.get("role") == "region")
    drawings = found.all("svg")
    assert all((a.get("role") == "img") != (a.get("aria-hidden") == "true") for a in drawings)
    titles = [name for name, _ in found.elements].count("title")
    assert titles >= 1 + len([a for a in drawings if a.get("role") == "img"])
    assert all(caption for caption in found.tables)
    assert all(a.get("scope") in ("col", "row") for a in found.all("th"))
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    assert {a["href"][1:] for a in found.all("a")} <= set(ids)


def test_every_drawing_has_its_data_as_csv(runs):
    drawings = [a for a in Page(page(runs)).all("svg") if a.get("role") == "img"]
    assert all(a.get("data-csv") or a.get("data-area") for a in drawings)
    whole = [a["data-csv"] for a in drawings if a.get("data-csv", "").startswith("samples,")]
    assert whole == [",".join(["samples", *map(str, runs[0].partition.sum(axis=1))])]


def test_the_same_runs_give_the_same_bytes(runs, run_fedmpi, tmp_path):
    paths = [run.path for run in runs]
    for number in (1, 2):
        done = run_fedmpi("report", *paths, "-o", f"{number}.html", PYTHONHASHSEED=str(number))
        assert done.returncode == 0 and f"{number}.html" in done.stderr
    first, second = ((tmp_path / f"{n}.html").read_bytes() for n in (1, 2))
    assert first == second == page(runs).encode()


def test_files_are_not_overwritten_and_names_are_checked(runs, tmp_path, run_fedmpi):
    out = tmp_path / "a.html"
    write(runs, out)
    before = out.read_bytes()
    with pytest.raises(ResultError, match="exists; choose another name or add --overwrite"):
        write(runs[:1], out)
    assert out.read_bytes() == before
    write(runs[:1], out, overwrite=True)
    assert out.read_bytes() != before
    with pytest.raises(ConfigError, match=r"must end in .html or .htm"):
        write(runs, runs[0].path, overwrite=True)
    with pytest.raises(ResultError, match="its folder does not exist"):
        write(runs, tmp_path / "no" / "a.html")
    with pytest.raises(ConfigError, match="must be above 0 and at most 1"):
        write(runs, tmp_path / "b.html", target=80)
    odd = (tmp_path / "dense.html").with_suffix(".html")
    odd.write_bytes((tmp_path / "dense.h5").read_bytes())
    done = run_fedmpi("report", odd, "-o", odd, "--overwrite")
    assert done.returncode == 2 and "is one of the result files" in done.stderr
    assert not list(tmp_path.glob("*.part"))


def test_an_old_file_is_sent_to_upgrade(tmp_path, run_fedmpi):
    h5py = pytest.importorskip("h5py")
    path = sample.write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_("0.9")
    done = run_fedmpi("report", path, "-o", "a.html")
    assert done.returncode == 1 and "fedmpi upgrade" in done.stderr
    assert not (tmp_path / "a.html").exists()


def test_reading_loads_neither_mpi_nor_torch_nor_matplotlib(run_python):
    heavy = {"torch", "mpi4py", "numba", "matplotlib", "pandas"}
    code = f"import sys, fedmpi.analysis.report.page; print(*{heavy} & set(sys.modules))"
    done = run_python("-c", code)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def colours(scheme):
    """Return {name: (r, g, b)} of the style, light or dark."""
    blocks = re.findall(r":root \{(.*?)\}", part("style.css"), re.DOTALL)
    text = blocks[0] + (blocks[1] if scheme == "dark" else "")
    return {name: tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4))
            for name, value in re.findall(r"--(\w+): #(\w{6})", text)}


def contrast(one, other):
    """Return the contrast of two colours as WCAG 2 defines it."""
    def light(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out(scheme):
    found = colours(scheme)
    for ground in ("paper", "wash"):
        assert all(contrast(found[name], found[ground]) >= 4.5 for name in ("ink", "soft", "mark"))
    graphic = [name for name in found if re.fullmatch(r"[cp]\d", name)] + ["field"]
    assert len(graphic) == 15
    assert {name: contrast(found[name], found["paper"]) for name in graphic
            if contrast(found[name], found["paper"]) < 3} == {}


def test_paper_has_no_heading_at_the_foot_of_a_page():
    _, _, printed = part("style.css").partition("@media print")
    kept = [rule.split("{")[0] for rule in printed.split("}") if "break-after: avoid" in rule]
    assert {"h2", "h3", "caption", ".key"} <= {name.strip() for name in ",".join(kept).split(",")}


def test_status_words_are_those_of_the_schema(runs):
    rows = Page(page(runs)).table("Tiers of devices")
    heads = {word.capitalize() for word in schema.CLIENT_STATUS}
    assert heads <= set(rows[0])
    # A sample's four clients complete, are late, dropped and rejected, in five rounds.
    of_dense = [row for row in rows if row["Configuration"] == "fedavg"]
    for word, total in (("Completed", 5), ("Late", 5), ("Rejected", 5), ("Unavailable", 0)):
        assert sum(int(row[word]) for row in of_dense) == total
