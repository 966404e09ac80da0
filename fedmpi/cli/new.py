"""The verbs for users' code: new writes a working file, check-method tests a method."""

import os
import shlex
from argparse import Namespace
from importlib.resources import files
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

from fedmpi.cli.kernel_cache import keep_kernels_on_node
from fedmpi.cli.machine import data_root
from fedmpi.cli.words import Verbs, add_set
from fedmpi.errors import ConfigError, ResultError

KINDS = ("method", "model", "data", "selector", "stage")
TEST = '''"""Tests of {name}: start them with pytest in this folder."""

import fedmpi
from {name} import EXPERIMENT{imports}


def test_it_learns_and_a_second_run_gives_the_same_bits(tmp_path):
    first = fedmpi.run(EXPERIMENT, out=tmp_path / "1.h5")
    second = fedmpi.run(EXPERIMENT, out=tmp_path / "2.h5")
    assert first.rounds.test_accuracy[-1] > 0.5
    assert first.weights_sha256 == second.weights_sha256
'''
CONTRACT = '''

def test_it_keeps_the_contract_of_methods():
    faults = [(check, fault) for check, fault in fedmpi.check_method({kind}) if fault]
    assert not faults
'''


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, new, "write a file for your own code, with its test",
                  "fedmpi new method sparse_mean && python sparse_mean.py")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("name", help="name of the file without .py, such as sparse_mean")
    parser.add_argument("-o", "--out", type=Path, default=Path(), metavar="DIR",
                        help="folder to write to (default: this folder)")
    parser = verb(verbs, check_method, "test your own method against the rules for methods",
                  "fedmpi check-method sparse_mean:SparseMean --set algorithm.layers=1")
    parser.add_argument("method", help="package.module:Class, or the name of a method")
    parser.add_argument("--config", metavar="CONFIG",
                        help="TOML file of an experiment to test it in (default: a small one)")
    add_set(parser)


def new(args: Namespace) -> None:
    """Write NAME.py, which works as it is, and test_NAME.py; then change them."""
    name = args.name.removesuffix(".py")
    if not class_name(name).isidentifier() or not name.isidentifier() or iskeyword(name):
        raise ConfigError(f"name {args.name!r}: must be a Python name, such as sparse_mean")
    texts = {f"{name}.py": source(args.kind, name), f"test_{name}.py": test(args.kind, name)}
    for file in texts:
        if (args.out / file).exists():
            raise ResultError(f"{args.out / file}: exists; choose another name")
    if place := _hidden_by(name):
        raise ConfigError(f"name {args.name!r}: is a module of Python or of a library, {place}, "
                          "which the file would hide; choose another name")
    try:
        for file, text in texts.items():
            (args.out / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultError(f"{args.out}: {error.strerror}; the files cannot be written") from None
    print(f"wrote {args.out / name}.py and {args.out / f'test_{name}.py'}")
    if args.out.resolve() != Path.cwd():
        print(f"  cd {shlex.quote(str(args.out))}")
    print(f"  python {name}.py                  run its experiment\n"
          f"  mpiexec -n 2 python {name}.py     the same on two ranks\n"
          f"  python -m pytest test_{name}.py   run its test")
    if args.kind == "method":
        print(f"  fedmpi check-method {name}:{class_name(name)}")


def _hidden_by(name: str) -> str | None:
    """Return the place of the module that a file `name`.py would hide, or None."""
    try:
        spec = find_spec(name)
    except ValueError:  # of __main__
        return "the program itself"
    place = spec.origin if spec else None
    return None if place and Path(place).parent == Path.cwd() else place


def check_method(args: Namespace) -> int:
    """Test a method: its plans, its sums over ranks, its resume, and what it returns.

    The checks run a few rounds of a small experiment. The exit code is 1 if one fails.
    """
    keep_kernels_on_node(os.environ)
    from fedmpi.experiment import contract

    failed = False
    for what, fault in contract.faults(args.method, args.config, args.overrides, data_root):
        failed |= bool(fault)
        print(f"wrong  {what}: {fault}" if fault else f"ok     {what}", flush=True)
    return int(failed)


def source(kind: str, name: str) -> str:
    """Return the text of the example of a kind, with its names derived from `name`."""
    text = (files("fedmpi.examples") / f"{kind}.py").read_text(encoding="utf-8")
    old = f"my_{kind}"
    return text.replace(class_name(old), class_name(name)).replace(old, name)


def test(kind: str, name: str) -> str:
    """Return the text of the test of this example."""
    text = TEST.format(name=name, imports=f", {class_name(name)}" if kind == "method" else "")
    return text + (CONTRACT.format(kind=class_name(name)) if kind == "method" else "")


def class_name(name: str) -> str:
    """Return the class name for the name of a module, such as SparseMean for sparse_mean."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
