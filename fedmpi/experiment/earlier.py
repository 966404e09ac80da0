"""A run that began earlier: its configuration, and the changes that a resume allows."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedmpi import config as configuration
from fedmpi import user_code
from fedmpi.errors import ConfigError, UnknownKeyError
from fedmpi.experiment.resolve import Resolved, of_config

# Keys that a resumed run may change; its state depends on all others.
CHANGEABLE = (
    "run.rounds",
    "run.eval_every",
    "run.own_models",
    "run.checkpoint_every",
    "run.checkpoint_share",
    "run.threads_per_rank",
    "run.name",
    "run.watch_s",
    "run.record_clients",
    "run.memory_mb",
    "clients.max_rejected",
    "optimizer.lr",
    "data.root",
)


@dataclass(frozen=True)
class Earlier:
    """What a result file, or the checkpoint beside it, says of its run.

    Attributes
    ----------
    text : str
        The configuration as it was given, in TOML.
    values : dict of dicts
        All values used, overrides included, by section and key.
    done : int
        Rounds that are done.
    finished : bool
        True if these are all rounds.
    rebuild : bool
        True if the result file is damaged or gone, and is to be rebuilt from the checkpoint.
    """

    text: str
    values: dict[str, Any]
    done: int = 0
    finished: bool = False
    rebuild: bool = False

    def resolved(
        self, place: str, overrides: Sequence[str] = (), allow_code: bool = False
    ) -> Resolved:
        """Return the Resolved experiment, with `overrides`. Raises ConfigError.

        `place`, the result file, is for messages. Modules that the file names are imported only
        with `allow_code`: opening a file from someone else must not run code.
        """
        _check_changeable(overrides)
        try:
            tree, own = copy.deepcopy(self.values), dict(user_code.names_in(self.values))
        except RecursionError:
            raise ConfigError(f"{place}: its configuration is nested too deeply; it is damaged, so "
                              "put back an unharmed copy") from None
        if isinstance(clients := tree.get("clients"), dict):
            clients.pop("cohort", None)  # among the values used, but not a key
        if own and not allow_code:
            listed = ", ".join(f"{key} = {name!r}" for key, name in own.items())
            raise ConfigError(
                f"{place}: would import code: {listed}\n"
                "if you know that code and where the file comes from, add --allow-code (in "
                "Python: allow_code=True)"
            )
        config = configuration.check_tree(tree, place, overrides)
        if config.run.rounds < self.done:
            raise ConfigError(f"{place}: run.rounds = {config.run.rounds}: {self.done} rounds are "
                              f"done already; give {self.done} or more")
        return (_of_own_config if own else of_config)(config, self.text, place)


def _check_changeable(overrides: Sequence[str]) -> None:
    """Raise ConfigError if an override is of a key that a resumed run cannot change."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key not in CHANGEABLE and not key.startswith("collective."):
            raise ConfigError(
                f"--set {override}: cannot change in a resumed run; "
                f"keys that can change: {', '.join(CHANGEABLE)}, collective.*"
            )


def _of_own_config(config: configuration.Config, text: str, place: str) -> Resolved:
    """Return what `of_config` does, with the remedy where a user's code has lost a key since."""
    try:
        return of_config(config, text, place)
    except UnknownKeyError as error:
        raise ConfigError(f"{error}\nthe run began with this key: put back the code that knows it, "
                          "or run the experiment again") from None
