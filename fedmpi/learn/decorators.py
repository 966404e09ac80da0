"""Decorators for functions of the user's code that a configuration may name."""

from fedmpi.learn.data import DATASETS
from fedmpi.learn.losses import loss
from fedmpi.learn.models import MODELS
from fedmpi.learn.partitions import PARTITIONS

__all__ = ["dataset", "loss", "model", "partition"]
dataset, model, partition = DATASETS.mark, MODELS.mark, PARTITIONS.mark
