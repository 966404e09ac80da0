"""The keys that partitions take in [data], with their defaults and ranges."""

from typing import Annotated, Literal

from pydantic import Field

from fedmpi.section import Section

Alpha = Annotated[float, Field(gt=0, le=1e9)]  # a small value is skewed, a large one even
Least = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]


class DirichletKeys(Section):
    """`min_samples` of each client; if `capped`, full clients get no samples of later classes."""

    alpha: Alpha = 0.5
    min_samples: Least = 1
    capped: bool = False


class ShardsKeys(Section):
    """Label-sorted shards for each client."""

    shards_per_client: Number = 2


class PathologicalKeys(Section):
    """The exact number of classes of each client."""

    classes_per_client: Number = 2


class QuantityKeys(Section):
    """The `law` of the clients' sizes; `exponent` is that of the power law."""

    alpha: Alpha = 0.5
    min_samples: Least = 1
    law: Literal["dirichlet", "power"] = "dirichlet"
    exponent: Annotated[float, Field(ge=0, le=10)] = 1.0


class NaturalKeys(Section):
    """Least number of samples of a group that may become a client."""

    min_samples: Least = 1


class MixedKeys(Section):
    """Share of the samples that are dealt in shards, and number of shards per client."""

    mix_rate: Annotated[float, Field(ge=0, le=1)] = 0.95
    shards_per_client: Number = 2
