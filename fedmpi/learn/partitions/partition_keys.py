"""The keys that partitions take in [data], with their defaults and ranges."""

from typing import Annotated, Literal

from pydantic import Field

from fedmpi.section import Section

Alpha = Annotated[float, Field(gt=0, le=1e9)]  # small is skewed, large is even
Least = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]


class DirichletKeys(Section):
    """`min_samples` at each client; `capped`: no later classes for clients that are full."""

    alpha: Alpha = 0.5
    min_samples: Least = 1
    capped: bool = False


class ShardsKeys(Section):
    """Label-sorted shards for each client."""

    shards_per_client: Number = 2


class PathologicalKeys(Section):
    """Classes that each client holds, exactly."""

    classes_per_client: Number = 2


class QuantityKeys(Section):
    """The `law` of the sizes; `exponent` is the fall of the power law."""

    alpha: Alpha = 0.5
    min_samples: Least = 1
    law: Literal["dirichlet", "power"] = "dirichlet"
    exponent: Annotated[float, Field(ge=0, le=10)] = 1.0


class NaturalKeys(Section):
    """Samples that a group must have to become a client."""

    min_samples: Least = 1


class MixedKeys(Section):
    """Share of the samples in shards, and shards for each client."""

    mix_rate: Annotated[float, Field(ge=0, le=1)] = 0.95
    shards_per_client: Number = 2
