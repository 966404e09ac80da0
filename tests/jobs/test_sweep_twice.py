"""A second sweep over the same folder."""

import os
from contextlib import ExitStack

from fedmpi import cli
from fedmpi.cli import sweeps
from fedmpi.record.lock import locked
from tests.jobs.test_sweep import BASE
from tests.record import sample


def test_a_point_that_another_process_writes_is_left_to_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    ran = []

    def run_point(args, base, out, point, stop):
        if out.name == "seed=1.h5":  # which another sweep has taken a moment ago
            stack.enter_context(locked(out))
        ran.append(out.name)
        if out.name == "seed=2.h5":  # when the other has ended with the first point
            sample.write(tmp_path / "out/seed=0.h5")
        return int(out.name != "seed=2.h5")

    monkeypatch.setattr(sweeps, "_run_point", run_point)
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "s.toml").write_text('base = "base.toml"\nseeds = [0, 1, 2]\n')
    words = ["sweep", "s.toml", "-o", "out"]
    with ExitStack() as stack:
        stack.enter_context(locked(tmp_path / "out/seed=0.h5"))
        assert cli.main(words) == 75
    shown = capfd.readouterr()
    assert ran == ["seed=1.h5", "seed=2.h5"]
    assert shown.out.count(f"left alone, process {os.getpid()} on ") == 2
    assert "1 point left to other processes; the same command continues" in shown.out
    assert "failed" not in shown.err
    (tmp_path / "out/seed=0.h5").unlink()
    monkeypatch.setattr(sweeps, "_run_point", lambda *_: 0)
    assert cli.main(words) == 0 and "left" not in capfd.readouterr().out
