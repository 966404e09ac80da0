"""The table of the points of a sweep, which grows while jobs and shells read it."""

import pytest

from fedmpi.errors import ConfigError
from fedmpi.scheduler import sweep
from fedmpi.scheduler.snapshot import Snapshot


def test_the_table_may_grow_but_not_change(tmp_path):
    grid = {"optimizer.lr": [0.1, 0.2]}
    path = sweep.write_table(tmp_path, sweep.points({"grid": grid, "seeds": [0]}, ""))
    short = path.read_text()
    assert short.splitlines()[0] == "file\trun.name\toptimizer.lr\trun.seed"
    sweep.write_table(tmp_path, sweep.points({"grid": grid, "seeds": [0, 1]}, ""))
    assert path.read_text().startswith(short) and len(path.read_text()) > len(short)
    with pytest.raises(ConfigError, match="points that this sweep lacks"):
        sweep.write_table(tmp_path, sweep.points({"grid": grid, "seeds": [1]}, ""))
    with pytest.raises(ConfigError, match="this sweep lacks; no job reads it: move it away, or ch"):
        sweep.write_table(tmp_path, sweep.points({"seeds": [0]}, ""))
    Snapshot(tmp_path / "sweep.job").keep("")
    Snapshot(tmp_path / "sweep.job").note("slurm", ["17"], [("0", [1]), ("1", [2])])
    with pytest.raises(ConfigError, match=r"sweep, which its jobs may still read \(17\); choose"):
        sweep.write_table(tmp_path, sweep.points({"seeds": [0]}, ""))
    for damage in (path.write_bytes, lambda data: (path.unlink(), path.mkdir())):
        damage(b"\xff\xfe\0")
        with pytest.raises(ConfigError, match=r"points\.tsv: .*choose another folder"):
            sweep.write_table(tmp_path, sweep.points({"seeds": [0]}, ""))


def test_points_join_a_table_anywhere_until_jobs_read_it(tmp_path):
    grid, more = {"optimizer.lr": [0.1, 0.2]}, {"optimizer.lr": [0.05, 0.1, 0.2], "server.lr": [1]}
    path = sweep.write_table(tmp_path, sweep.points({"grid": grid, "seeds": [0, 1]}, ""))
    grown = {"grid": {"optimizer.lr": more["optimizer.lr"]}, "seeds": [0, 1]}
    sweep.write_table(tmp_path, sweep.points(grown, ""))
    assert path.read_text() == sweep.table(sweep.points(grown, ""))
    with pytest.raises(ConfigError, match="points that this sweep lacks"):  # a key more in each
        sweep.write_table(tmp_path, sweep.points({"grid": more, "seeds": [0, 1]}, ""))
    Snapshot(tmp_path / "sweep.job").keep("")
    Snapshot(tmp_path / "sweep.job").note("slurm", ["17"], [("0", [1]), ("1", [2])])
    grown["grid"]["optimizer.lr"] = [0.01, 0.05, 0.1, 0.2]
    with pytest.raises(ConfigError, match="may still read"):
        sweep.write_table(tmp_path, sweep.points(grown, ""))
