"""Whole rounds on emulated nodes: predictions by hand, and the message without nodes."""

import sys

import numpy as np
import pytest

from fedmpi.bench import emulated_rounds
from fedmpi.bench.emulated_rounds import QUICK, beside, free_memory
from fedmpi.bench.processes import Launch
from fedmpi.bench.whole_rounds import assembled
from fedmpi.cli.bench_run import counts_of
from fedmpi.errors import ConfigError

PHASES = {"step": 0.5, "evaluate": 0.25, "record": 0.125}


def run_of(ranks, train, seconds):
    """Return what `bench run --on` finds: three rounds, of which the first does not count."""
    return {"ranks": ranks, "train": [99.0, train, train], "phases": PHASES,
            "seconds": [99.0, seconds, seconds], "short_message": 0.0}  # fmt: skip


def test_the_parts_of_a_round_by_hand():
    alone, layout = run_of(1, 8.0, 0.0), assembled(QUICK).layout
    one, two, four = beside(QUICK, [*(run_of(n, 80.0, 4.0) for n in (4, 2, 1)), alone], cores=2)
    # Work differs a little from cohort to cohort; the pace is that of the mean client.
    assert one["train"] == pytest.approx(8.0, rel=0.3)
    assert (one["reduce"], one["move"], one["step"]) == (0.0, 0.0, 0.5)
    assert one["predicted"] == pytest.approx(one["train"] + 0.5 + 0.25 + 0.125, abs=0.01)
    assert one["ratio"] == one["predicted"] / 4.0
    # Two ranks have a core each; of four, each has half a core.
    assert (two["step"], four["step"]) == (0.5, 1.0)
    assert two["train"] == pytest.approx(one["train"] / 2, rel=0.1)
    assert four["evaluate"] == 2 * 0.25 / 4
    # Two sums of 8 bytes a coordinate: (P - 1) / P of it goes out, and comes back as the sum.
    bytes_out = 2 * 2 * 8 * layout.size
    slow = 8 / (1e9 * emulated_rounds.GBIT_S)
    assert two["reduce"] == pytest.approx(bytes_out * slow / 2, rel=0.03)
    assert four["reduce"] == pytest.approx(bytes_out * slow * 3 / 4, rel=0.03)
    # Memories of 4 bytes a coordinate travel one after the other; no rank sends more than 8.
    memories = np.array([two["move"], four["move"]]) / (4 * layout.size * slow)
    assert (memories > 0.9).all() and (memories < 8.1).all()


def test_a_machine_without_nodes_or_without_memory_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    launch = Launch(sys.executable, ("mpiexec", "-n"), {}, 2, 2)
    found = emulated_rounds.run(launch, True, lambda text: None)
    assert found["rows"] == [] and [bar.value for bar in found["bars"]] == [None, None]
    assert all("ip" in bar.note for bar in found["bars"])
    monkeypatch.setattr(emulated_rounds, "free_memory", lambda: 0.7e9)
    one, two = emulated_rounds.run(launch, True, lambda text: None)["bars"]
    assert "ip" in one.note and two.note == "needs 500 MB a rank"
    monkeypatch.setattr(emulated_rounds, "free_memory", lambda: 0.0)
    assert all("500 MB" in bar.note for bar in emulated_rounds.run(launch, True, str)["bars"])


def test_free_memory_is_that_of_the_system(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert free_memory(tmp_path / "meminfo") == 2 << 20
    assert free_memory(tmp_path / "none") == float("inf")


@pytest.mark.parametrize("text", ["0", "1,9", "1;2", "", "-1", "1,,2"])
def test_numbers_of_ranks_that_the_job_does_not_have_are_refused(text):
    assert counts_of("1, 2,8", 8) == [1, 2, 8]
    with pytest.raises(ConfigError, match=r"bench run --on .* from 1 to 8"):
        counts_of(text, 8)
