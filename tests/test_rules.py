"""The house rules that a program can check. Each rule yields its violations in one file."""

import ast
import re
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BANNED_WORDS = {"manager", "helper", "helpers", "util", "utils", "common", "context", "worker"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Source:
    """One file of the project."""

    path: str  # from the root
    text: str

    @cached_property
    def nodes(self):
        """All nodes of the syntax tree."""
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def functions(self):
        """All functions and methods."""
        return [node for node in self.nodes if isinstance(node, FUNCTIONS)]

    def within(self, *places):
        """Return whether the file lies at one of `places`."""
        return self.path.startswith(places)


def read(*folders):
    """Return the sources in `folders`."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).glob("**/*.py"))
    return [Source(str(path.relative_to(ROOT)), path.read_text()) for path in paths]


CODE = read("fedmpi", "kernels")
TESTS = read("tests")


def dotted(node):
    """Return the dotted name that an expression spells, such as np.random.rand, or ""."""
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(source):
    """Yield (line, name) of every import."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def files_are_short(source):
    lines = len(source.text.splitlines())
    most = 150 if source.within("fedmpi/algorithms/") else 300
    if lines > most:
        yield 1, f"{lines} lines, at most {most}"


def lines_are_short(source):
    for number, line in enumerate(source.text.splitlines(), 1):
        if len(line) > 100:
            yield number, f"{len(line)} columns, at most 100"


def functions_are_short(source):
    for node in source.functions:
        doc = node.body[0] if ast.get_docstring(node) else None
        lines = node.end_lineno - node.lineno + 1
        lines -= doc.end_lineno - doc.lineno + 1 if doc else 0
        if lines > 40:
            yield node.lineno, f"{node.name} has {lines} lines without its docstring, at most 40"


def nothing_is_left_to_do(source):
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search("TO" + "DO|FIX" + "ME", line):
            yield number, "do it, or leave it"


@cache
def documented_methods():
    """Return the names of methods with a docstring; an override need not repeat it."""
    classes = [node for s in CODE for node in s.nodes if isinstance(node, ast.ClassDef)]
    methods = [node for c in classes for node in c.body if isinstance(node, FUNCTIONS)]
    return {node.name for node in methods if ast.get_docstring(node)} | {"forward"}


def public_names_have_docstrings(source):
    if not ast.get_docstring(tree := ast.parse(source.text)):
        yield 1, "the module has no docstring"
    known = documented_methods()
    for owner in [tree, *(node for node in source.nodes if isinstance(node, ast.ClassDef))]:
        inherited = known if isinstance(owner, ast.ClassDef) and owner.bases else set()
        for node in owner.body:
            if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or node.name in inherited:
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                yield node.lineno, f"{node.name} has no docstring"


def only_the_command_line_prints(source):
    for node in source.nodes:
        call = isinstance(node, ast.Call) and dotted(node.func)
        if call == "print" and not source.within("fedmpi/cli"):
            yield node.lineno, "print outside fedmpi/cli"


def only_the_command_line_reads_the_environment(source):
    for node in source.nodes:
        top = source.within("fedmpi/cli") or source.path == "fedmpi/api.py"
        if dotted(node) in ("os.environ", "os.getenv") and not top:
            yield node.lineno, f"{dotted(node)} below the command line and the Python interface"


def randomness_has_one_source(source):
    for node in source.nodes:
        name = dotted(node)
        if re.match(r"(np|numpy)\.random\.(?!Generator)", name) and source.path != "fedmpi/rng.py":
            yield node.lineno, f"{name}: draw from fedmpi.rng.rng_for"
    for line, name in imported(source):
        if re.match(r"(random|secrets|numpy\.random)\b", name) and source.path != "fedmpi/rng.py":
            yield line, f"{name}: draw from fedmpi.rng.rng_for"


def nothing_read_is_executed(source):
    for line, name in imported(source):
        if re.match(r"_?c?(pickle|marshal|shelve|dill)\b", name, re.IGNORECASE):
            yield line, f"{name} executes what it reads"
    for node in source.nodes:
        if isinstance(node, ast.Call) and dotted(node.func) in ("eval", "exec", "torch.load"):
            yield node.lineno, f"{dotted(node.func)} executes what it reads"


def input_is_refused_by_errors(source):
    for node in source.nodes:
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert: raise an error of fedmpi.errors"


def state_is_passed_in(source):
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"


def names_are_words_of_the_field(source):
    names = [(1, Path(source.path).stem, BANNED_WORDS)]
    for node in source.nodes:
        if isinstance(node, ast.ClassDef):
            names.append((node.lineno, node.name, BANNED_WORDS))
        elif isinstance(node, FUNCTIONS):
            names.append((node.lineno, node.name, BANNED_WORDS - {"common", "context"}))
    for line, name, banned in names:
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+", name)}
        if found := banned & words:
            yield line, f"{name}: name the thing, not {' '.join(found)}"


VALUES = re.compile(r"support|mask|plan|backward|^(up|down|update)$")


def values_are_compared_by_value(source):
    """Nothing is decided by whether two names stand for one support, mask or plan."""
    for node in source.nodes:
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        constant = any(isinstance(side, ast.Constant) for side in sides)
        names = [dotted(side).rpartition(".")[2] for side in sides]
        identity = any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops)
        if identity and not constant and any(VALUES.search(name) for name in names):
            yield node.lineno, f"{ast.unparse(node)}: compare values with =="


