"""The section [model]: the model, its trained parts, its loss and its metrics."""

from typing import Literal

from pydantic import Field

from fedmpi.section import Name, NamedSection, Positive, Rate, Section


class AdapterSection(Section):
    """[model] adapter: the linear layers that get an adapter, and its rank.

    kind: "lora": the weight W of a layer becomes W + alpha / rank * (sum over r of u_r d_r), with
    `rank` pairs of vectors that are trained (Hu et al., ICLR 2022, arXiv:2106.09685).
    targets: patterns of the layers' names. trained: patterns of other parameters of the model to
    be trained as well, such as those of a new last layer. alpha: by default equal to rank.
    """

    kind: Literal["lora"] = "lora"
    rank: Positive = 8
    alpha: Rate | None = None
    targets: tuple[Name, ...] = Field(min_length=1)
    trained: tuple[Name, ...] = ()


class ModelSection(NamedSection):
    """[model]: a registered name or package.module:object, and its own keys.

    frozen: patterns, such as "base.*", of parameters and buffers that are constants, neither
    trained nor sent. loss: the loss that clients minimise, from `fedmpi list losses` or
    package.module:object. metrics: further metrics of an evaluation, from `fedmpi list metrics` or
    package.module:object. adapter: small layers that are trained in place of all others. base: a
    .safetensors file with the initial weights.
    """

    name: Name = "lenet5"
    frozen: tuple[Name, ...] = ()
    loss: Name = "cross-entropy"
    metrics: tuple[Name, ...] = ()
    adapter: AdapterSection | None = None
    base: Name | None = None
