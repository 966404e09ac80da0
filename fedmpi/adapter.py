"""[model] adapter: small layers that are trained beside a frozen model."""

from typing import Literal

from pydantic import Field

from fedmpi.section import Name, Positive, Rate, Section


class Adapter(Section):
    """Which linear layers get an adapter, and of what rank.

    kind: "lora": the weight W of a layer becomes W + alpha / rank * (sum over r of u_r d_r), with
    `rank` pairs of vectors that are trained (Hu et al., ICLR 2022, arXiv:2106.09685).
    targets: patterns of the layers' names. trained: patterns of parameters of the model that are
    trained too, such as those of a new last layer. alpha: default: the rank.
    """

    kind: Literal["lora"] = "lora"
    rank: Positive = 8
    alpha: Rate | None = None
    targets: tuple[Name, ...] = Field(min_length=1)
    trained: tuple[Name, ...] = ()
