"""From a torch module to the chain of steps that the engine takes."""

from dataclasses import dataclass

from torch import nn

from fedmpi.learn.fast.geometry import Window
from fedmpi.learn.models.parts import Residual, Subsample


class Unsupported(Exception):
    """The module holds something for which there are no kernels; the message says what."""


@dataclass(eq=False)
class Value:
    """What one step gives to others: channels x height x width per sample."""

    channels: int
    height: int
    width: int
    relu: bool = False  # negative values are replaced by 0 before anyone reads it
    readers: int = 0
    halo: int = 0  # zeros that are stored around it
    like: "Value | None" = None  # the value whose memory this is, if it was only reshaped


@dataclass(frozen=True, eq=False)
class Step:
    """One layer: reads `source`, writes `out`. `layer` is its index in the layout, or -1."""

    source: Value
    out: Value
    layer: int = -1


@dataclass(frozen=True, eq=False)
class Conv(Step):
    """Conv2d: places of weight and bias (-1 if none) in the flat vector."""

    window: Window = None
    weight: int = -1
    bias: int = -1


@dataclass(frozen=True, eq=False)
class Linear(Step):
    """Linear: places of weight and bias (-1 if none) in the flat vector."""

    weight: int = -1
    bias: int = -1


@dataclass(frozen=True, eq=False)
class MaxPool(Step):
    """MaxPool2d."""

    window: Window = None


@dataclass(frozen=True, eq=False)
class MeanPool(Step):
    """AvgPool2d; `skip` channels of zeros come first, and others last, if `out` has more."""

    window: Window = None
    skip: int = 0


