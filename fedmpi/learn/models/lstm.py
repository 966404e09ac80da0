"""The character LSTM of McMahan et al. (AISTATS 2017), in LEAF's form: one next character."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from fedmpi.learn.models.parts import Characters, Last, Lstm, check_characters


def char_lstm(
    input_shape: tuple[int, ...], classes: int, embedding: int, hidden: Sequence[int]
) -> nn.Sequential:
    """Return an embedding, LSTM layers, and a linear layer from the last step to the vocabulary.

    Inputs are character numbers [N, T] of any dtype, 0 to classes - 1. The model has 819,920
    parameters at 80 characters: LEAF's 817,872 and the second bias vector of torch's LSTM
    layers.
    """
    check_characters("char-lstm", input_shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict(embedding=Characters(classes, embedding))
    inputs = embedding
    for number, units in enumerate(hidden, 1):
        parts[f"lstm{number}"] = Lstm(inputs, units)
        inputs = units
    parts["last"] = Last()
    parts["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(parts)