def abilities_are_declared(source):
    """Nothing is decided by whether a class overrides a method."""
    for node in source.nodes:
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            names = [ast.unparse(side) for side in (node.left, *node.comparators)]
            if any(re.match(r"(type\(self\)|cls)\.\w+$", name) for name in names):
                yield node.lineno, f"{ast.unparse(node)}: declare it as a value of the class"


def kernels_have_twins_and_shapes(source):
    """Public kernels of public modules have a naive twin and say dtype[shape] of their arrays."""
    if Path(source.path).name.startswith("_"):
        return
    beside = f"tests/naive/{Path(source.path).name}"
    twins = {node.name for test in TESTS if test.path == beside for node in test.functions}
    for node in source.functions:
        marks = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
        if "kernel" not in [dotted(mark) for mark in marks] or node.name.startswith("_"):
            continue
        if node.name not in twins:
            yield node.lineno, f"{node.name} has no twin in {beside}"
        if not re.search(r"\b(u?int|float|bool)\d*\[", ast.get_docstring(node) or ""):
            yield node.lineno, f"{node.name}: the docstring gives no shape such as float32[P]"


# Commands that a message gives to be copied; their next word, unless it is a name of fedmpi's own.
COMMAND = re.compile(r"(?<!<)fedmpi (upgrade|resume|compare|report|watch|info|check|run|submit|"
                     r"export|sweep) $|\b(cd|rm|mv|cp|cat|remove|tail -F|chmod \S+) $")


def commands_quote_their_paths(source):
    """A path in a command to copy is quoted, or its blanks would part it."""
    for node in source.nodes:
        if not isinstance(node, ast.JoinedStr):
            continue
        for before, after in pairwise(node.values):
            text = before.value if isinstance(before, ast.Constant) else ""
            if COMMAND.search(text) and isinstance(after, ast.FormattedValue):
                said = ast.unparse(after.value)
                if not re.match(r"(shlex\.)?quote\(|here$", said):
                    yield node.lineno, f"{text[-20:]}{{{said}}}: quote(...)"


VALUE = re.compile(r"(\w = |\b(use|or|be|and) )\"[a-z][a-z0-9-]*\"")


def values_are_typed_alike(source):
    """A message shows a value of TOML in '...', as most do and errors.typed does."""
    for node in source.nodes:
        if isinstance(node, ast.Raise):
            for inner in ast.walk(node):
                text = inner.value if isinstance(inner, ast.Constant) else ""
                if isinstance(text, str) and (found := VALUE.search(text)):
                    yield inner.lineno, f"{found[0]}: write '...'"


RULES_OF_ALL = [files_are_short, lines_are_short, functions_are_short, nothing_is_left_to_do]
RULES_OF_CODE = [
    public_names_have_docstrings,
    only_the_command_line_prints,
    only_the_command_line_reads_the_environment,
    randomness_has_one_source,
    nothing_read_is_executed,
    input_is_refused_by_errors,
    state_is_passed_in,
    names_are_words_of_the_field,
    values_are_compared_by_value,
    abilities_are_declared,
    kernels_have_twins_and_shapes,
    commands_quote_their_paths,
    values_are_typed_alike,
]


@pytest.mark.parametrize(
    ("rule", "sources"),
    [(rule, CODE + TESTS) for rule in RULES_OF_ALL] + [(rule, CODE) for rule in RULES_OF_CODE],
    ids=[rule.__name__ for rule in RULES_OF_ALL + RULES_OF_CODE],
)
def test_rule(rule, sources):
    found = [f"{s.path}:{line}: {text}" for s in sources for line, text in rule(s)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (files_are_short, "\n" * 301),
        (nothing_is_left_to_do, "# TO" "DO: more"),
        (lines_are_short, "#" * 101),
        (functions_are_short, "def f():\n" + "    pass\n" * 40),
        (public_names_have_docstrings, '"""A."""\ndef f():\n    pass'),
        (only_the_command_line_prints, "print(1)"),
        (only_the_command_line_reads_the_environment, "import os\nos.environ['A']"),
        (randomness_has_one_source, "import numpy as np\nnp.random.rand()"),
        (randomness_has_one_source, "from random import choice"),
        (nothing_read_is_executed, "def f():\n    import pickle"),
        (input_is_refused_by_errors, "assert 1"),
        (state_is_passed_in, "def f():\n    global a"),
        (names_are_words_of_the_field, "class RoundManager: pass"),
        (values_are_compared_by_value, "if support is plan.down: pass"),
        (values_are_compared_by_value, "if plan.update is not plan.mask: pass"),
        (abilities_are_declared, "if type(self).remember is not Algorithm.remember: pass"),
        (abilities_are_declared, "if cls.message is not Algorithm.message: pass"),
        (kernels_have_twins_and_shapes, '@kernel\ndef nonesuch(x):\n    """float32[P]."""'),
        (commands_quote_their_paths, "f'fedmpi resume {out}'"),
        (values_are_typed_alike, 'raise ValueError("use engine = \\"torch\\"")'),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_rule_is_found(rule, text):
    assert len(list(rule(Source("fedmpi/learn/new.py", text)))) == 1
