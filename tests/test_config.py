"""Valid configurations, and the messages for invalid ones."""

import pytest

from fedmpi.config import read
from fedmpi.errors import ConfigError
from fedmpi.experiment import resolve as resolving
from fedmpi.experiment.resolve import resolve


def test_an_empty_configuration_is_a_whole_experiment():
    values = resolve("", "empty.toml").values()
    assert values["data"]["name"] == "digits"
    assert values["algorithm"] == {"name": "fedavg"}
    assert values["clients"]["cohort"] == 100


def test_overrides_win_and_have_toml_types():
    overrides = ["run.seed=7", "algorithm.name=fedprox", "algorithm.mu=0.5", "clients.number=4"]
    config = read("[run]\nseed = 1\nrounds = 3", "a.toml", overrides)
    assert (config.run.seed, config.run.rounds, config.clients.number) == (7, 3, 4)
    assert config.algorithm.own_keys() == {"mu": 0.5}


@pytest.mark.parametrize(
    ("text", "cohort"),
    [("number = 40\nfraction = 0.1", 4), ("number = 3\nfraction = 0.01", 1), ("number = 9", 9)],
)
def test_the_cohort_follows_from_number_and_fraction(text, cohort):
    assert read(f"[clients]\n{text}", "a.toml").clients.cohort == cohort


@pytest.mark.parametrize(
    ("over", "selected"), [(1, 10), (1.1, 11), (1.3, 13), (1.31, 14), (3, 30), (9, 40)]
)
def test_over_selection_asks_more_clients_but_no_more_than_there_are(over, selected):
    text = f"[clients]\nnumber = 40\nper_round = 10\n[schedule]\nover_select = {over}"
    assert read(text, "a.toml").selected == selected


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("", "auto"),
        ('engine = "debug"', "debug"),
        ('trainer = "numba"', "kernels"),
        ('trainer = "torch"', "torch"),
        ('trainer = "numba"\nengine = "kernels"', "kernels"),
    ],
)
def test_trainer_is_an_older_name_of_engine(text, engine):
    config = read(f"[run]\n{text}", "a.toml")
    assert config.run.engine == engine
    assert not hasattr(config.run, "trainer")


