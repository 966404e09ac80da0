"""Compression with a bound: errors, bytes that decode to the same values, and whole runs."""

import numpy as np
import pytest

from fedmpi.comm import codec
from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import of_tree
from fedmpi.round.messages import Messages
from tests.models import TINY
from tests.stages.test_stages import WHOLE, job, simulation, stage, through, weights_of

pytest.importorskip("zstandard")
import zstandard

from fedmpi.stages.compress import stream_of


def numbers_of(stream):
    """Return the int32[n] that `stream_of` coded."""
    planes = np.frombuffer(zstandard.ZstdDecompressor().decompress(stream), np.uint8)
    folded = np.ascontiguousarray(planes.reshape(4, -1).T).reshape(-1).view("<u4")
    return (folded >> 1).astype(np.int32) ^ -(folded & 1).astype(np.int32)


@pytest.mark.parametrize("bound", [1e-4, 0.01, 0.3])
def test_no_value_moves_by_more_than_the_bound_and_the_bytes_decode_to_what_arrives(rng, bound):
    change = rng.standard_normal(20).astype(np.float32)
    part, _ = through([stage("compress", bound=bound)], change)
    for tensor in TINY.tensors:
        block = slice(tensor.start, tensor.start + tensor.size)
        error = np.abs(part.values[block] - change[block]).max()
        assert error <= bound * np.abs(change[block]).max() * (1 + 1e-2) + 1e-6
    steps = np.repeat(part.coding.scales, np.diff(TINY.starts("tensor")))
    numbers = np.rint(part.values / steps).astype(np.int32)
    stream = stream_of(numbers)
    decoded = numbers_of(stream).astype(np.float32) * steps
    np.testing.assert_array_equal(decoded, part.values)
    arrived, (message,), _ = Messages().up(job().plan, {"weights": part})
    np.testing.assert_array_equal(arrived["weights"].values, part.values)
    plain = codec.size_of(WHOLE, known=True)
    assert message.bytes.values == len(stream) + 4 * len(TINY.tensors)
    assert message.bytes.total == plain.total - plain.values + message.bytes.values


def test_any_integers_come_back(rng):
    for spread in (1, 100, 2**31 - 1):
        numbers = rng.integers(-spread, spread, 1000).astype(np.int32)
        np.testing.assert_array_equal(numbers_of(stream_of(numbers)), numbers)


def test_the_error_is_kept_and_sent_later():
    squash, memory, total = stage("compress", bound=0.3, feedback=True), {}, np.zeros(20)
    change = np.linspace(0.02, 0.4, 20, dtype=np.float32)
    for _ in range(50):
        part, memory = through([squash], change, memory)
        total += part.values
    np.testing.assert_allclose(total / 50, change, atol=0.02)


def test_a_run_sends_fewer_bytes_for_a_larger_bound_and_after_topk():
    bytes_up = []
    for stages in ([], [0.002], [0.05], [0.05, "topk"]):
        rows = [{"name": "topk", "share": 0.1}] if "topk" in stages else []
        rows += [{"name": "compress", "bound": bound} for bound in stages[:1]]
        run, found = simulation(stages=rows)
        bytes_up.append(sum(row.columns["bytes_up"] for row in found))
    assert bytes_up[0] > 2 * bytes_up[1] > 3 * bytes_up[2] > 2.5 * bytes_up[3]
    assert np.isfinite(weights_of(run)).all()


def test_it_must_be_the_last_stage():
    with pytest.raises(ConfigError, match="compress: must be the last"):
        of_tree({"stage": [{"name": "compress"}, {"name": "topk"}]})
