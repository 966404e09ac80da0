"""Transformers for characters and for small images, with blocks that normalise first."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmpi.errors import ConfigError
from fedmpi.learn.models.parts import Characters, Last, check_characters, image_shape


class Attention(nn.Module):
    """Multi-head self-attention; if `causal`, a token sees itself and the tokens before it."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, T, width] to the same shape."""
        samples, tokens, width = x.shape
        parts = self.qkv(x).view(samples, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        given: Tensor = self.out(found.transpose(1, 2).reshape(samples, tokens, width))
        return given


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (Xiong et al., ICML 2020)."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(width, 4 * width), gelu=nn.GELU(), fc2=nn.Linear(4 * width, width)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, T, width] to the same shape."""
        x = x + self.attn(self.norm1(x))
        given: Tensor = x + self.mlp(self.norm2(x))
        return given


class Places(nn.Module):
    """Learned position embeddings; with `first`, a learned token is put before the others."""

    def __init__(self, tokens: int, width: int, first: bool = False) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if first else None
        self.places = nn.Parameter(0.02 * torch.randn(1, tokens + first, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, T, width] to float32[N, T (+ 1), width]."""
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        return x + self.places


class First(nn.Module):
    """The first token of a sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, T, U] to float32[N, U]."""
        return x[:, 0]


class Tokens(nn.Module):
    """The positions of an image as tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, C, H, W] to float32[N, H W, C]."""
        return x.flatten(2).transpose(1, 2)


def char_transformer(
    input_shape: tuple[int, ...], classes: int, width: int, depth: int, heads: int,
    every_token: bool,
) -> nn.Sequential:
    """Return a causal Transformer for characters [N, T] of any dtype, 0 to classes - 1.

    It predicts the next character, float32[N, classes]; with `every_token`, the character after
    each position, float32[N, T, classes], for the loss "next-token".
    """
    check_characters("char-transformer", input_shape)
    _check_heads("char-transformer", width, heads)
    parts: OrderedDict[str, nn.Module]
    parts = OrderedDict(
        embedding=Characters(classes, width), places=Places(input_shape[0], width)
    )
    for number in range(depth):
        parts[f"block{number + 1}"] = Block(width, heads, causal=True)
    parts["norm"] = nn.LayerNorm(width)
    if not every_token:
        parts["last"] = Last()
    parts["head"] = nn.Linear(width, classes)
    return nn.Sequential(parts)


def vit_tiny(
    input_shape: tuple[int, ...], classes: int, width: int, depth: int, heads: int, patch: int
) -> nn.Sequential:
    """Return a Vision Transformer (Dosovitskiy et al., ICLR 2021) of DeiT's size Ti.

    It has 5,362,762 parameters at 3x32x32 and 10 classes. Patches are 4x4 pixels instead of
    16x16, as is usual for images of 32x32. There is no dropout.
    """
    channels, height, breadth = image_shape("vit-tiny", input_shape, least=patch)
    if height % patch or breadth % patch:
        raise ConfigError(
            f"model.patch = {patch}: does not divide images of {height}x{breadth}; "
            "choose a side that does"
        )
    _check_heads("vit-tiny", width, heads)
    tokens = (height // patch) * (breadth // patch)
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        patches=nn.Conv2d(channels, width, patch, patch), tokens=Tokens(),
        places=Places(tokens, width, first=True),
    )  # fmt: skip
    for number in range(depth):
        parts[f"block{number + 1}"] = Block(width, heads, causal=False)
    parts["norm"] = nn.LayerNorm(width)
    parts["first"] = First()
    parts["head"] = nn.Linear(width, classes)
    return nn.Sequential(parts)


def _check_heads(model: str, width: int, heads: int) -> None:
    if width % heads:
        raise ConfigError(
            f"model.name = {model!r}: heads = {heads} does not divide width = {width}; "
            "choose a number that does"
        )