ENGINES = "'auto', 'kernels', 'torch', 'batched' or 'debug'"
BAD = {
    "run: trainer = 'numba' and engine = 'torch' differ; remove trainer": (
        "[run]\ntrainer = 'numba'\nengine = 'torch'"
    ),
    f"run: trainer = 'kernels': write engine, which is {ENGINES}": (
        "[run]\ntrainer = 'kernels'"
    ),
    f"run.engine = 'cuda': must be {ENGINES}": "[run]\nengine = 'cuda'",
    "run.sed: unknown key; did you mean seed?": "[run]\nsed = 1",
    "runn: unknown key; did you mean run?": "[runn]\nseed = 1",
    "run.rounds = 0: must be at least 1": "[run]\nrounds = 0",
    "run.rounds = '3': must be a whole number": "[run]\nrounds = '3'",
    "run.rounds = 2.5: must be a whole number": "[run]\nrounds = 2.5",
    "run.rounds = true: must be a whole number": "[run]\nrounds = true",
    "run.seed = -1: must be at least 0": "[run]\nseed = -1",
    "run.threads_per_rank = 2000: must be at most 1,024": "[run]\nthreads_per_rank = 2000",
    "run.sum = 'exakt': must be 'exact' or 'fast'": "[run]\nsum = 'exakt'",
    "run.device = 'gpu': must be 'auto', 'cpu' or 'cuda'": "[run]\ndevice = 'gpu'",
    "run: engine = 'auto' is for cpu and float32; use 'batched'": (
        "[run]\nprecision = 'bfloat16'"
    ),
    "data.augment = true: must be false or 'crop-flip'": "[data]\naugment = true",
    "clients.batch_size = 0: must be at least 1 or 'all'": "[clients]\nbatch_size = 0",
    "devices.carbon_g_per_kwh = true: must be a number or a text in quotes": (
        "[devices]\ncarbon_g_per_kwh = true"
    ),
    "model.adapter.targets = []: must be an array of at least 1": (
        "[model]\nadapter = {targets = []}"
    ),
    "server.betas.1: missing; give it a value": "[server]\nbetas = [0.9]",
    "run = 3: must be a section of keys": "run = 3",
    "run = [{seed = 1}]: must be a section of keys": "[[run]]\nseed = 1",
    "stage: must be an array; write an array of sections as [[stage]]": "[stage]\nname = 'clip'",
    "rounds: unknown key; it belongs to a section: run.rounds": "rounds = 3",
    "lr: unknown key; it belongs to a section: optimizer.lr or server.lr": "lr = 0.1",
    "run.rounds = 10000000000: must be at most 1e9": "[run]\nrounds = 10000000000",
    "run.name = '': must be a text of 1 to 200 characters": "[run]\nname = ''",
    "run.name = 3: must be a text in quotes": "[run]\nname = 3",
    "server.betas = [0.1, 0.2, 0.3]: must be an array of at most 2": (
        "[server]\noptimizer = 'adam'\nbetas = [0.1, 0.2, 0.3]"
    ),
    "run.b: unknown key; known keys: name, seed": "[run]\na = 1\nb = 2\nc = 3",
    "(and 1 more)": "[run]\na = 1\nb = 2\nc = 3",
    "a.toml: model.width: unknown key; known keys with lenet5: none": "[model]\nwidth = 3",
    "a.toml: model.hidden.1 = -1: must be at least 1": "[model]\nname = 'mlp'\nhidden = [3, -1]",
    "algorithm.name = '__main__:Mine': is of a script or notebook; run or resume it there": (
        "[algorithm]\nname = '__main__:Mine'"
    ),
    "algorithm.name = 'json:lods': module json has no lods; did you mean loads?": (
        "[algorithm]\nname = 'json:lods'"
    ),
    "data.name = 'json': unknown": "[data]\nname = 'json'",
    "algorithm.name = 'mine.FedLP': unknown algorithm; write own code as package.module:object": (
        "[algorithm]\nname = 'mine.FedLP'"
    ),
    "algorithm.name = 'mine.py:FedLP': write mine:FedLP, without .py": (
        "[algorithm]\nname = 'mine.py:FedLP'"
    ),
    "optimizer.lr = 0: must be above 0": "[optimizer]\nlr = 0",
    "optimizer.lr = nan: ": "[optimizer]\nlr = nan",
    "optimizer.lr = inf: ": "[optimizer]\nlr = inf",
    "optimizer.momentum = 1.0: must be below 1": "[optimizer]\nmomentum = 1.0",
    "optimizer: momentum = 0.9 does not apply to adam": (
        "[optimizer]\nname = 'adam'\nmomentum = 0.9"
    ),
    "clients: per_round and fraction are both given": (
        "[clients]\nper_round = 3\nfraction = 0.5"
    ),
    "clients: local_epochs and local_steps are both given": (
        "[clients]\nlocal_epochs = 3\nlocal_steps = 5"
    ),
    "clients: per_round = 20 is more than number = 10": "[clients]\nnumber = 10\nper_round = 20",
    "clients.fraction = 1.5: must be at most 1": "[clients]\nfraction = 1.5",
    "server: lr does not apply to optimizer = 'average'": "[server]\nlr = 0.1",
    "devices: tiers are given but profile = 'uniform'": (
        "[[devices.tiers]]\nname = 'a'\nshare = 1\ngflop_s = 1\nup_mbit_s = 1\ndown_mbit_s = 1"
    ),
    "devices.tiers.0.gflop: unknown key; did you mean gflop_s?": (
        "[devices]\nprofile = 'tiers'\n[[devices.tiers]]\nname = 'a'\nshare = 1\ngflop = 1"
    ),
    "schedule.mode = 'asink': must be 'sync', 'deadline' or 'async'": "[schedule]\nmode = 'asink'",
    "schedule: mode = 'deadline' needs deadline_s": "[schedule]\nmode = 'deadline'",
    "schedule: deadline_s = 3 does not apply to mode = 'sync'": "[schedule]\ndeadline_s = 3",
    "schedule.deadline_s = 0: must be above 0": "[schedule]\nmode = 'deadline'\ndeadline_s = 0",
    "schedule.over_select = 0.9: must be at least 1": "[schedule]\nover_select = 0.9",
    "schedule.over_select = inf: must be at most 1,000": "[schedule]\nover_select = inf",
    "devices.profile: 'mobil' is unknown; use 'uniform', 'tiers', 'mobile', 'phones', 'boards'": (
        "[devices]\nprofile = 'mobil'"
    ),
    "devices: tiers are given but profile = 'mobile'": (
        "[devices]\nprofile = 'mobile'\ntiers = []"
    ),
    "devices.dropout = 1.0: must be below 1": "[devices]\ndropout = 1.0",
    "devices.availability = 0: must be above 0": "[devices]\navailability = 0",
    "a.toml: devices.profile: none.csv: No such file": "[devices]\nprofile = 'none.csv'",
    "not valid TOML": "[run",
    'Invalid value (at line 2, column 15): partition = iid; write a text as "iid"': (
        "[data]\n  partition = iid"
    ),
    "(at line 2, column 10): alpha = 0,5": "[data]\nalpha = 0,5",
    "nested too deeply": "a = " + "[" * 5000 + "]" * 5000,
    "algorithm.name = 'fedagv': unknown algorithm; did you mean fedavg?": (
        "[algorithm]\nname = 'fedagv'"
    ),
    "algorithm.muu: unknown key; did you mean mu?": "[algorithm]\nname = 'fedprox'\nmuu = 1",
    "algorithm.p = 1.5: must be at most 1": "[algorithm]\nname = 'fedlp'\np = 1.5",
    "algorithm: end = 0.4 is below start = 0.5; raise it": (
        "[algorithm]\nname = 'feddip'\nend = 0.4"
    ),
    "algorithm.name = 'nowhere:Method': No module named 'nowhere'": (
        "[algorithm]\nname = 'nowhere:Method'"
    ),
    "must be a subclass of fedmpi.Algorithm": "[algorithm]\nname = 'json:loads'",
    "model.name = 'lenet': unknown model; did you mean lenet5?": "[model]\nname = 'lenet'",
    "model.hiden: unknown key; did you mean hidden?": "[model]\nname = 'mlp'\nhiden = [3]",
    "data.name = 'mnits': unknown data set; did you mean mnist?": "[data]\nname = 'mnits'",
    "data.partition = 'dirichlett': unknown": "[data]\npartition = 'dirichlett'",
    "data.alfa: unknown key; did you mean alpha?": (
        "[data]\npartition = 'dirichlet'\nalfa = 1"
    ),
    "data.alpha: unknown key; known keys with digits and iid: name, root": "[data]\nalpha = 0.5",
    "data.partiton: unknown key; did you mean partition?": "[data]\npartiton = 'iid'",
    "data.name = 'os:system': must be a function (root, **keys) with the decorator":
        "[data]\nname = 'os:system'\nroot = 'touch touched'",
    "data.partition = 'os:system': must be a function": "[data]\npartition = 'os:system'",
    "stage.name = 'json:loads': must be a subclass of fedmpi.Stage": (
        "[[stage]]\nname = 'json:loads'"
    ),
    "algorithm.name = 'fedmpi.algorithms:ALGORITHMS': must be": (
        "[algorithm]\nname = 'fedmpi.algorithms:ALGORITHMS'"
    ),
    "is defined in another module; name it fedmpi.algorithms.inside:Inside": (
        "[algorithm]\nname = 'fedmpi.algorithms.adp1:Inside'"
    ),
    "alpha = -1": "[data]\npartition = 'dirichlet'\nalpha = -1",
}


