"""Decorators for functions of the user's code that a configuration may name."""

from typing import Any

from fedmpi.learn.data import DATASETS
from fedmpi.learn.losses import loss
from fedmpi.learn.models import MODELS
from fedmpi.learn.partitions import PARTITIONS
from fedmpi.section import Section

__all__ = ["dataset", "loss", "model", "partition"]


def model(function: Any = None, *, keys: type[Section] | None = None, name: None = None) -> Any:
    """Mark a function of yours, or a subclass of torch.nn.Module, as a model; a decorator.

    A configuration names it as [model] name = "module:function". fedmpi calls
    function(input_shape, classes, **keys): the shape of a sample without the batch, such as
    (channels, height, width), and the number of outputs. It must return a torch.nn.Module whose
    forward pass takes a batch and returns float32[N, classes], without a softmax. A batch of images
    is float32[N, C, H, W], normalised; of features float32[N, ...]; of texts uint8 or int32[N, T].

    The other parameters of the function are its keys in [model]. With `keys`, a subclass of
    fedmpi.Keys, their values are checked too. Raises ConfigError for other arguments.
    """
    return MODELS.mark(function, keys=keys, name=name)


def dataset(function: Any = None, *, keys: type[Section] | None = None, name: None = None) -> Any:
    """Mark a function of yours as a data set; a decorator.

    A configuration names it as [data] name = "module:function". fedmpi calls
    function(root, **keys), where `root` is the pathlib.Path of the folder of the data sets. It must
    return a fedmpi.Dataset, see help(fedmpi.Dataset.of), with the same samples on every rank.

    The other parameters of the function are its keys in [data]. With `keys`, a subclass of
    fedmpi.Keys, their values are checked too. Raises ConfigError for other arguments.
    """
    return DATASETS.mark(function, keys=keys, name=name)


def partition(function: Any = None, *, keys: type[Section] | None = None, name: None = None) -> Any:
    """Mark a function of yours as a partition; a decorator.

    A configuration names it as [data] partition = "module:function". fedmpi calls
    function(labels, groups, clients, rng, **keys): the class of each training sample int64[N], its
    natural client int64[N] or None, the number of clients, and a numpy Generator, from which all
    random numbers must come. It must return the client of each sample, int64[N], from 0 to
    clients - 1, or -1 for a sample that no client gets.

    The other parameters of the function are its keys in [data]. With `keys`, a subclass of
    fedmpi.Keys, their values are checked too. Raises ConfigError for other arguments.
    """
    return PARTITIONS.mark(function, keys=keys, name=name)
