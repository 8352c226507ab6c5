"""The command line: instant help, one line per error, the right exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from tmal_core import __version__, cli
from tmal_core.cli import options
from tmal_core.config import load_settings
from tmal_core.errors import DataError, RunError, SettingsError
from tmal_core.models.methods import METHODS
from tmal_core.runtime import run_folders
from tmal_core.runtime.run_folders import Run


def test_help_loads_nothing_heavy():
    code = "import sys\nfrom tmal_core import cli\ncli.main(['--help'])\n"
    code += "print([name for name in ('torch', 'pydantic', 'pandas', 'papermill', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    commands = ("suite", "synthesise", "pretrain-tiny", "splits", "prepare", "flow", "weights", "train", "evaluate")
    commands += ("adopt", "classify", "runs", "lab", "table", "efficiency", "cross", "baselines")
    assert [name for name in commands if f"\n  {name} " not in done.stdout] == []


@pytest.mark.parametrize(
    ("own", "spins"), [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_threads_do_not_wait_in_a_loop_unless_the_user_says_so(own, spins, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", own)
    cli.main(["runs", str(tmp_path)])
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_overrides_are_yaml():
    pairs = ["training.episodes=500", "seed=3", "sampling.flip=true", "data.root=a=b", "seed=4"]
    expected = {"training.episodes": 500, "seed": 4, "sampling.flip": True, "data.root": "a=b"}
    assert options.parse_overrides(pairs) == expected
    for wrong in ("training.episodes", "=5", "a=[1"):
        with pytest.raises(SettingsError, match=r"expected (key=value|a YAML value), got"):
            options.parse_overrides([wrong])


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["suite", "--preset", "huge"], "expected one of the presets"),
        (["suite", "--set", "training.episods=5"], "training.episods"),
        (["suite", "--set", "episodes.way=-1"], "episodes.way"),
        (["train", "--set", "way"], "expected key=value, got 'way'"),
        (["runs", "no/such/folder"], "expected a folder of runs, got no/such/folder"),
        (["flow", "--num-shards", "2"], "expected --cluster with --num-shards and --job, got none"),
        (["study", "--val-only", "--seeds", "3"], "expected --seeds without --val-only, got both"),
        (["cross", "--test", "smoke", "--leave-out-overlap"], "expected --train with --leave-out-overlap, got none"),
        (["study", "--out", __file__], "tables/study.json (Not a directory)"),
        (["cross", "--test", "smoke", "--method", "otam", "--out", __file__], "tables/cross.json (Not a directory)"),
        (["efficiency", "--set", "episodes.shot=0"], "with what was set over it, got episodes.shot"),
        (["flow", "--job", "timeout_min=5"], "expected --cluster with --num-shards and --job, got none"),
    ],
)
def test_errors_of_the_user_are_one_line(argv, line, capsys):
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tmal: error: expected ")
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            DataError("a video", "x.avi:\n  broken", "Remove it."),
            1,
            "tmal: error: expected a video, got x.avi: broken.",
        ),
        (KeyboardInterrupt(), 130, "tmal: interrupted."),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "tmal: error: expected room on the disk"),
        (
            OSError(errno.EROFS, "Read-only file system", "/x/y"),
            1,
            "tmal: error: expected a place that can be read and written, got /x/y (Read-only file system). Choose",
        ),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code, line):
    def fail(root):
        raise error

    monkeypatch.setattr(run_folders, "runs", fail)
    assert cli.main(["runs"]) == code
    err = capsys.readouterr().err.strip()
    assert err.startswith(line)
    assert "\n" not in err


@pytest.mark.parametrize("defect", [ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "No such file", "x")])
def test_our_own_defects_keep_their_traceback(monkeypatch, defect):
    def fail(root):
        raise defect

    monkeypatch.setattr(run_folders, "runs", fail)
    with pytest.raises(type(defect)):
        cli.main(["runs"])


def test_a_file_where_a_folder_should_be(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["synthesise", "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(
        f"tmal: error: expected a place that can be read and written, got {tmp_path}"
    )


@pytest.mark.parametrize("number", ["0", "-1", "x"])
@pytest.mark.parametrize(
    "option",
    ["suite --cell-timeout", "pretrain-tiny --steps", "flow --num-shards", "study --seeds", "study --processes"],
)
def test_numbers_that_are_none(option, number, capsys):
    assert cli.main([*option.split(), number]) == 2
    err = capsys.readouterr().err
    reason = "should be a valid integer" if number == "x" else "should be greater than or equal to 1"
    assert f"Error: Invalid value for '{option.split()[1]}': Input {reason}" in err and "Traceback" not in err


@pytest.mark.parametrize("name", ["prepare", "evaluate", "classify", "train"])
def test_help_names_what_a_preset_is_by_default(name, capsys):
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "a preset's name or a YAML file (default:" in " ".join(text.split()) and "None" not in text


@pytest.mark.parametrize("name", ["train", "evaluate", "classify", "efficiency"])
def test_help_of_method_lists_the_methods_that_there_are(name, capsys):
    assert options.METHODS.split(", ") == list(METHODS)
    assert cli.main([name, "--help"]) == 0
    assert options.METHODS in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["sweet"], "No such command 'sweet'"),
        (["weights", "sing"], "No such command 'sing'"),
        (["train", "--sets", "seed=1"], "No such option: --sets"),
        (["runs", "a", "b"], "unexpected extra argument(s) (b)"),
        (["adopt"], "Missing option '--from'"),
        (["evaluate", "--split", "test"], "No such option: --split"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_one_message(argv, line, capsys):
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and line in err and err.count("Error: ") == 1 and "Traceback" not in err


def test_without_a_command_it_helps_and_it_knows_its_version(capsys):
    assert cli.main([]) == 0
    bare = capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert bare.rstrip() == capsys.readouterr().out.rstrip() and bare.startswith("Usage: tmal ")
    assert "--install-completion" in bare
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tmal {__version__}\n"


def test_evaluate_and_flow_say_what_is_missing(tmp_path, capsys):
    no_data = ["--set", f"data.root={tmp_path / 'none'}"]
    assert cli.main(["flow", *no_data]) == 1
    assert cli.main(["evaluate", "--out", str(tmp_path / "run"), *no_data]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("none" in line and line.startswith("tmal: error: expected") for line in lines)


def test_train_does_not_touch_a_foreign_folder(tmp_path, capsys):
    (tmp_path / "holiday.txt").write_text("mine")
    assert cli.main(["train", "--out", str(tmp_path)]) == 1
    assert "holds something else" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_runs_lists(tmp_path, capsys):
    assert cli.main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no runs\n"
    with Run.create(tmp_path / "a", load_settings("tiny"), "train") as run:
        run.update_summary(accuracy_pct=91.25)
    with pytest.raises(DataError), Run.create(tmp_path / "b", load_settings("tiny"), "train"):
        raise DataError("a video", "x" * 100, "Remove it.")
    assert cli.main(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "accuracy_pct" in out
    assert "91.25" in out
    assert "done" in out
    assert f" DataError: expected a video, got {'x' * 100}. Remove it." in out, "a pipe gets everything"


@pytest.mark.parametrize("width", [80, 120])
def test_runs_fits_its_terminal(width, tmp_path, capsys, monkeypatch):
    with Run.create(tmp_path / ("long" * 20), load_settings("tiny"), "train") as run:
        run.update_summary(**{f"accuracy_{i}_pct": 91.25 + i for i in range(20)})
    with pytest.raises(DataError), Run.create(tmp_path / "b", load_settings("tiny"), "train"):
        raise DataError("a video", "x" * 100, "Remove it.")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.main(["runs", str(tmp_path)]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert max(map(len, (head, first, second))) <= width
    assert head.split()[:5] == ["run", "status", "created", "kind", "error"] and head.endswith(" …")
    assert first.startswith("longlong") and "… done" in first
    assert second.split()[:2] == ["b", "failed"] and "DataError" in second and "T" not in second.split()[2]
    assert cli.main(["runs", str(tmp_path), "--wide"]) == 0
    whole = capsys.readouterr().out
    assert "long" * 20 in whole and "accuracy_19_pct" in whole and "…" not in whole


def test_suite_says_where_it_stands_and_takes_that_line_away(tmp_path, monkeypatch, capsys):
    def run_suite(*_, say, renew, **options):
        say("01_a: running ...")
        renew("01_a: 2 s")
        raise RunError("a", "b", "C.")

    monkeypatch.setattr("tmal_core.suite.notebook_runs.run_suite", run_suite)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["suite", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "01_a: running ...\n01_a: 2 s\r\x1b[K"
