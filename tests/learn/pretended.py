"""A pretended GPU, so that code for GPUs can be tested on machines without one.

Its tensors lie in the memory of the processor, and say that they lie elsewhere. Whatever mixes them
with tensors of the processor, or reads them as arrays, fails as it would with a GPU. Not tested by
this are CUDA's kernels, its memory and that it works on while the processor does.
"""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from fedmpi.learn import gpus

# torch without CUDA cannot assign to a part of a tensor on a device called "cuda".
NAME = "meta:0"
BOTH_WAYS = {"aten.copy_.default", "aten._foreach_copy_.default"}  # from any device to any
BY_INDEX = {"aten.index.Tensor", "aten.index_put.default", "aten.index_put_.default"}


class There(torch.Tensor):
    """A tensor on the pretended GPU, whose numbers are in `inner`, a tensor of the processor."""

    is_cuda = property(lambda self: True)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=NAME,
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class Pretended(TorchDispatchMode):
    """Computes the operations of the pretended GPU, including those that make tensors there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


def computed(function, args, kwargs):
    """Compute an operation on the processor, and put the result where a GPU would have it."""
    wanted = kwargs.get("device")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, There)}
    if wanted is None and there:
        check(str(function), args, tensors)
    told = dict(kwargs) if wanted is None else kwargs | {"device": "cpu"}
    told.pop("pin_memory", None)
    of, how = tree_map(lambda one: one.inner if isinstance(one, There) else one, (args, told))
    found = function(*of, **how)
    if not there if wanted is None else torch.device(wanted).type == "cpu":
        return found
    if str(function) == "aten.copy_.default":
        return args[0]

    def put(one):
        if not isinstance(one, torch.Tensor):
            return one
        return there[id(one)] if id(one) in there else There(one)

    put_there = tree_map(put, found)
    if wanted is not None:
        return put_there
    return return_and_correct_aliasing(function, args, kwargs, put_there)


def check(name, args, tensors):
    """Raise RuntimeError if an operation has tensors here and there; a single number may be here.

    An index may be here as well, but a tensor that is here takes no index from there.
    """
    here = [one for one in tensors if not isinstance(one, There) and one.dim()]
    if name in BY_INDEX and isinstance(args[0], There):
        here = [one for one in args[2:3] if not isinstance(one, There) and one.dim()]
    if here and name not in BOTH_WAYS:
        shapes = ", ".join(str(tuple(one.shape)) for one in here)
        raise RuntimeError(f"{name}: tensors of the processor beside those of a GPU: {shapes}")


class Event:
    """The stand-in for torch.cuda.Event, which never waits."""

    def record(self):
        """Note how far the device is."""

    def synchronize(self):
        """Wait until it is there."""


@contextmanager
def pretended():
    """Let run.device = "cuda" be the pretended GPU while the block runs."""
    replaced = {
        torch: {"_has_compatible_shallow_copy_type": lambda input, from_: False},
        torch.cuda: {"_lazy_init": lambda: None, "default_generators": (torch.Generator(),),
                     "Event": Event, "get_device_name": lambda device: "pretended"},
        gpus: {"device_for": lambda wanted, rank, ranks: NAME if wanted == "cuda" else "cpu"},
    }  # fmt: skip
    with ExitStack() as stack:
        for place, values in replaced.items():
            stack.enter_context(patch.multiple(place, **values))
        stack.enter_context(Pretended())
        yield
