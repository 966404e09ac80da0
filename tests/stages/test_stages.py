"""Stages against formulas, and in whole runs with methods that send weights or changes."""

import numpy as np
import pytest

from fedmpi.algorithms import ALGORITHMS
from fedmpi.comm import codec
from fedmpi.errors import ConfigError
from fedmpi.exchange import Coding, Job, Part
from fedmpi.experiment.resolve import of_tree
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.round.loop import Simulation
from fedmpi.stage import Stage, StageSetting, applied
from fedmpi.stages import STAGES
from tests.algorithms.problem import assemble_tree, same_bits, weights_of
from tests.models import TINY, WEIGHTS

WHOLE = Support.all(TINY)
TREE = {
    "run": {"rounds": 4, "seed": 3, "trainer": "torch"},
    "data": {"partition": "dirichlet", "alpha": 0.5},
    "clients": {"number": 8, "per_round": 4, "local_steps": 3, "batch_size": 8},
    "model": {"name": "mlp", "hidden": (12,)},
    "optimizer": {"lr": 0.05},
}


def stage(name, number=0, **keys):
    cls = STAGES[name]
    return cls(cls.Keys(**keys), StageSetting(TINY, 5, number))


def job(client=0, round=0):
    return Job(client, round, {"weights": WEIGHTS}, Plan(WHOLE, WHOLE), 0.5)


def through(stages, change, memory=None, **where):
    """Return the change after the stage, and the client's memory."""
    parts = {"weights": Part(np.asarray(change, np.float32) + WEIGHTS, WHOLE)}
    parts, kept = applied(stages, WEIGHTS, job(**where), parts, memory or {})
    return parts["weights"], kept


def simulation(algorithm="fedavg", stages=(), **sections):
    keys = {"name": algorithm} if isinstance(algorithm, str) else algorithm
    tree = TREE | {"algorithm": keys, "stage": tuple(stages)}
    for name, section in sections.items():
        tree[name] = TREE.get(name, {}) | section
    made, comm, stop = assemble_tree(tree)
    run = Simulation(made, comm, stop)
    return run, [run.round() for _ in range(tree["run"]["rounds"])]


class TestClip:
    def test_a_long_change_gets_the_norm_and_a_short_one_stays(self):
        change = np.arange(20.0)
        norm = np.linalg.norm(change[TINY.trained])
        part, _ = through([stage("clip", norm=1.0)], change)
        np.testing.assert_allclose(part.values[TINY.trained], (change / norm)[:17], atol=1e-6)
        np.testing.assert_allclose(part.values[17:], change[17:], rtol=1e-5)  # statistics
        part, _ = through([stage("clip", norm=2 * norm)], change)
        np.testing.assert_allclose(part.values, change, atol=1e-5)

    def test_no_client_moves_the_mean_by_more_than_its_share_of_the_norm(self):
        run, _ = simulation(stages=[{"name": "clip", "norm": 1e-3}], run={"rounds": 1})
        moved = weights_of(run).astype(np.float64) - run.experiment.weights
        assert 0 < np.linalg.norm(moved) <= 1e-3 * (1 + 1e-3)


class TestGaussian:
    def test_the_noise_has_the_stated_deviation_and_no_statistics_get_any(self):
        noise = stage("gaussian", multiplier=2.0, norm=0.5, at="client")
        drawn = [through([noise], np.zeros(20), client=c)[0].values for c in range(400)]
        assert np.std(np.array(drawn)[:, :17]) == pytest.approx(1.0, rel=0.05)
        assert not np.array(drawn)[:, 17:].any()

    @pytest.mark.parametrize("name", ["fedavg", "fednova"])
    def test_at_the_server_it_is_scaled_by_the_largest_share(self, name):
        stages = [{"name": "gaussian", "multiplier": 3.0, "norm": 0.1}]
        sections = {"run": {"rounds": 1}, "clients": {"weighting": "uniform"}}
        plain, _ = simulation(name, **sections)
        noisy, _ = simulation(name, stages, **sections)
        noise = weights_of(noisy).astype(np.float64) - weights_of(plain)
        assert np.std(noise) == pytest.approx(3.0 * 0.1 / 4, rel=0.1)
        again, _ = simulation(name, stages, **sections)
        assert same_bits(weights_of(again), weights_of(noisy))

    def test_noise_of_two_stages_adds_up(self):
        """The second stage's noise took the place of the first's, whose epsilon was reported."""
        sections = {"run": {"rounds": 1}, "clients": {"weighting": "uniform"}}
        plain, _ = simulation(**sections)
        both, _ = simulation(stages=[{"name": "gaussian", "multiplier": m, "norm": 0.1}
                                     for m in (4.0, 3.0)], **sections)  # fmt: skip
        noise = weights_of(both).astype(np.float64) - weights_of(plain)
        assert np.std(noise) == pytest.approx(5.0 * 0.1 / 4, rel=0.1)

    def test_without_noise_it_changes_no_bit(self):
        plain, _ = simulation()
        quiet, _ = simulation(stages=[{"name": "gaussian", "multiplier": 0.0}])
        np.testing.assert_allclose(weights_of(quiet), weights_of(plain), atol=1e-6)


