"""Frames of all widths: the usual batch size, multiples of 16, and short batches, in one buffer."""

import numpy as np
import pytest

from fedmpi.learn.fast.frame import lanes_for
from fedmpi.plan import FULL, Backward
from tests.learn.small_networks import MODELS, residual, seeded, small_cnn
from tests.learn.test_kernel_gradients import batch_of, engine_of


@pytest.mark.parametrize(
    ("samples", "usual", "want"),
    [
        (10, 10, 10), (7, 10, 10), (1, 1, 1), (50, 50, 50), (49, 50, 50), (33, 50, 48), (5, 50, 16),
        (32, 10, 32), (33, 10, 48), (64, 64, 64), (20, 64, 32), (137, 1000, 144),
    ],
)  # fmt: skip
def test_the_usual_batch_fills_its_frame_and_others_share_few_frames(samples, usual, want):
    assert lanes_for(samples, usual) == want


@pytest.mark.parametrize("usual", [1, 13, 20])
def test_bits_are_the_same_from_run_to_run_and_whatever_was_trained_before(usual):
    module = seeded(residual)
    results = []
    for earlier in ((), (3,), (40, 5)):
        engine, layout = engine_of(module, (2, 8, 8), usual)
        start, grad = engine.weights.copy(), np.zeros(layout.size, np.float32)
        for count in earlier:
            engine.gradient(start.copy(), *batch_of((2, 8, 8), count, seed=9), grad)
        loss = engine.gradient(start, *batch_of((2, 8, 8), 13), grad)
        results.append((loss, grad.tobytes(), start.tobytes()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("name", MODELS)
def test_outputs_of_a_sample_do_not_depend_on_the_batch(name):
    engines = [engine_of(seeded(MODELS[name]), (2, 8, 8), usual)[0] for usual in (1, 10, 37)]
    x, _ = batch_of((2, 8, 8), 37)
    whole = engines[0].outputs(engines[0].weights, x)
    for engine in engines:
        for part in (slice(0, 1), slice(20, 25), slice(0, 37)):
            alone = engine.outputs(engine.weights, x[part])
            np.testing.assert_array_equal(alone, whole[part])


@pytest.mark.parametrize("usual", [10, 20])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_one_buffer_serves_batches_of_all_widths_and_holds_nothing_that_is_needed(
    name, dropped, usual
):
    """Bits are those of a separate buffer, although other widths have left values behind."""
    module = seeded(MODELS[name])
    engine, layout = engine_of(module, (2, 8, 8), usual)
    start, backward = engine.weights.copy(), FULL
    if dropped:
        rows = [np.arange(layer.rows) % 2 == 0 for layer in layout.layers[:-1]]
        backward = Backward((*rows, None))
    engine.outputs(start, batch_of((2, 8, 8), 60)[0])
    for count in (40, 3, 60, usual, 17, 3):
        x, y = batch_of((2, 8, 8), count, seed=count)
        fresh, _ = engine_of(module, (2, 8, 8), usual)
        found, want = np.zeros((2, layout.size), np.float32)
        if engine._laid_out != lanes_for(count, usual):
            engine._memory.fill(np.nan)
        losses = [e.gradient(start.copy(), x, y, g, backward) for e, g in
                  ((engine, found), (fresh, want))]  # fmt: skip
        assert losses[0] == losses[1]
        np.testing.assert_array_equal(found, want)
        np.testing.assert_array_equal(engine.outputs(start, x), fresh.outputs(start, x))


def test_a_larger_batch_than_foreseen_makes_the_buffer_larger():
    engine, _ = engine_of(seeded(small_cnn), (2, 8, 8))
    x, y = batch_of((2, 8, 8), 200)
    start, before = engine.weights.copy(), len(engine._memory)
    small = engine.outputs(start, x[:5])
    engine.gradient(start.copy(), x, y, engine.grad)
    assert len(engine._memory) > before
    np.testing.assert_array_equal(engine.outputs(start, x[:5]), small)
