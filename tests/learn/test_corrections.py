"""Corrections of each step: the formulas that they stand for, and what they do not compute."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.layout import Layer, Layout, Support, Tensor
from fedmpi.learn import corrections
from fedmpi.plan import Plan

LAYOUT = Layout(
    tensors=(
        Tensor("a.weight", (4, 5), 0, 0, 4, True),
        Tensor("a.bias", (4,), 0, 20, 4, True),
        Tensor("b.weight", (3, 4), 1, 24, 3, True),
        Tensor("b.running_mean", (3,), 1, 36, 3, False),
    ),
    layers=(Layer("a", "linear", 4, 20), Layer("b", "linear", 3, 12)),
)
INSIDE = np.repeat([True, False, True, False], [20, 4, 12, 3])


def plan(**asked):
    whole = Support.all(LAYOUT)
    return Plan(down=whole, up=whole, tensors=(2, 0, 2), **asked)


def steps_of(rng, mask=None):
    """Return what corrections read and write of Steps, full of numbers."""
    point, weights, direction = rng.standard_normal((3, LAYOUT.size)).astype(np.float32)
    weights[[1, 22, 30]] = -0.0
    free = LAYOUT.trained.astype(np.uint8)
    still = np.flatnonzero(~LAYOUT.trained)
    return SimpleNamespace(
        point=point, weights=weights, direction=direction, mask=mask, free=free, moving=free,
        still=still,
    )


def bits(values):
    return np.ascontiguousarray(values, np.float32).view(np.uint32).tolist()


def masks(rng):
    """Yield no mask, then two of which the second follows the first."""
    yield None
    for share in (0.3, 0.6):
        yield (rng.random(LAYOUT.size) < share).astype(np.uint8)


@pytest.mark.parametrize("power", [1.25, 2.0, 0.5])
def test_powers_have_the_bits_of_the_formula(rng, power):
    powered = corrections.Powered(plan(power=power), LAYOUT)
    for mask in masks(rng):
        steps = steps_of(rng, mask)
        masked = steps.weights if mask is None else steps.weights * mask
        inside, expected = masked[INSIDE], masked.copy()
        expected[INSIDE] = np.sign(inside) * np.abs(inside) ** np.float32(power)
        moved = steps.direction.copy()
        with np.errstate(divide="ignore"):
            moved[INSIDE] *= np.float32(power) * np.abs(inside) ** (power - 1)
            powered.before(steps)
        powered.after(steps, 1)
        assert bits(steps.point) == bits(expected)
        assert bits(steps.direction) == bits(moved)


def test_powers_of_pruned_parameters_are_not_computed(rng, monkeypatch):
    """They took as long as a whole step of LeNet-5, of which a mask had left a fifth."""
    found, power = [], corrections.power

    def counted(values, exponent):
        found.append(len(values))
        return power(values, exponent)

    monkeypatch.setattr(corrections, "power", counted)
    powered = corrections.Powered(plan(power=1.25), LAYOUT)
    for mask in masks(rng):
        powered.before(steps_of(rng, mask))
        kept = INSIDE.sum() if mask is None else (INSIDE & (mask != 0)).sum()
        assert sum(found) == kept
        found.clear()


def test_scores_have_the_bits_of_the_formula_and_take_no_new_vectors(rng):
    fixed = rng.standard_normal(LAYOUT.size).astype(np.float32)
    drawn = rng.random((2, LAYOUT.size), np.float32)
    scored = corrections.Scored(fixed, SimpleNamespace(numbers=lambda size: numbers))
    kept = []
    for numbers in drawn:
        steps = steps_of(rng)
        chance = 1 / (1 + np.exp(-steps.weights, dtype=np.float64))
        point = np.where(steps.free, fixed * (numbers < chance), steps.weights)
        slope = np.where(steps.free, fixed * chance * (1 - chance), 1)
        direction = (steps.direction * slope).astype(np.float32)
        scored.before(steps)
        kept.append(scored._slope)
        scored.after(steps, 1)
        assert bits(steps.point) == bits(point) and bits(steps.direction) == bits(direction)
    assert kept[0] is kept[1]


def test_importance_and_salience_have_the_bits_of_their_formulas(rng):
    steps = steps_of(rng)
    size, most = np.abs(steps.point[INSIDE]), np.float32(0.2)
    stretched = steps.direction.copy()
    stretched[INSIDE] *= 1 + 2 * most * size / (size + most) ** 2
    corrections.Important(plan(importance=0.2), LAYOUT).after(steps, 1)
    assert bits(steps.direction) == bits(stretched)
    score = np.abs(steps.point[INSIDE] * stretched[INSIDE])
    moving = steps.free.copy()
    moving[INSIDE] = score >= np.sort(score)[-13]
    corrections.Salient(plan(salient=0.4), LAYOUT).after(steps, 1)
    assert steps.moving.tolist() == moving.tolist() and steps.free.tolist() != moving.tolist()


def test_a_model_without_the_layers_that_salience_speaks_of_moves_whole(rng):
    steps = steps_of(rng)
    whole = Support.all(LAYOUT)
    corrections.Salient(Plan(down=whole, up=whole, salient=0.4), LAYOUT).after(steps, 1)
    assert steps.moving.tolist() == steps.free.tolist()