class TestQuantise:
    @pytest.mark.parametrize(("bits", "levels"), [(8, 127), (4, 7)])
    def test_values_are_whole_steps_of_each_tensors_scale_and_right_on_average(self, bits, levels):
        change = np.linspace(-2, 3, 20).astype(np.float32)
        quantise, found = stage("quantise", bits=bits), []
        for client in range(500):
            part, _ = through([quantise], change, client=client)
            found.append(part.values)
            scales = part.coding.scales
            for tensor, scale in zip(TINY.tensors, scales, strict=True):
                block = slice(tensor.start, tensor.start + tensor.size)
                largest = np.abs(change[block]).max()
                assert scale == pytest.approx(largest / levels, rel=1e-5)
                steps = part.values[block] / scale
                np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
                assert (np.abs(part.values[block] - change[block]) <= scale * 1.001).all()
        np.testing.assert_allclose(np.mean(found, axis=0), change, atol=4 * 3 / levels / 500**0.5)

    def test_the_rounding_error_is_sent_later(self):
        quantise = stage("quantise", bits=4, feedback=True)
        change, memory, sent = np.linspace(-1, 1, 20), {}, np.zeros(20)
        for round in range(40):
            part, memory = through([quantise], change, memory, round=round)
            sent += part.values
        np.testing.assert_allclose(sent + memory["stage/0/weights"], 40 * change, atol=1e-3)
        assert np.abs(memory["stage/0/weights"]).max() <= 1.001 / 7 * 1.2

    @pytest.mark.parametrize(("bits", "share"), [(8, 0.25), (4, 0.125)])
    def test_its_bytes_are_on_the_wire(self, bits, share):
        run, rows = simulation(stages=[{"name": "quantise", "bits": bits}])
        layout = run.experiment.layout
        expected = 4 * (4 * len(layout.tensors) + int(np.ceil(layout.size * 4 * share)))
        assert rows[-1].columns["bytes_up_values"] == expected
        one = codec.size_of(Support.all(layout), value_type=f"int{bits}").total
        assert rows[-1].clients["bytes_up"].tolist() == [one] * 4

    def test_a_change_that_is_not_finite_gets_its_client_rejected(self):
        change = np.zeros(20)
        change[3] = np.nan
        part, _ = through([stage("quantise")], change)
        assert part.coding is None and np.isnan(part.values[3])


class TestSparsify:
    def test_the_largest_changes_go_and_the_rest_is_sent_later(self):
        topk, change = stage("topk", share=1 / 17), np.zeros(20)
        change[[3, 5]] = [2, 3]
        part, memory = through([topk], change)
        assert np.flatnonzero(part.support.keep).tolist() == [5, 17, 18, 19]
        part, memory = through([topk], np.zeros(20), memory)
        assert np.flatnonzero(part.support.keep[:17]).tolist() == [3]
        np.testing.assert_allclose(part.values[3], 2, rtol=1e-5)
        np.testing.assert_allclose(memory["stage/0/weights"], 0, atol=1e-6)

    def test_with_fedavg_it_is_the_method_topk(self):
        """The method sends changes, the stage makes changes of weights: one result."""
        once = {"rounds": 1}  # later a last bit may decide which change is the largest
        run, rows = simulation(stages=[{"name": "topk", "share": 0.05}], run=once)
        method, others = simulation({"name": "topk", "share": 0.05}, run=once)
        np.testing.assert_allclose(weights_of(run), weights_of(method), atol=1e-6)
        for row, other in zip(rows, others, strict=True):
            assert row.columns["bytes_up"] == other.columns["bytes_up"]
            assert row.columns["density_union"] == other.columns["density_union"] < 0.25

    @pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold", "fednova", "dpf", "fedmtl"])
    def test_all_of_the_changes_are_the_method_itself(self, name):
        plain, _ = simulation(name)
        whole, rows = simulation(name, stages=[{"name": "topk", "share": 1.0}])
        np.testing.assert_allclose(weights_of(whole), weights_of(plain), atol=2e-6)
        few, rows = simulation(name, stages=[{"name": "topk", "share": 0.02}])
        assert rows[-1].columns["density_up"] < 0.03 and np.isfinite(weights_of(few)).all()

    @pytest.mark.parametrize("name", ["fedskel", "fedlp", "static-mask", "heterofl", "adp-v2"])
    def test_methods_that_leave_out_coordinates_themselves_are_refused(self, name):
        assert name in ALGORITHMS
        with pytest.raises(ConfigError, match=f"topk: leaves out coordinates, .* of {name} do"):
            simulation(name, stages=[{"name": "topk"}])

    def test_a_second_stage_that_leaves_out_coordinates_is_refused_as_such(self):
        """The message blamed the method, and advised fedavg to a user of fedavg."""
        twice = "^stage topk: leaves out coordinates, as a stage topk before it does; leave out one"
        with pytest.raises(ConfigError, match=twice):
            simulation(stages=[{"name": "topk"}, {"name": "topk", "share": 0.1}])


