"""The replay against what LogGP says in closed form."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from fedmpi.bench.replay import Network, Round, dense, gather, lists, logged, replay, trace

# One switch, full duplex links of 10 Gbit/s; a message crosses two of them.
PLATFORM = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <zone id="all" routing="Full">
    <cluster id="c" prefix="h" suffix="" radical="0-{last}" speed="1Gf" bw="1.25GBps"
      lat="7.5us" sharing_policy="SPLITDUPLEX"/>
  </zone>
</platform>
"""

WIDE = Network(latency=0.0, overhead=0.0, per_byte=1e-9)  # bandwidth only
SLOW = Network(latency=1e-3, overhead=1e-4, per_byte=0.0)  # latency only


def one(source, target, size, **more):
    return Round(np.array([source]), np.array([target]), np.array([float(size)]), **more)


def test_one_message_takes_its_overheads_latency_and_bytes():
    network = Network(latency=5.0, overhead=1.0, per_byte=0.5)
    clock = replay([one(0, 1, 8, work=2.0, adding=3.0)], 3, network)
    # Sent at 2, there at 2 + 1 + 5 + 8 * 0.5; the overhead and the adding come after.
    np.testing.assert_allclose(clock, [3.0, 16.0, 0.0])


def test_a_rank_sends_its_next_message_when_its_card_is_free():
    clock = replay([one(0, 1, 100), one(0, 2, 100)], 3, WIDE)
    np.testing.assert_allclose(clock[1:], [1e-7, 2e-7])


def test_ranks_of_a_node_share_its_card():
    both = Round(np.array([0, 1]), np.array([2, 3]), np.array([100.0, 100.0]))
    alone = replay([both], 4, WIDE)
    shared = replay([both], 4, Network(0.0, 0.0, 1e-9, per_node=2))
    assert alone[2:].max() == pytest.approx(1e-7)
    assert shared[2:].max() == pytest.approx(2e-7)


@pytest.mark.parametrize("ranks", [2, 4, 64])
def test_a_dense_allreduce_takes_what_rabenseifner_says(ranks):
    share = 2 * (ranks - 1) / ranks
    assert replay(dense(ranks, 8e6), ranks, WIDE).max() == pytest.approx(8e6 * share * 1e-9)
    steps = 2 * np.log2(ranks)
    assert replay(dense(ranks, 8e6), ranks, SLOW).max() == pytest.approx(steps * 1.2e-3)


@pytest.mark.parametrize("ranks", [2, 3, 5, 8, 13])
def test_gathering_gives_everyone_every_block_in_few_rounds(ranks):
    sizes = np.arange(1.0, ranks + 1)
    rounds = list(gather(sizes))
    assert len(rounds) == int(np.ceil(np.log2(ranks)))
    got = sum(np.bincount(r.target, r.bytes, ranks) for r in rounds)
    np.testing.assert_allclose(got, sizes.sum() - sizes)


def test_lists_cost_work_on_both_sides():
    network = Network(0.0, 0.0, 0.0, work=2.0)
    message = lists(np.array([0]), np.array([1]), np.array([3.0]), network)
    np.testing.assert_allclose(replay([message], 2, network), [3.0, 6.0])


def test_a_log_is_replayed_with_the_work_that_was_measured():
    kinds = [("step", int), ("source", int), ("target", int), ("bytes", int)]
    kinds += [("kind", "U12"), ("work", float)]
    rows = np.array(
        [
            (0, 0, -1, 8, "allgather", 1.0),
            (0, 1, -1, 8, "allgather", 2.0),
            (1, 0, 1, 50, "pair", 3.0),
            (1, 1, 0, 70, "pair", 1.0),
            (2, 0, -1, 0, "done", 0.5),
            (2, 1, -1, 0, "done", 0.25),
        ],
        kinds,
    )
    clock = replay(logged(rows, 2), 2, Network(0.0, 0.0, 0.0))
    # Both are at 2 after the first gathering; rank 0 sends at 5, and rank 1 waits for it.
    np.testing.assert_allclose(clock, [5.5, 5.25])


@pytest.mark.parametrize("ranks", [4, 5])
def test_a_trace_holds_every_message_once_on_both_sides(ranks):
    rounds = [*dense(ranks, 1000.0), one(0, -1, 0, work=2.0)]
    lines = trace(rounds, ranks, speed=10.0)
    words = [line.split() for mine in lines for line in mine]
    count = {kind: sum(word[1] == kind for word in words) for kind in ("isend", "irecv", "wait")}
    messages = sum((r.target >= 0).sum() for r in rounds)
    assert count == {"isend": messages, "irecv": messages, "wait": 2 * messages}
    assert lines[0][0] == "0 init" and lines[0][-2:] == ["0 compute 20", "0 finalize"]


@pytest.mark.skipif(shutil.which("smpirun") is None, reason="SimGrid (smpirun) is not installed")
@pytest.mark.parametrize("ranks", [4, 5, 16])
def test_simgrid_comes_to_the_same_time(tmp_path, ranks):
    network = Network(latency=1.5e-5, overhead=0.0, per_byte=8e-10, work=1e-9)
    rounds = [*dense(ranks, 1e6), *gather(np.full(ranks, 1e5), network.work)]
    names = [f"{rank}.txt" for rank in range(ranks)]
    for name, lines in zip(names, trace(rounds, ranks), strict=True):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    (tmp_path / "traces").write_text("\n".join(names) + "\n")
    (tmp_path / "hosts").write_text("".join(f"h{rank}\n" for rank in range(ranks)))
    (tmp_path / "platform.xml").write_text(PLATFORM.format(last=ranks - 1))
    plain = ["smpi/bw-factor:0:1", "smpi/lat-factor:0:1", "network/TCP-gamma:0"]
    plain += ["network/weight-S:0", "network/bandwidth-factor:1", "network/latency-factor:1"]
    words = ["-np", ranks, "-platform", "platform.xml", "-hostfile", "hosts", "-replay", "traces"]
    done = subprocess.run(
        ["smpirun", *map(str, words), *(f"--cfg={option}" for option in plain)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    seconds = float(re.findall(r"Simulation time ([\d.]+)", done.stdout + done.stderr)[-1])
    assert replay(rounds, ranks, network).max() == pytest.approx(seconds, rel=0.1)
