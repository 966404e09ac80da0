"""The differential privacy that a run's stages guarantee, and when they guarantee none."""

from fedmpi import returned
from fedmpi.privacy import Noise, Sampling, epsilon
from fedmpi.round.fixed import Experiment
from fedmpi.stages import Stage


def epsilon_after(experiment: Experiment, rounds: int) -> float:
    """Return epsilon after `rounds` rounds: NaN without noise, infinite without protection.

    Noise protects clients under three conditions: a `clip` stage bounds the very numbers that the
    noise is added to; the server learns only the change of the weights from a client, so no rule of
    selection learns losses; and all clients have the same weight, whatever data they hold. That a
    client is late or lost is assumed to reveal nothing.
    """
    noise, bound = None, float("inf")
    for stage in experiment.stages:
        noise = noise or _noise(stage)
        # Stages after a client's own noise cannot undo it; the server's noise is added last.
        if noise is None or not noise.local:
            bound = stage.norm_after(bound)
            returned.number(bound, stage, "norm_after", "a number, not negative, or infinite")
    if noise is None:
        return float("nan")
    if bound > noise.norm or not _only_changes(experiment, noise):
        return float("inf")
    config, world = experiment.config, experiment.devices
    steady = world.presence is None and not world.may_be_away
    uniform = config.clients.selection == "uniform" and config.schedule.mode != "async" and steady
    sampling = Sampling(config.selected, len(experiment.holders), uniform)
    return epsilon(noise, sampling, rounds)


def _noise(stage: Stage) -> Noise | None:
    """Return the Noise of a stage, checked."""
    found = stage.noise
    if found is not None and not isinstance(found, Noise):
        where = returned.place(stage, "noise")
        raise returned.beyond(where, found, "a fedmpi.privacy.Noise or None")
    return found


def _only_changes(experiment: Experiment, noise: Noise) -> bool:
    """Return whether noise covers all that the server learns, in proportion to sensitivity."""
    algorithm = experiment.algorithm
    alone = set(algorithm.zero()) == {"weights"} and bool(experiment.layout.trained.all())
    alone &= not experiment.selector.learns  # it would read the clients' losses
    whole = algorithm.level == "model" or algorithm.fill != "mean"
    whole &= not algorithm.shows_support  # messages with noise of their clients are dense
    even = experiment.config.clients.weighting == "uniform"
    return alone and (noise.local or (whole and even))