@pytest.mark.parametrize(
    "section", [{"name": "clip"}, {"name": "gaussian"}, {"name": "gaussian", "at": "client"}]
)
def test_a_stage_that_makes_other_numbers_of_bits_is_refused_before_the_run(section):
    """A message of a clipped bit could not be encoded, and noise made probabilities of NaN."""
    tree = TREE | {"algorithm": {"name": "fedpm"}, "stage": (section,)}
    with pytest.raises(ConfigError, match=f"stage {section['name']}: .* fedpm send bits; leave"):
        assemble_tree(tree)


@pytest.mark.parametrize("section", [{"name": "quantise", "feedback": True},
                                     {"name": "compress", "bound": 0.3}])  # fmt: skip
@pytest.mark.parametrize("name", ["fedpm", "flash"])
def test_bits_travel_as_bits(name, section):
    """Compressed bits of FedPM came as 1.2, and so probabilities above 1; quantised took 8 bits."""
    if section["name"] == "compress":
        pytest.importorskip("zstandard")
    run, _ = simulation(name, [section], run={"rounds": 2})
    made = run.experiment
    state = made.algorithm.start(made.weights)
    first = Job(1, 0, state, made.algorithm.plan(state, 0, 1), 0.5)
    (report,) = made.engine.train([first])
    message = made.algorithm.message(first, report)
    sent, kept = applied(made.stages, None, first, message, {})
    (bits,) = (part for part in message if message[part].coding)
    assert sent[bits] is message[bits] and f"stage/0/{bits}" not in kept
    assert name == "flash" or run.state["theta"].max() <= np.float32(0.99)


def test_stages_run_in_order_and_each_keeps_its_own():
    stages = [{"name": "topk", "share": 0.1}, {"name": "quantise", "bits": 8, "feedback": True}]
    run, rows = simulation(stages=stages)
    kept = {name for c in run.memories.clients() for name in run.memories[c]}
    assert kept == {"stage/0/weights", "stage/1/weights"}
    _, alone = simulation(stages=stages[:1])
    assert rows[-1].columns["bytes_up_values"] < 0.4 * alone[-1].columns["bytes_up_values"]
    assert run.algorithm.memory(run.memories.clients()[0]) == {}


class EverySecond(Stage):
    """Keeps a mark in every second round of a client, and nothing in the others."""

    def client(self, job, parts, memory):
        return parts, {} if memory else {"mark": np.ones(3)}


def test_a_client_keeps_what_a_stage_last_returned():
    where = {"stages": [{"name": "tests.stages.test_stages:EverySecond"}]}
    for rounds, names in ((3, {"stage/0/mark"}), (4, set())):
        run, _ = simulation(run={"rounds": rounds}, clients={"per_round": 8}, **where)
        assert {name for c in run.memories.clients() for name in run.memories[c]} == names
    memory = {"stage/0/control": np.ones(20, np.float32)}  # of a part that is not in every message
    for name in ("topk", "quantise"):
        _, kept = through([stage(name, feedback=True)], np.arange(20.0), memory)
        assert set(kept) == {"stage/0/control", "stage/0/weights"}


class Signs(Stage):
    """An own stage that compresses, as docs/stages.md shows it: 50 bytes for any message."""

    resizes = last = True

    def client(self, job, parts, memory):
        part = parts["weights"]
        signs = np.sign(part.values)
        return {"weights": part._replace(values=signs, coding=Coding("stream", None, 50))}, {}


def test_an_own_stage_says_how_many_bytes_its_values_take():
    _, rows = simulation(stages=[{"name": "tests.stages.test_stages:Signs"}])
    columns = rows[-1].columns
    assert columns["bytes_up_values"] == 50 * columns["clients_completed"] > 0


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"name": "topkk"}], "did you mean topk"),
        ([{"name": "clip", "nrom": 1.0}], "unknown key; did you mean norm"),
        ([{"name": "quantise", "bits": 5}], "bits = 5: must be"),
        ([{"name": "tests.models:TINY"}], "must be a subclass of fedmpi.Stage"),
    ],
)
def test_what_is_wrong_is_named(stages, words):
    with pytest.raises(ConfigError, match=words):
        of_tree(TREE | {"stage": tuple(stages)})


def test_an_asynchronous_run_knows_bytes_before_training():
    sections = {"schedule": {"mode": "async", "buffer_size": 2}}
    _, rows = simulation(stages=[{"name": "clip", "norm": 0.1}], **sections)
    assert rows[-1].columns["clients_completed"] == 2


def test_an_asynchronous_clock_counts_the_dense_messages_that_noise_makes():
    """Clients of FedLP send some layers, but noise at the clients is sent for all of them."""
    stages = [{"name": "gaussian", "at": "client", "multiplier": 0.01}]
    _, rows = simulation("fedlp", stages, schedule={"mode": "async", "buffer_size": 2})
    for clients in (row.clients for row in rows):
        np.testing.assert_allclose(clients["seconds_up"], 0.05 + 8e-7 * clients["bytes_up"])