@pytest.mark.parametrize("message", BAD)
def test_a_fault_is_named_with_its_place_value_and_remedy(message):
    with pytest.raises(ConfigError) as caught:
        resolve(BAD[message], "a.toml")
    text = str(caught.value)
    assert message in text
    assert len(text.splitlines()) <= 2
    assert all(line.startswith("a.toml: ") for line in text.splitlines())
    assert caught.value.exit_code == 2


def test_an_override_of_several_lines_is_one_value():
    """Its further lines were left out without a word."""
    with pytest.raises(ConfigError, match=r'rounds = "5\\nrun.seed=7": must be a whole number'):
        read("", "a.toml", ["run.rounds=5\nrun.seed=7"])
    assert read("", "a.toml", ["run.name = \n'a'\n"]).run.name == "a"


def test_a_date_and_bytes_that_are_no_text_are_shown_as_in_toml():
    with pytest.raises(ConfigError, match=r"run.seed = 1979-05-27: must be a whole number"):
        read("[run]\nseed = 1979-05-27", "a.toml")
    with pytest.raises(ConfigError, match=r"run.seed = 07:32:00: must be a whole number"):
        read("", "a.toml", ["run.seed=07:32:00"])
    with pytest.raises(ConfigError, match=r'run.name = "\\udcff": must be a text in UTF-8$'):
        read("", "a.toml", ["run.name=\udcff"])


@pytest.mark.parametrize("override", ["run.seed", "=3", "run..seed=3", "run.seed.x=3"])
def test_a_malformed_override_is_refused(override):
    with pytest.raises(ConfigError, match="--set"):
        read("[run]\nseed = 1", "a.toml", [override])


@pytest.mark.parametrize("key", ["optimizer.lr", "network.up_mbit_s", "devices.dropout"])
def test_a_number_that_is_none_is_not_said_to_be_too_large(key):
    with pytest.raises(ConfigError, match=f"{key} = nan: must be a finite number"):
        read("", "a.toml", [f"{key}=nan"])


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.toml").write_text("\ufeff[run]\nseed = 3\n", encoding="utf-8")
    assert resolving.read(tmp_path / "a.toml").config.run.seed == 3


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(ConfigError, match="embedded null byte; give the path of a TOML file"):
        resolving.read("a\0b.toml")
