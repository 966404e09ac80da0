"""The models by name. Importing this needs no torch; building a model does."""

from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches

from fedmpi import named
from fedmpi.errors import ConfigError
from fedmpi.learn.models.options import FedlpCnn, Lstm, Mlp, NoOptions, Vgg
from fedmpi.section import Section, check


@dataclass(frozen=True)
class Entry:
    """A registered model: what it is, where it is made, and its own keys in [model]."""

    description: str
    maker: str  # "module:function", called as function(input_shape, classes, **options)
    options: type[Section] = NoOptions


_HERE = "fedmpi.learn.models."

MODELS = {
    "softmax": Entry("softmax regression", _HERE + "plain:softmax"),
    "mlp": Entry("fully connected layers of any sizes", _HERE + "plain:mlp", Mlp),
    "fedskel-mlp": Entry("FedSkel's 784-512-256-256-128-10", _HERE + "plain:fedskel_mlp"),
    "fedlp-mlp": Entry("FedLP's 784-512-128-128-64-32-10", _HERE + "plain:fedlp_mlp"),
    "lenet5": Entry("LeNet-5, 61,706 parameters at 28x28", _HERE + "lenet:lenet5"),
    "fedskel-mnist": Entry("FedSkel's CNN, 431,080 at 28x28", _HERE + "lenet:fedskel_mnist"),
    "fedskel-cifar": Entry("FedSkel's LeNet, 64,102 at 3x32x32", _HERE + "lenet:fedskel_cifar"),
    "fedlp-cnn": Entry(
        "FedLP's CNN for 3x32x32, 551,466; level 1 to 5", _HERE + "fedlp:fedlp_cnn", FedlpCnn
    ),
    "alexnet": Entry("FedDIP's AlexNet for 3x32x32, 23,272,266", _HERE + "alexnet:alexnet"),
    "vgg11": Entry("VGG-11 for 32x32, with or without BN", _HERE + "vgg:vgg11", Vgg),
    "vgg13": Entry("VGG-13 for 32x32, with or without BN", _HERE + "vgg:vgg13", Vgg),
    "resnet18": Entry("ResNet-18 with a 3x3 stem", _HERE + "resnet:resnet18"),
    "resnet20": Entry("ResNet-20 of He et al., option A", _HERE + "resnet:resnet20"),
    "resnet32": Entry("ResNet-32 of He et al., option A", _HERE + "resnet:resnet32"),
    "char-lstm": Entry("next character from two LSTM layers", _HERE + "lstm:char_lstm", Lstm),
}


def options_of(name, given, place="configuration"):
    """Return the checked keys of model `name` as a dict: those in `given`, then the defaults.

    A user's own model checks its keys itself, so `given` comes back as it is. `place` names
    the configuration in messages.
    Raises ConfigError for an unknown model or key, or a value out of range.
    """
    if ":" in name:
        return dict(given)
    return dict(check(_entry(name, place).options, dict(given), place, "model."))


def build(name, input_shape, classes, options, seed):
    """Return a new torch.nn.Module of model `name`, initialised from `seed` alone.

    Parameters
    ----------
    name : str
        A key of MODELS, or "package.module:object" of the user's own code: a
        callable (input_shape, classes, **options) that returns an nn.Module.
    input_shape : tuple of int
        Shape of one sample, for example (1, 28, 28), or (80,) for text.
    classes : int
        Number of outputs.
    options : dict
        The model's own keys.
    seed : int
        The run's seed. Torch's own initialisers draw from a stream made from it;
        torch's global generator is left as it was.

    Raises
    ------
    ConfigError
        Unknown name or key, an input shape the model cannot take, or own code that
        fails to import or returns something else than an nn.Module.
    """
    # Listing and checking models must not wait for torch.
    import torch

    from fedmpi.rng import rng_for

    options = options_of(name, options)
    make = named.find(name if ":" in name else _entry(name).maker, "model.name")
    if not callable(make):
        raise ConfigError(
            f"model.name = {name!r}: not callable; "
            "give a function (input_shape, classes, **options) that returns a torch.nn.Module"
        )
    drawn = int(rng_for(seed, "init").integers(2**63))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(drawn)
        with named.blamed(f"model.name = {name!r}") if ":" in name else nullcontext():
            module = make(tuple(input_shape), classes, **options)
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"model.name = {name!r}: returned a {type(module).__name__}; return a torch.nn.Module"
        )
    return module


def _entry(name, place="configuration"):
    if name in MODELS:
        return MODELS[name]
    near = get_close_matches(name, MODELS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(MODELS)}"
    raise ConfigError(
        f"{place}: model.name = {name!r}: unknown model; {hint} (or package.module:object)"
    )
