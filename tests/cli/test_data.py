"""The files of data sets from the command line."""

import shutil


def test_verify_names_every_file_and_what_is_wrong_with_one(run_fedmpi, data_root, tmp_path):
    shutil.copytree(data_root / "mnist", tmp_path / "mnist")
    done = run_fedmpi("data", "verify", "mnist", "--root", tmp_path)
    assert done.returncode == 0 and done.stdout.count("sha256 ok") == 4
    labels = tmp_path / "mnist/t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-1])
    done = run_fedmpi("data", "verify", "mnist", "--root", tmp_path)
    assert done.returncode == 1 and labels.name in done.stderr


def test_check_refuses_data_that_run_would_refuse(run_fedmpi, data_root, tmp_path):
    """A missing file may still arrive, so `check` only warns; an altered file is an error."""
    shutil.copytree(data_root / "mnist", tmp_path / "mnist")
    (tmp_path / "a.toml").write_text(f'[data]\nname = "mnist"\nroot = "{tmp_path}"\n')
    labels = tmp_path / "mnist/t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-1])
    for verb in (["check"], ["run", "-o", "a.h5"]):
        done = run_fedmpi(*verb, "a.toml")
        assert done.returncode == 1 and f"{labels} is truncated or altered" in done.stderr
        assert not done.stdout
    labels.unlink()
    done = run_fedmpi("check", "a.toml")
    assert done.returncode == 0 and f"no file mnist/{labels.name}" in done.stderr


def test_an_unknown_data_set_is_refused_with_the_nearest_name(run_fedmpi, tmp_path):
    done = run_fedmpi("data", "verify", "mnits", "--root", tmp_path)
    assert done.returncode == 2 and "mnist" in done.stderr
