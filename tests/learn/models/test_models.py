"""Models against the parameter counts of the papers, and their initialisation."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fedmpi
from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import layout_of, row_axis
from fedmpi.learn.models import MODELS, build, options_of

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
ROWS = ("conv", "linear", "norm")  # kinds of layers whose outputs are measured by rows


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "expected"),
    [
        ("softmax", (60,), 10, {}, 610),
        ("mlp", DIGITS, 10, {"hidden": (32, 16)}, 64 * 32 + 32 + 32 * 16 + 16 + 170),
        ("fedskel-mlp", MNIST, 10, {}, 633_226),
        ("fedlp-mlp", MNIST, 10, {}, 494_762),
        ("lenet5", MNIST, 10, {}, 61_706),
        ("lenet5", CIFAR, 10, {}, 62_006),
        ("lenet5", DIGITS, 10, {}, 19_754),
        ("fedskel-mnist", MNIST, 10, {}, 431_080),
        ("fedskel-cifar", CIFAR, 10, {}, 64_102),
        ("fedlp-cnn", CIFAR, 10, {}, 551_466),
        ("alexnet", CIFAR, 10, {}, 23_272_266),
        ("vgg11", CIFAR, 10, {"batch_norm": False}, 9_750_922),
        ("vgg11", CIFAR, 10, {}, 9_756_426),
        ("vgg13", CIFAR, 10, {"batch_norm": False}, 9_935_434),
        ("vgg13", CIFAR, 10, {"hidden": ()}, 9_416_010),
        ("resnet18", CIFAR, 10, {}, 11_173_962),
        ("resnet18", CIFAR, 100, {}, 11_220_132),
        ("resnet20", CIFAR, 10, {}, 269_722),
        ("resnet32", CIFAR, 10, {}, 464_154),
        ("char-lstm", (80,), 80, {}, 819_920),
        ("char-transformer", (80,), 80, {}, 115_536),
        ("vit-tiny", (3, 32, 32), 10, {}, 5_362_762),
    ],
)
def test_parameters_are_those_of_the_papers(name, shape, classes, options, expected):
    assert parameters(build(name, shape, classes, options, seed=1)) == expected


@pytest.mark.parametrize("name", MODELS)
def test_models_map_a_batch_to_classes_and_have_a_layout(name):
    shape = (7,) if name.startswith("char") else CIFAR
    module = build(name, shape, 11, {}, seed=1)
    x = torch.zeros(2, *shape)
    assert module(x).shape == (2, 11)
    layout = layout_of(module, x[:1])
    assert layout.trained.sum() == parameters(module)
    assert len({layer.name for layer in layout.layers}) == len(layout.layers)
    assert MODELS[name].summary


@pytest.mark.parametrize("name", MODELS)
def test_the_rows_of_a_layer_lie_along_the_axis_that_is_looked_for(name):
    shape = (7,) if name.startswith("char") else CIFAR
    module = build(name, shape, 11, {}, seed=1)
    layout, found = layout_of(module, torch.zeros(1, *shape)), {}
    for layer in layout.layers:
        part = module.get_submodule(layer.name)
        part.register_forward_hook(
            lambda part, x, y, name=layer.name: found.update({name: y.shape[row_axis(part)]})
        )
    module(torch.zeros(2, *shape))
    assert found.items() >= {
        layer.name: layer.rows for layer in layout.layers if layer.kind in ROWS
    }.items()


def test_a_token_that_the_data_do_not_count_is_named():
    module = build("char-lstm", (7,), 4, {}, seed=1)
    with pytest.raises(ConfigError, match="tokens from 0 to 3, and a sample has others"):
        layout_of(module, np.full((1, 7), 4, np.uint8))
    with pytest.raises(ConfigError, match="tokens from 0 to 3, and a sample has others"):
        module(torch.full((2, 7), 9, dtype=torch.uint8))


@pytest.mark.parametrize("side", [8, 12, 27, 28, 31, 32, 48])
def test_lenet_takes_images_of_any_size(side):
    shape = (3, side, side + 1)
    assert build("lenet5", shape, 5, {}, 0)(torch.zeros(1, *shape)).shape == (1, 5)


@pytest.mark.parametrize(
    ("level", "shared"), [(1, 10_272), (2, 28_896), (3, 65_952), (4, 140_064), (5, 551_466)]
)
def test_fedlp_levels_share_the_parameters_of_the_paper(level, shared):
    module, whole = (build("fedlp-cnn", CIFAR, 10, {"level": n}, 0) for n in (level, 5))
    shapes = {name: value.shape for name, value in whole.named_parameters()}
    named = [v for n, v in module.named_parameters() if not n.startswith("private")]
    assert sum(value.numel() for value in named) == shared
    assert all(
        value.shape == shapes[name]
        for name, value in module.named_parameters()
        if not name.startswith("private")
    )


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (build("lenet5", MNIST, 10, {}, seed) for seed in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    assert torch.equal(one.fc3.bias, same.fc3.bias)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_a_shortcut_of_option_a_subsamples_and_pads_channels():
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    block = build("resnet20", CIFAR, 10, {}, 0).get_submodule("stage2_1.shortcut")
    block.more = 2
    y = block(x)
    assert y.shape == (1, 4, 2, 2)
    assert torch.equal(y[:, 1:3], x[:, :, ::2, ::2]) and not y[:, [0, 3]].any()


@fedmpi.model
def own_model(input_shape, classes, *, width=4):
    """A user's own model."""
    inputs = int(np.prod(input_shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.Linear(width, classes))


@fedmpi.model
def wrong_model(input_shape, classes):
    """Returns no module."""
    return "a string"


class Wide(fedmpi.Keys):
    width: int = 4


@fedmpi.model(keys=Wide)
class OwnModule(nn.Linear):
    """A user's own module."""

    def __init__(self, input_shape, classes, width):
        super().__init__(input_shape[-1], width)


def not_marked(input_shape, classes):
    """Any function."""
    return own_model(input_shape, classes)


class Inherits(OwnModule):
    """Has no decorator."""


OWN = f"{__name__}:"


def test_a_class_of_the_users_own_names_its_keys():
    assert build(OWN + "OwnModule", DIGITS, 3, {}, 0).weight.shape == (4, 8)
    with pytest.raises(ConfigError, match=r"model.with: unknown key; did you mean width"):
        options_of(OWN + "OwnModule", {"with": 3})
    with pytest.raises(ConfigError, match=r"model.width = 1.5: must be a whole number"):
        options_of(OWN + "OwnModule", {"width": 1.5})


def test_models_of_the_users_own():
    own = OWN
    module = build(own + "own_model", DIGITS, 3, {"width": 7}, seed=2)
    assert [tuple(p.shape) for p in module.parameters()] == [(7, 64), (7,), (3, 7), (3,)]
    again = build(own + "own_model", DIGITS, 3, {"width": 7}, seed=2)
    assert torch.equal(module[1].weight, again[1].weight)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet", {}, "did you mean lenet5"),
        ("zzz", {}, "known: softmax"),
        ("mlp", {"hiden": (3,)}, "model.hiden: unknown key; did you mean hidden"),
        ("mlp", {"hidden": (0,)}, "model.hidden.0 = 0"),
        ("lenet5", {"level": 1}, "unknown key"),
        ("fedlp-cnn", {"level": 6}, "model.level = 6"),
        ("vgg11", {"batch_norm": 1}, "model.batch_norm = 1"),
        ("vgg11", {}, "images of 32x32"),
        ("char-lstm", {}, "sequences of characters"),
        ("char-transformer", {}, "sequences of characters"),
        (OWN + "no_such", {}, "no_such"),
        ("no_such_package:thing", {}, "No module named"),
        (OWN + "not_marked", {}, "must be a function .*decorator @fedmpi.model"),
        (OWN + "Inherits", {}, "decorator @fedmpi.model"),
        (OWN + "OWN", {}, "decorator @fedmpi.model"),
        (OWN + "wrong_model", {}, "returned a value of type str"),
    ],
)
def test_bad_names_keys_and_shapes_are_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, MNIST, 10, options, seed=0)


def test_options_come_back_complete():
    assert options_of("vgg11", {"batch_norm": False}) == {"batch_norm": False, "hidden": (512, 512)}
    assert options_of(OWN + "own_model", {"width": 9}) == {"width": 9}
    with pytest.raises(ConfigError, match=r"model.any: unknown key; known keys with .*: width"):
        options_of(OWN + "own_model", {"any": 1})


def test_listing_models_needs_neither_torch_nor_numba():
    code = "import sys, fedmpi.learn.models; sys.exit(bool({'torch', 'numba'} & set(sys.modules)))"
    root = Path(fedmpi.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
