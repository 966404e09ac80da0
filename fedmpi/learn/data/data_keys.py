"""The keys that data sets take in [data], with their defaults and ranges."""

from typing import Annotated, Literal

from pydantic import Field

from fedmpi.section import NotNegative, Section

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Classes = Annotated[int, Field(ge=2, le=10_000)]


class SyntheticKeys(Section):
    """Spread of the clients' models `a` and inputs `b`; number of natural `clients`."""

    a: NotNegative = 1.0
    b: NotNegative = 1.0
    clients: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    inputs: Annotated[int, Field(ge=1, le=100_000)] = 60
    classes: Classes = 10
    seed: Seed = 0


class SyntheticOnDemandKeys(Section):
    """As for `synthetic`; models have a `common` part; `test_clients` have the test samples."""

    a: NotNegative = 1.0
    b: NotNegative = 1.0
    inputs: Annotated[int, Field(ge=1, le=100_000)] = 60
    classes: Classes = 10
    seed: Seed = 0
    common: NotNegative = 3.0
    test_clients: Annotated[int, Field(ge=1, le=1_000_000)] = 100


class PatternsKeys(Section):
    """`images` of `side` x `side` pixels for training, and a sixth as many for testing."""

    side: Annotated[int, Field(ge=1, le=1024)] = 28
    images: Annotated[int, Field(ge=6)] = 60_000
    classes: Classes = 10
    seed: Seed = 0


class RulesKeys(Section):
    """Which `problem`; `bits` and `seed` are those of the random mapping."""

    problem: Literal[
        "cue-salience", "rule-plus-exception", "multiplexer", "trains", "random-mapping"
    ] = "rule-plus-exception"
    bits: Annotated[int, Field(ge=1, le=16)] = 4
    seed: Seed = 0


class Cifar100Keys(Section):
    """Which `labels`: 100 fine ones, or 20 coarse ones."""

    labels: Literal["fine", "coarse"] = "fine"


class SvhnKeys(Section):
    """Whether the 531,131 `extra` images are for training too."""

    extra: bool = False


class FemnistKeys(Section):
    """Which `source`: the files of LEAF or of TensorFlow Federated."""

    source: Literal["leaf", "tff"] = "leaf"


class Cinic10Keys(Section):
    """Whether the part `valid` is for training too."""

    valid: bool = False


class FolderKeys(Section):
    """A `folder` below the data root, its parts `train` and `test`; `grey` drops colours."""

    folder: str
    train: str = "train"
    test: str = "test"
    grey: bool = False


class HuggingFaceKeys(FolderKeys):
    """A `folder` below the data root, its parts `train` and `test`; `grey` drops colours.

    The columns `image` and `label` hold pictures and classes.
    """

    image: str = "image"
    label: str = "label"


class ShakespeareKeys(Section):
    """Which text, and the characters from one sample to the next (LEAF: 1)."""

    source: Literal["moby", "tiny"] = "moby"
    stride: Annotated[int, Field(ge=1, le=1_000_000)] = 1