@dataclass(frozen=True, eq=False)
class Norm(Step):
    """BatchNorm: places of scale, shift, running mean and variance in the flat vector."""

    places: tuple = ()
    rate: float = 0.1
    epsilon: float = 1e-5
    joined: bool = False  # normalises the rows of the convolution or linear layer before it


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of `source` and `other`."""

    other: Value = None


def chain_of(module, layout, input_shape):
    """Return (values, steps) of a module, the first value being the input.

    Takes Sequential chains and Residual blocks of Conv2d, Linear, ReLU, MaxPool2d,
    AvgPool2d, AdaptiveAvgPool2d(1), BatchNorm, Flatten and Identity.

    Raises
    ------
    Unsupported
        For anything else.
    """
    shape = tuple(input_shape)
    if len(shape) not in (1, 3):
        raise Unsupported(f"input of shape {shape}")
    builder = _Builder(module, layout, Value(*(*shape, 1, 1)[:3]))
    last = builder.walk(module, builder.values[0])
    if not builder.steps or last.relu or last.height * last.width != 1:
        raise Unsupported("an output that is no plain vector")
    last.readers += 1
    first = [step for step in builder.steps if step.source is builder.values[0]]
    if len(first) == 1 and isinstance(first[0], Conv):
        # Few channels make poor columns one tap at a time; with zeros around, all taps go together.
        builder.values[0].halo = max(first[0].window.padding)
    return builder.values, builder.steps


class _Builder:
    """Collects values and steps while walking down a module."""

    def __init__(self, module, layout, value):
        self.values, self.steps = [value], []
        self._names = {part: name for name, part in module.named_modules()}
        self._starts = {tensor.name: tensor for tensor in layout.tensors}
        self._kinds = [layer.kind for layer in layout.layers]
        self._rows = [layer.rows for layer in layout.layers]
        self._seen = set()

    def walk(self, part, value):
        """Append the steps of one module that reads `value`; return what it gives."""
        if next(part.parameters(recurse=False), None) is not None:
            if part in self._seen:
                raise Unsupported(f"{self._names[part]} is used twice")
            self._seen.add(part)
        for kind, method in self._methods:
            if type(part) is kind:
                return method(self, part, value)
        raise Unsupported(f"{self._names[part] or 'the model'} is a {type(part).__name__}")

    def _sequential(self, part, value):
        for child in part:
            value = self.walk(child, value)
        return value

    def _identity(self, part, value):
        return value

    def _flatten(self, part, value):
        if (part.start_dim, part.end_dim) != (1, -1):
            raise Unsupported("Flatten of other axes than all but the first")
        if value.height * value.width == 1:
            return value
        flat = Value(value.channels * value.height * value.width, 1, 1, value.relu, like=value)
        self.values.append(flat)
        return flat

    def _relu(self, part, value):
        if value.readers or value.like or value is self.values[0]:
            raise Unsupported("a ReLU that does not follow a layer directly")
        value.relu = True
        return value

    def _conv(self, part, value):
        plain = part.groups == 1 and part.padding_mode == "zeros"
        if not plain or isinstance(part.padding, str):
            raise Unsupported("Conv2d with groups, or padding other than zeros")
        window = Window(part.kernel_size, part.stride, part.padding, part.dilation)
        out = Value(part.out_channels, *window.output(value.height, value.width))
        layer, weight, bias = self._own(part)
        return self._append(Conv(value, out, layer, window, weight, bias))

    def _linear(self, part, value):
        if (value.channels, value.height, value.width) != (part.in_features, 1, 1):
            raise Unsupported("Linear on something not flat")
        layer, weight, bias = self._own(part)
        return self._append(Linear(value, Value(part.out_features, 1, 1), layer, weight, bias))

    def _max_pool(self, part, value):
        if part.ceil_mode or part.return_indices:
            raise Unsupported("MaxPool2d with ceil_mode or indices")
        window = Window(*map(_pair, (part.kernel_size, part.stride, part.padding, part.dilation)))
        return self._pool(MaxPool, value, window)

    def _mean_pool(self, part, value):
        padded = any(_pair(part.padding)) and not part.count_include_pad
        if part.ceil_mode or padded or part.divisor_override:
            raise Unsupported("AvgPool2d with ceil_mode, own divisor or count_include_pad=False")
        window = Window(*map(_pair, (part.kernel_size, part.stride, part.padding)))
        return self._pool(MeanPool, value, window)

    def _global_pool(self, part, value):
        if _pair(part.output_size) != (1, 1):
            raise Unsupported("AdaptiveAvgPool2d to more than one position")
        sides = value.height, value.width
        return self._pool(MeanPool, value, Window(sides, sides, (0, 0)))

    def _subsample(self, part, value):
        window = Window((1, 1), (part.stride, part.stride), (0, 0))
        out = Value(value.channels + part.more, *window.output(value.height, value.width))
        return self._append(MeanPool(value, out, window=window, skip=part.more // 2))

    def _pool(self, kind, value, window):
        sides = window.output(value.height, value.width)
        return self._append(kind(value, Value(value.channels, *sides), window=window))

    def _norm(self, part, value):
        if not (part.affine and part.track_running_stats):
            raise Unsupported("BatchNorm without scale and shift, or without statistics")
        tensor = self._tensor(part, "weight")
        names = ("weight", "bias", "running_mean", "running_var")
        places = tuple(self._tensor(part, name).start for name in names)
        joined = self._kinds[tensor.layer] != "norm"
        out = Value(value.channels, value.height, value.width)
        return self._append(Norm(value, out, tensor.layer, places, part.momentum, part.eps, joined))

    def _residual(self, part, value):
        value.readers += 1  # so that no ReLU of the body changes what the shortcut reads
        one, other = self.walk(part.body, value), self.walk(part.shortcut, value)
        value.readers -= 1
        if one in (value, other) or (one.channels, one.height) != (other.channels, other.height):
            raise Unsupported("Residual with an empty body")
        other.readers += 1
        out = Value(one.channels, one.height, one.width, relu=True)
        return self._append(Add(one, out, other=other))

    def _append(self, step):
        step.source.readers += 1
        self.values.append(step.out)
        self.steps.append(step)
        return step.out

    def _own(self, part):
        """Return layer, place of the weight, place of the bias or -1."""
        weight = self._tensor(part, "weight")
        bias = -1 if part.bias is None else self._tensor(part, "bias").start
        return weight.layer, weight.start, bias

    def _tensor(self, part, name):
        whole = f"{self._names[part]}.{name}" if self._names[part] else name
        return self._starts[whole]

    _methods = (
        (nn.Sequential, _sequential),
        (nn.Identity, _identity),
        (nn.Flatten, _flatten),
        (nn.ReLU, _relu),
        (nn.Conv2d, _conv),
        (nn.Linear, _linear),
        (nn.MaxPool2d, _max_pool),
        (nn.AvgPool2d, _mean_pool),
        (nn.AdaptiveAvgPool2d, _global_pool),
        (nn.BatchNorm2d, _norm),
        (nn.BatchNorm1d, _norm),
        (Residual, _residual),
        (Subsample, _subsample),
    )


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)
