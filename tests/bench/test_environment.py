"""The description of a benchmark's machine, and the option for its ranks."""

from argparse import Namespace
from dataclasses import replace

import pytest

from fedmpi.bench import batched_engine, environment, others, reductions, round_loop
from fedmpi.bench.processes import Launch
from fedmpi.cli import benchmarks
from fedmpi.errors import ConfigError


def launch(cores, most=None, mpiexec=("mpiexec", "-n")):
    return Launch("python", mpiexec, {}, cores, most or cores)


@pytest.mark.parametrize(
    ("flags", "shown"),
    [("flags : sse avx avx2", "AVX2"), ("flags : avx2 avx512f", "AVX-512"),
     ("Features : fp asimd", "NEON"), ("flags : sse", "unknown instructions")],
)  # fmt: skip
def test_the_processor_and_its_widest_instructions_are_named(tmp_path, flags, shown):
    (tmp_path / "cpuinfo").write_text(f"model name : Some CPU: 2 GHz\n{flags}\n")
    found = environment.described(launch(2), tmp_path / "cpuinfo")
    assert (found["processor"], found["instructions"]) == ("Some CPU: 2 GHz", shown)
    assert found["cores"] == 2 and len(found["load_before"]) == 3


def test_ranks_are_the_cores_up_to_four_unless_a_number_is_given():
    assert [environment.ranks(launch(cores)) for cores in (1, 2, 4, 64)] == [1, 2, 4, 4]
    assert environment.ranks(launch(2, 3), 3) == 3
    assert environment.ranks(launch(1, mpiexec=())) == 1
    for count in (0, -1, 33, 100_000):
        fault = f"bench round --ranks {count}: must be from 1 to 32, 16 for each core"
        with pytest.raises(ConfigError, match=fault):
            environment.ranks(launch(2), count, "bench round --ranks")
    job = replace(launch(2), environ={"SLURM_JOB_ID": "1"})  # perhaps of many nodes
    assert environment.ranks(job, 256) == 256
    with pytest.raises(ConfigError, match=r"must be from 1 to 4,096$"):
        environment.ranks(job, 4097)
    with pytest.raises(ConfigError, match="needs mpiexec"):
        environment.ranks(launch(2, mpiexec=()))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_peers_get_as_many_processes_as_fedmpi(ranks):
    found = others.others(launch(2, ranks), ranks, "pfl-python", "flower-python")
    words = {name: words for name, count, words in found if count == ranks}
    assert f"--nproc_per_node={ranks}" in words["pfl 0.6.0"]
    assert words["Flower 1.41.0"][-1] == ranks
    assert words["mpi4py + torch"][:3] == ["mpiexec", "-n", ranks] or ranks == 1
    assert round_loop.size_for(ranks).ranks == tuple(range(1, ranks + 1))


def test_reductions_are_judged_by_their_ratio():
    row = reductions.Row("topk 1 %", 2, 50.0, 8.0, 6.25, 6.0, 7.0, 0.07)
    other = reductions.Row("FedAvg", 2, 50.0, 55.0, 50 / 55, 0.9, 0.92, 1.0)
    bars = reductions._bars([row, other])
    assert [bar.met for bar in bars] == [True, False]


def test_a_number_of_nodes_is_not_taken_for_none():
    for nodes in (0, 1):
        args = Namespace(nodes=nodes, runs=False, ranks=None)
        with pytest.raises(ConfigError, match=f"--nodes {nodes}: must be 2 or more"):
            benchmarks._collectives_alone(args)
    with pytest.raises(ConfigError, match="without --runs or --ranks"):
        benchmarks._collectives_alone(Namespace(nodes=2, runs=False, ranks=0))


def test_weights_of_runs_that_did_not_take_place_are_not_alike():
    arms = [round_loop.Arm("fedmpi", [], ranks) for ranks in (1, 2)]
    assert round_loop._kinds(arms) is None
    for arm in arms:
        arm.found = {"weights_sha256": "a"}
    assert round_loop._kinds(arms) == 1


@pytest.mark.parametrize(("mpiexec", "why"), [((), "2 ranks need mpiexec"),
                                              (("mpiexec", "-n"), "No such file or directory")])
def test_the_reason_why_pfl_did_not_run_is_told(mpiexec, why):
    found = batched_engine._pfl(launch(2, mpiexec=mpiexec), 2, batched_engine.QUICK, "nowhere", str)
    assert found[0] is None and found[1].startswith("pfl 0.6.0: ") and why in found[1]
    row = {"model": "lenet5", "over_pfl": None, "note": found[1]}
    assert batched_engine._bars([row], [], "cuda")[0].note == found[1]
