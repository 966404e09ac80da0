"""The models by name. Importing this package does not load torch; building a model does."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from fedmpi import user_code
from fedmpi.errors import ConfigError
from fedmpi.learn.models.model_keys import (
    CharTransformerKeys,
    FedlpCnnKeys,
    LstmKeys,
    MlpKeys,
    VggKeys,
    VitTinyKeys,
)
from fedmpi.registry import Entry, Registry

if TYPE_CHECKING:  # listing and checking models must not wait for torch
    from torch import nn

_HERE = "fedmpi.learn.models."

MODELS = Registry(
    "model",
    "model.name",
    "a function (input_shape, classes, **keys), or a torch.nn.Module, "
    "with the decorator @fedmpi.model",
    {
        "softmax": Entry("softmax regression", _HERE + "plain:softmax"),
        "mlp": Entry("fully connected layers of any sizes", _HERE + "plain:mlp", MlpKeys),
        "fedskel-mlp": Entry("FedSkel's 784-512-256-256-128-10", _HERE + "plain:fedskel_mlp"),
        "fedlp-mlp": Entry("FedLP's 784-512-128-128-64-32-10", _HERE + "plain:fedlp_mlp"),
        "lenet5": Entry("LeNet-5, 61,706 parameters at 28x28", _HERE + "lenet:lenet5"),
        "fedskel-mnist": Entry("FedSkel's CNN, 431,080 at 28x28", _HERE + "lenet:fedskel_mnist"),
        "fedskel-cifar": Entry("FedSkel's LeNet, 64,102 at 3x32x32", _HERE + "lenet:fedskel_cifar"),
        "heterofl-cnn": Entry("HeteroFL's CNN, 64-128-256-512", _HERE + "lenet:heterofl_cnn"),
        "fedlp-cnn": Entry(
            "FedLP's CNN for 3x32x32, 551,466; level 1 to 5", _HERE + "fedlp_cnn:fedlp_cnn",
            FedlpCnnKeys,
        ),
        "alexnet": Entry("FedDIP's AlexNet for 3x32x32, 23,272,266", _HERE + "alexnet:alexnet"),
        "vgg11": Entry("VGG-11 for 32x32, with or without BN", _HERE + "vgg:vgg11", VggKeys),
        "vgg13": Entry("VGG-13 for 32x32, with or without BN", _HERE + "vgg:vgg13", VggKeys),
        "resnet18": Entry("ResNet-18 with a 3x3 stem", _HERE + "resnet:resnet18"),
        "resnet20": Entry("ResNet-20 of He et al., option A", _HERE + "resnet:resnet20"),
        "resnet32": Entry("ResNet-32 of He et al., option A", _HERE + "resnet:resnet32"),
        "char-lstm": Entry("next character by two LSTM layers", _HERE + "lstm:char_lstm", LstmKeys),
        "char-transformer": Entry(
            "next character, or each, from a small Transformer",
            _HERE + "transformer:char_transformer",
            CharTransformerKeys,
        ),
        "vit-tiny": Entry(
            "Vision Transformer of DeiT's size Ti", _HERE + "transformer:vit_tiny", VitTinyKeys
        ),
    },
    ("input_shape", "classes"),
)


def options_of(
    name: str, given: Mapping[str, Any], place: str = "configuration"
) -> dict[str, Any]:
    """Return the keys of model `name` as a dict: those in `given`, checked, and the defaults.

    `place` names the configuration in messages.
    Raises ConfigError for an unknown model or key, or a value out of range.
    """
    entry: Entry = MODELS.find(name, place)
    return entry.checked(given, place, "model.", name)


def build(
    name: str, input_shape: Sequence[int], classes: int, options: Mapping[str, Any], seed: int
) -> "nn.Module":
    """Return a new torch.nn.Module of model `name`, initialised from `seed` alone.

    Parameters
    ----------
    name : str
        A key of MODELS, or "package.module:object" of the user's code: a callable
        (input_shape, classes, **options) with the decorator `fedmpi.model` that returns an
        nn.Module.
    input_shape : tuple of int
        Shape of one sample, for example (1, 28, 28), or (80,) for text.
    classes : int
        Number of outputs.
    options : dict
        The model's own keys.
    seed : int
        The run's seed. The global generators of torch, numpy and Python are seeded from it
        while the model is built, and restored afterwards.

    Raises
    ------
    ConfigError
        If the name or a key is unknown, the model cannot take the input shape, or the
        user's code cannot be imported, fails, or returns something other than an nn.Module.
    """
    import torch

    from fedmpi.rng import rng_for, seeded_generators

    options = options_of(name, options)
    make = MODELS.find(name).make
    drawn = int(rng_for(seed, "init").integers(2**63))
    with torch.random.fork_rng(devices=[]), seeded_generators(drawn % 2**32):
        torch.manual_seed(drawn)
        with user_code.config_error_at(f"model.name = {name!r}") if ":" in name else nullcontext():
            module = make(tuple(input_shape), classes, **options)
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"model.name = {name!r}: returned a value of type {type(module).__name__}; it must "
            "return a torch.nn.Module"
        )
    return module
