"""Real clients beside virtual clients: the comparison, and the links between processes."""

import os
import subprocess
import sys

import pytest

from fedmpi.bench import real_rounds, shaped_links, validation
from fedmpi.bench.processes import Launch
from fedmpi.bench.shaped_links import FRAME, ShapedLink
from fedmpi.errors import FedmpiError
from tests.conftest import ROOT


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_real_client_has_its_share_of_a_core_and_its_link(monkeypatch, namespaces):
    if not namespaces:
        monkeypatch.setenv("PATH", "")
    launch = Launch(sys.executable, (), dict(os.environ) | {"PYTHONPATH": str(ROOT)}, 1, 1)
    found = validation.run(launch, 1, True, lambda text: None)
    shaped = found["links"] == "shaped"
    assert shaped or found["links"].startswith("none, so only computing is compared: ip: ")
    (row,), (arm,) = found["rows"], found["rounds"]
    assert (row["method"], row["clients"], "error_up" in row) == ("FedAvg", 1, shaped)
    share, up, down, latency = real_rounds.DEVICES[0]
    rounds = [client for (client,) in arm["rounds"]]
    assert len(rounds) == 2
    for client in rounds:
        assert client["compute"] > 0.99 * client["cpu"] / client["share"]
        assert client["virtual_compute"] == pytest.approx(
            client["flops"] / (1e9 * share * found["gflop_s_of_a_core"])
        )
        if shaped:  # a token bucket lets a few frames go at once, and no more
            bits = 8 * (client["bytes"] - 10_000)
            assert client["up"] > latency + bits / (1e6 * up)
            assert client["down"] > latency + bits / (1e6 * down)
    names = [bar["name"] for bar in found["bars"]]
    what = "round times" if shaped else "seconds of computing"
    assert names == [f"error of {what}, 1 clients at a time"]
    assert found["bars"][0]["met"] is None


def test_a_link_leaves_nothing_behind_if_it_cannot_be_had(monkeypatch):
    called = []

    def run(words, **how):
        called.append(" ".join(words))
        if "tc" in words:
            raise subprocess.CalledProcessError(2, words, stderr="Operation not permitted\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FedmpiError, match=r"tc qdisc .*: Operation not permitted"):
        ShapedLink(3).__enter__()
    name = f"fm{os.getpid()}-3"
    assert f"ip netns add {name}" in called
    assert called[-2:] == [f"ip link del {name}h", f"ip netns del {name}"]
    assert f"rate {round(1e9 * FRAME)} " in next(word for word in called if "tc" in word)


def test_what_a_killed_bench_left_is_removed_by_the_next(monkeypatch, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for folder, names in (
        ("net", ["lo", "fmt", f"fm{dead.pid}-0h", f"fmb{dead.pid}", f"fmb{os.getpid()}"]),
        ("netns", [f"fm{dead.pid}-0", f"fmb{dead.pid}-1", f"fm{os.getpid()}-0", "other"]),
    ):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
    monkeypatch.setattr(shaped_links, "LINKS", tmp_path / "net")
    monkeypatch.setattr(shaped_links, "SPACES", tmp_path / "netns")
    called = []
    monkeypatch.setattr(shaped_links, "call", lambda *words: called.append(" ".join(words)))
    shaped_links.remove_leftovers()
    assert sorted(called) == sorted([
        f"ip link del fm{dead.pid}-0h", f"ip link del fmb{dead.pid}",
        f"ip netns del fm{dead.pid}-0", f"ip netns del fmb{dead.pid}-1",
    ])  # fmt: skip


def test_errors_by_hand():
    client = {"down": 1.0, "compute": 4.0, "up": 1.0, "total": 6.0,
              "virtual_down": 1.5, "virtual_compute": 3.0, "virtual_up": 1.0, "virtual_total": 5.5}
    slow = client | {"compute": 6.0, "total": 8.0}
    found = validation.errors([[client, slow], [client, client]], shaped=True)
    assert found == pytest.approx({
        "virtual_s": 5.5, "real_s": 7.0, "error": (2.5 / 8 + 0.5 / 6) / 2,
        "error_down": 0.5, "error_compute": 0.25, "error_up": 0.0,
    })  # fmt: skip
    alone = validation.errors([[client, slow]], shaped=False)
    assert alone == pytest.approx({"virtual_s": 3.0, "real_s": 6.0, "error": 0.5})
