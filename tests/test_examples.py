"""The files in examples/: each runs, `fedmpi new` writes them, and its tests pass."""

import importlib

import numpy as np
import pytest

import fedmpi
from fedmpi import user_code
from fedmpi.cli.new import KINDS, class_name
from fedmpi.errors import ClientError, ConfigError
from fedmpi.experiment import contract


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_learns_and_a_part_of_it_resumes_to_the_same_bits(kind, tmp_path):
    example = importlib.import_module(f"fedmpi.examples.{kind}")
    whole = fedmpi.run(example.EXPERIMENT, out=tmp_path / "1.h5")
    assert whole.rounds.test_accuracy[-1] > 0.5
    part = example.EXPERIMENT | {"run": {"rounds": 4}}
    fedmpi.run(part, out=tmp_path / "2.h5")
    rounds = example.EXPERIMENT["run"]["rounds"]
    longer = fedmpi.resume(tmp_path / "2.h5", [f"run.rounds={rounds}"], allow_code=True)
    assert longer.weights_sha256 == whole.weights_sha256


def test_new_writes_files_whose_tests_pass(main, tmp_path, capsys, monkeypatch):
    for kind in KINDS:
        assert main(["new", kind, f"own_{kind}", "-o", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "fedmpi check-method own_method:OwnMethod" in out
    assert out.count(f"\n  cd {tmp_path}\n  python own_") == len(KINDS)
    assert main(["new", "model", "own_model", "-o", str(tmp_path)]) == 1
    assert "exists; choose another name" in capsys.readouterr().err
    for name in ("own-model", "_", "class", "fedmpi", "numpy", "random", "sys"):
        assert main(["new", "model", name, "-o", str(tmp_path)]) == 2
        assert not (tmp_path / f"{name}.py").exists()
    monkeypatch.syspath_prepend(tmp_path)
    for kind in KINDS:
        importlib.import_module(f"own_{kind}")
    test = importlib.import_module("test_own_method")
    test.test_it_keeps_the_contract_of_methods()
    test.test_it_learns_and_a_second_run_gives_the_same_bits(tmp_path)


def test_new_names_no_folder_to_go_to_where_it_writes_here(main, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "stage", "mine"]) == 0
    assert "  cd " not in capsys.readouterr().out
    (tmp_path / "my stages").mkdir()
    assert main(["new", "stage", "other", "-o", "my stages"]) == 0
    assert "\n  cd 'my stages'\n" in capsys.readouterr().out


class Drawing(fedmpi.Algorithm):
    """Draws where it must not: from a generator of its own."""

    drawn = 0

    def plan(self, state, round, client):
        self.drawn += 1
        keep = (self.rng_for("own", self.drawn).random(self.layout.size) < 0.5).astype("uint8")
        whole = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(whole, whole, update=keep)


class Keeping(fedmpi.Algorithm):
    """Keeps a momentum on the object, where a resumed run cannot find it."""

    momentum = 0.0

    def plan(self, state, round, client):
        whole = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=whole, up=whole)

    def step(self, state, sums, round):
        after = super().step(state, sums, round)
        self.momentum = 0.5 * self.momentum + after["weights"] - state["weights"]
        return {"weights": (state["weights"] + self.momentum).astype("float32")}


class InPlace(fedmpi.Algorithm):
    """Overwrites the weights from which clients may still train."""

    def plan(self, state, round, client):
        whole = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=whole, up=whole)

    def step(self, state, sums, round):
        state["weights"][:] = sums["weights"].mean(state["weights"])
        return state


class Counting(fedmpi.Algorithm):
    """Overwrites a client's memory, before its message has arrived."""

    remembers = True

    def plan(self, state, round, client):
        whole = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=whole, up=whole)

    def message(self, job, report):
        for count in self.memory(job.client).values():
            count += 1
        return super().message(job, report)

    def remember(self, job, report, message, arrival):
        return None if self.memory(job.client) else {"count": np.ones(1)}


