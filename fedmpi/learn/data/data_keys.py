"""The keys that data sets take in [data], with their defaults and ranges."""

from typing import Annotated, Literal

from pydantic import Field

from fedmpi.section import NotNegative, Section

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Classes = Annotated[int, Field(ge=2, le=10_000)]


class SyntheticKeys(Section):
    """Spreads `a` of the clients' models and `b` of their inputs; number of natural `clients`."""

    a: NotNegative = 1.0
    b: NotNegative = 1.0
    clients: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    inputs: Annotated[int, Field(ge=1, le=100_000)] = 60
    classes: Classes = 10
    seed: Seed = 0


class SyntheticOnDemandKeys(Section):
    """As `synthetic`; models share a `common` part; `test_clients` clients have test samples."""

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
    """The `problem`; `bits` and `seed` are those of the random mapping."""

    problem: Literal[
        "cue-salience", "rule-plus-exception", "multiplexer", "trains", "random-mapping"
    ] = "rule-plus-exception"
    bits: Annotated[int, Field(ge=1, le=16)] = 4
    seed: Seed = 0


class Cifar100Keys(Section):
    """The `labels`: 100 fine classes, or 20 coarse classes."""

    labels: Literal["fine", "coarse"] = "fine"


class SvhnKeys(Section):
    """If `extra`, the 531,131 extra images are used for training too."""

    extra: bool = False


class FemnistKeys(Section):
    """The `source` of the files: LEAF or TensorFlow Federated."""

    source: Literal["leaf", "tff"] = "leaf"


class Cinic10Keys(Section):
    """If `valid`, the validation part is used for training too."""

    valid: bool = False


class FolderKeys(Section):
    """A `folder` below the data root, with parts `train` and `test`; `grey` drops colours."""

    folder: str
    train: str = "train"
    test: str = "test"
    grey: bool = False


class HuggingFaceKeys(FolderKeys):
    """A `folder` below the data root, with parts `train` and `test`; `grey` drops colours.

    The columns `image` and `label` hold the images and their classes.
    """

    image: str = "image"
    label: str = "label"


class ShakespeareKeys(Section):
    """The `source` of the text, and the `stride` in characters between samples (LEAF: 1)."""

    source: Literal["moby", "tiny"] = "moby"
    stride: Annotated[int, Field(ge=1, le=1_000_000)] = 1
