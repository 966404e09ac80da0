"""The lines that a start shows before the first round, and the stream that gets them."""

import sys

from fedmpi.cli import progress_display
from fedmpi.cli.startup import CLEAR, StartUp


def test_stages_are_lines_in_a_log_and_a_single_line_on_a_terminal(capsys):
    stages = StartUp(live=False)
    stages("reading")
    stages("training")
    stages.end()
    stages("ignored")
    assert capsys.readouterr().err == "# reading\n# training\n"
    stages = StartUp(live=True)
    stages("reading")
    stages.end()
    assert capsys.readouterr().err == f"{CLEAR}reading{CLEAR}"


def test_a_dumb_terminal_gets_lines(monkeypatch, capsys):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert type(progress_display.progress_for("auto", "exp")) is progress_display.Lines
    stages = StartUp()
    stages("reading")
    stages.end()
    assert capsys.readouterr().err == "# reading\n"


def test_kernels_that_are_compiled_meanwhile_are_counted(tmp_path):
    (tmp_path / "old.nbc").touch()
    stages = StartUp(live=False)
    stages.count_kernels(tmp_path)
    stages("training")
    assert stages.words(0) == "training"
    (tmp_path / "conv").mkdir()
    (tmp_path / "conv" / "new.nbc").touch()
    stages.end()
    assert stages.words(12) == "training, 12 s; 1 kernel compiled, once on this machine"


def test_a_run_names_its_stages_on_standard_error_and_rounds_on_standard_output(run_fedmpi,
                                                                                tmp_path):
    (tmp_path / "exp.toml").write_text("[run]\nrounds = 1\n[clients]\nnumber = 3\n"
                                       '[model]\nname = "softmax"\n')
    done = run_fedmpi("run", "exp.toml", "-o", "a.h5", ranks=2)
    assert done.returncode == 0, done.stderr
    for stage in ("starting the ranks", "reading the data set digits", "splitting it over 3",
                  "training the first round"):
        assert done.stderr.count(f"# {stage}") >= 1, stage
    assert "fedmpi:" not in done.stdout and "round 1/1" in done.stdout
    quiet = run_fedmpi("run", "exp.toml", "-o", "b.h5", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
