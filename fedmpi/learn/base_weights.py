"""Weights of a model from a .safetensors file, a format that holds tensors and no code."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fedmpi.errors import ConfigError, DataError, nearest


def load_base(module: nn.Module, path: str) -> None:
    """Set the parameters and buffers of `module` that a .safetensors file holds, in place.

    Values are converted to the module's dtypes. Tensors that are not in the file do not change.

    Raises
    ------
    ConfigError
        If safetensors is not installed, the file cannot be opened, or the file is that of another
        model: it has no tensors, or a tensor that the module lacks or has in another shape.
    DataError
        If the file is damaged.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ConfigError(
            f"model.base = {path!r}: needs safetensors: pip install 'fedmpi[safetensors]'"
        ) from None
    state: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    state |= dict(module.named_buffers(remove_duplicate=False))
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            _check(path, {name: file.get_slice(name).get_shape() for name in names}, state)
            with torch.no_grad():
                for name in names:
                    state[name].copy_(file.get_tensor(name))
    except OSError as error:
        raise ConfigError(f"model.base = {path!r}: cannot be read: {error}") from None
    except SafetensorError as error:
        raise DataError(f"model.base = {path!r}: cannot be read: {error}") from None


def _check(path: str, shapes: Mapping[str, Sequence[int]], state: Mapping[str, Tensor]) -> None:
    """Raise ConfigError unless a module with the tensors `state` can take the tensors of a file."""
    place = f"model.base = {path!r}"
    if not shapes:
        raise ConfigError(f"{place}: holds no tensors")
    for name, shape in shapes.items():
        if name not in state:
            raise ConfigError(f"{place}: the model has no {name}; {nearest(name, state)}")
        if tuple(shape) != tuple(state[name].shape):
            raise ConfigError(
                f"{place}: {name} has shape {list(shape)}, in the model {list(state[name].shape)}; "
                "leave it out of the file to begin with new values"
            )
