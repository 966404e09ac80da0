"""The keys that models take in [model], with their defaults and ranges."""

from typing import Annotated, Literal

from pydantic import Field

from fedmpi.section import Section

Size = Annotated[int, Field(ge=1, le=1_000_000)]


class MlpKeys(Section):
    """Units of each `hidden` layer, and their `activation`."""

    hidden: tuple[Size, ...] = (128, 64)
    activation: Literal["relu", "sigmoid", "tanh"] = "relu"


class FedlpCnnKeys(Section):
    """`level` 5 is the global model; 1 to 4 are FedLP-Hetero's smaller local models."""

    level: Annotated[int, Field(ge=1, le=5)] = 5


class VggKeys(Section):
    """`batch_norm` after every convolution, and the units of the `hidden` linear layers."""

    batch_norm: bool = True
    hidden: tuple[Size, ...] = (512, 512)


class CharTransformerKeys(Section):
    """`width` of a token, number of blocks `depth`, `heads`; `every_token` predicts after each."""

    width: Size = 64
    depth: Size = 2
    heads: Size = 4
    every_token: bool = False


class VitTinyKeys(Section):
    """`width` of a token, number of blocks `depth`, `heads`, and side of a `patch` in pixels."""

    width: Size = 192
    depth: Size = 12
    heads: Size = 3
    patch: Size = 4


class LstmKeys(Section):
    """Size of the character `embedding`, and units of each LSTM layer in `hidden`."""

    embedding: Size = 8
    hidden: Annotated[tuple[Size, ...], Field(min_length=1)] = (256, 256)