@pytest.mark.parametrize(("method", "words"), [
    (InPlace, {"round 0 changed weights in place"}),
    (Counting, {"round 1 changed count in place"}),
    (Drawing, {"plan(state, 2, 11) returned a different update",
               "weights differ when the clients' reports are added in different groups"}),
    (Keeping, {"weights differ when a new object continues after round 2"}),
])
def test_check_method_finds_what_breaks_equal_bits(method, words, main, capsys):
    name = f"{__name__}:{method.__name__}"
    assert main(["check-method", name, "--set", "model.name=softmax"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].startswith("ok ")
    assert all(any(word in line for line in lines if line.startswith("wrong")) for word in words)


class Weaker(fedmpi.Stage):
    """Halves the change of each client that it meets once more."""

    def client(self, job, parts, memory):
        self.met = getattr(self, "met", 0) + 1
        part = parts["weights"]
        return {**parts, "weights": part._replace(values=part.values * 0.5**self.met)}, {}


def test_check_method_tests_the_stages_of_the_experiment_too(main, tmp_path, capsys):
    (tmp_path / "exp.toml").write_text(f"""
model = {{name = "softmax"}}
clients = {{number = 6, per_round = 3, local_steps = 1}}
stage = [{{name = "{__name__}:Weaker"}}, {{name = "secure", neighbours = 2}}]
""")
    assert main(["check-method", "fedavg", "--config", str(tmp_path / "exp.toml")]) == 1
    found = capsys.readouterr().out
    assert found.count("wrong") == 2 and "in the memory that a stage returns" in found


@fedmpi.dataset
def points(root):
    """Return points that are drawn from the number in a file of the data root."""
    rng = np.random.default_rng(int((root / "seed.txt").read_text()))
    x, y = rng.random((80, 3)), rng.integers(0, 2, 80)
    return fedmpi.Dataset.of("points", "features", (x, y), (x, y), classes=2)


def test_check_method_gives_a_data_set_its_folder(main, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(contract, "CHECKS", (contract.runs_three_rounds,))
    config = tmp_path / "exp.toml"
    data = f'[data]\nname = "{__name__}:points"\n'
    config.write_text(data + '[clients]\nnumber = 4\n[model]\nname = "softmax"\n')
    monkeypatch.setenv("FEDMPI_DATA", str(tmp_path / "elsewhere"))
    (tmp_path / "seed.txt").write_text("7")
    changes = [f"data.root={tmp_path}"]
    assert main(["check-method", "fedavg", "--config", str(config), "--set", *changes]) == 0
    assert fedmpi.check_method("fedavg", config, changes)[0][1] == ""
    monkeypatch.setenv("FEDMPI_DATA", str(tmp_path))
    assert main(["check-method", "fedavg", "--config", str(config)]) == 0


class Planless(fedmpi.Algorithm):
    """Returns no plan."""

    def plan(self, state, round, client):
        return None


def test_a_method_that_cannot_run_gets_one_answer():
    ((_, fault),) = fedmpi.check_method(Planless, changes=["model.name=softmax"])
    assert fault.endswith("Planless.plan returned None; it must return a fedmpi.Plan")


def test_check_refuses_what_a_run_would_refuse_in_its_first_round(main, tmp_path, capsys):
    (tmp_path / "a.toml").write_text('[model]\nname = "softmax"\n')
    words = ["--set", f"algorithm.name={__name__}:Planless"]
    assert main(["check", str(tmp_path / "a.toml"), *words]) == 1
    out, err = capsys.readouterr()
    assert not out and "Planless.plan returned None; it must return a fedmpi.Plan" in err


def test_check_method_takes_a_class_and_changes():
    from fedmpi.examples.method import MyMethod

    found = fedmpi.check_method(MyMethod, changes=["model.name=softmax", "algorithm.layers=1"])
    assert len(found) == 6 and not any(fault for _, fault in found)


class Leaving(fedmpi.Algorithm):
    """Ends the program."""

    def plan(self, state, round, client):
        raise SystemExit(0)


def test_a_method_that_exits_is_at_fault():
    ((_, fault),) = fedmpi.check_method(Leaving, changes=["model.name=softmax"])
    assert fault.startswith("SystemExit: 0 (test_examples.py:")


class NeverMade(Leaving):
    """Ends the program when it is made."""

    def __init__(self, keys, setting):
        raise SystemExit(0)


@pytest.mark.parametrize(("method", "words"), [(Leaving, ["--estimate"]), (NeverMade, [])])
def test_an_experiment_whose_method_exits_is_refused(method, words, main, tmp_path, capsys):
    text = f'[model]\nname = "softmax"\n[algorithm]\nname = "{__name__}:{method.__name__}"\n'
    (tmp_path / "a.toml").write_text(text)
    assert main(["check", str(tmp_path / "a.toml"), *words]) == 1
    assert "code of a run must raise an error, not exit" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["flash", "dpf"])
def test_a_small_experiment_is_no_fault_of_a_method(method):
    changes = ["model.name=softmax", "run.rounds=1", "clients.number=4", "clients.per_round=2"]
    assert not any(fault for _, fault in fedmpi.check_method(method, changes=changes))


class Refusing(fedmpi.Algorithm):
    """Rejects one client in each round."""

    def plan(self, state, round, client):
        return fedmpi.Plan(down=fedmpi.Support.all(self.layout), up=fedmpi.Support.all(self.layout))

    def message(self, job, report):
        if job.client == 3:
            raise ClientError("it is the third")
        return super().message(job, report)


def test_a_client_that_is_rejected_is_named_with_the_reason():
    found = fedmpi.check_method(Refusing, changes=["model.name=softmax", "clients.per_round=12"])
    assert "client 3 is rejected: it is the third" in {fault for _, fault in found}


def test_objects_are_named_by_their_place():
    class Inside(fedmpi.Stage):
        pass

    def class_inside():
        return Inside

    from fedmpi.algorithms.fedlp import FedLP

    assert user_code.name_of(FedLP) == "fedlp"
    assert user_code.name_of(Drawing) == f"{__name__}:Drawing"
    assert class_name("own_data2") == "OwnData2"
    with pytest.raises(ConfigError, match=r"is defined inside a function .*, or name it, as in"):
        user_code.name_of(Inside)
    with pytest.raises(ConfigError, match=r"define it at the top of a module$"):
        user_code.name_of(class_inside)  # a function cannot be named
    with pytest.raises(ConfigError, match=r"<lambda>: has no name .*; write it as a function"):
        user_code.name_of(lambda: None)
