"""The table of the points of a sweep, which grows while jobs and shells read it."""

import pytest

from fedmpi import cli
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


def test_a_point_with_a_damaged_result_is_named_with_what_to_do(tmp_path, capsys):
    (tmp_path / "base.toml").write_text("")
    (tmp_path / "s.toml").write_text('base = "base.toml"\nseeds = [0, 1]\n')
    (tmp_path / "my out").mkdir()
    (tmp_path / "my out/seed=1.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    words = ["sweep", str(tmp_path / "s.toml"), "-o", str(tmp_path / "my out"), "--dry-run"]
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path}/my out/seed=1.h5: damaged, or not a result" in said
    assert ("move it away to run the point again, or try: "
            f"fedmpi resume '{tmp_path}/my out/seed=1.h5' --rebuild\n") in said


def test_a_sweep_says_from_where_the_path_of_its_base_is_read(tmp_path):
    (tmp_path / "s.toml").write_text("seeds = [1]")
    with pytest.raises(ConfigError, match=r"s\.toml: base: must be .*, relative to this file$"):
        sweep.read(tmp_path / "s.toml")
