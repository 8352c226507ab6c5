"""Run folders tell the truth: how a run ended, what it was run with, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import warnings

import numpy as np
import pytest
import torch

from tmal_core.config import load_settings, settings_hash
from tmal_core.errors import DataError, EpisodeError, RunError, SettingsError
from tmal_core.runtime import run_folders as runs_module
from tmal_core.runtime.files import file_sha256
from tmal_core.runtime.held_work import Process, held
from tmal_core.runtime.run_folders import PROCESSES, Run, runs

SETTINGS = load_settings("tiny")
OTHER = load_settings("tiny", {"seed": 7})


def test_create_writes_what_the_result_depends_on(tmp_path):
    run = Run.create(tmp_path / "a", SETTINGS, "train")
    record = json.loads((run.path / "run.json").read_text())
    assert record["settings_hash"] == run.settings_hash == settings_hash(SETTINGS)
    assert record["status"] == run.status == "running"
    assert record["environment"]["torch"] == torch.__version__.split("+")[0]
    assert record["environment"]["num_threads"] == torch.get_num_threads()
    assert record["environment"]["device"] == "cpu"
    assert {"python", "open_clip", "numpy", "platform"} <= set(record["environment"])
    assert run.settings == SETTINGS
    assert (run.path / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("error", "status"), [(None, "done"), (KeyboardInterrupt, "interrupted"), (ZeroDivisionError("by 0"), "failed")]
)
def test_status_says_how_the_run_ended(tmp_path, error, status):
    def work():
        with Run.create(tmp_path, SETTINGS, "train"):
            if error:
                raise error

    if error:
        with pytest.raises(type(error) if isinstance(error, Exception) else error):
            work()
    else:
        work()
    record = Run.open(tmp_path).record
    assert record["status"] == status
    assert (
        record["error"]
        == {"done": None, "interrupted": "KeyboardInterrupt", "failed": "ZeroDivisionError: by 0"}[status]
    )


def test_a_refused_command_leaves_a_run_that_was_done_as_it_was(tmp_path):
    with Run.create(tmp_path, SETTINGS, "train"):
        (tmp_path / "tables").mkdir()
    for error, status in ((SettingsError("a", "b", "c"), "done"), (ZeroDivisionError("by 0"), "failed")):
        with pytest.raises(type(error)), Run.open(tmp_path):
            raise error
        assert Run.open(tmp_path).status == status
    with Run.open(tmp_path):
        pass
    assert Run.open(tmp_path).record["error"] is None, "what failed before is over"


def test_what_went_wrong_is_not_hidden_by_a_record_that_is_gone(tmp_path):
    run = Run.create(tmp_path / "run", SETTINGS, "train")
    with pytest.raises(ZeroDivisionError, match="by 0"), run:
        (run.path / "run.json").unlink()
        raise ZeroDivisionError("by 0")


def test_own_folder_is_resumed_and_keeps_what_it_has(tmp_path):
    with Run.create(tmp_path, SETTINGS, "train") as run:
        run.update_summary(accuracy_pct=50.0)
        run.log_metrics(episode=1, loss=2.0)
    again = Run.create(tmp_path, SETTINGS, "train")
    assert again.status == "running"
    assert again.summary == {"accuracy_pct": 50.0}
    assert [line["episode"] for line in again.metrics()] == [1]


def test_create_refuses_a_foreign_folder(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds something else\. Choose another folder"):
        Run.create(tmp_path, SETTINGS, "train")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]
    with pytest.raises(RunError, match="holds something else"):
        Run.create(tmp_path / "holiday.txt", SETTINGS, "train")


def test_create_refuses_other_settings_and_names_both_hashes(tmp_path):
    Run.create(tmp_path, SETTINGS, "train")
    with pytest.raises(RunError) as caught:
        Run.create(tmp_path, OTHER, "train")
    assert settings_hash(SETTINGS) in str(caught.value)
    assert settings_hash(OTHER) in str(caught.value)
    with pytest.raises(RunError, match="a run of kind 'train'"):
        Run.create(tmp_path, SETTINGS, "evaluate")


def test_descriptions_of_classes_that_have_changed_are_other_settings(tmp_path):
    texts, moved = tmp_path / "texts.json", tmp_path / "moved.json"
    for place in (texts, moved):
        place.write_text('{"a": ["b"]}')
    described, same = (SETTINGS.replace({"model.descriptions": str(place)}) for place in (texts, moved))
    with Run.create(tmp_path / "run", described, "train") as run:
        run.log_metrics(episode=1)
    digest = file_sha256(texts)
    assert run.record["descriptions_sha256"] == digest
    assert "descriptions_sha256" not in Run.create(tmp_path / "other", SETTINGS, "train").record
    assert Run.create(tmp_path / "run", same, "train").metrics()
    texts.write_text('{"a": ["c"]}')
    moved.write_text('{"a": ["c"]}')
    words = rf"descriptions of classes {file_sha256(texts)[:12]}, got .*run with {digest[:12]}\. Choose another run_dir"
    with pytest.raises(RunError, match=words):
        Run.join(tmp_path / "run", same)


def test_a_run_goes_on_with_fewer_workers_and_says_so(tmp_path):
    """As the error of a dead worker advises."""
    many, few = (SETTINGS.replace({"compute.num_workers": number}) for number in (4, 1))
    with Run.create(tmp_path, many, "train") as run:
        run.log_metrics(episode=1)
    again = Run.create(tmp_path, few, "train")
    assert len(again.metrics()) == 1 and again.settings == few and again.settings_hash == settings_hash(few)
    assert Run.join(tmp_path, many).settings == few  # who joins changes nothing
    with pytest.raises(RunError, match="or the same settings"):
        Run.create(tmp_path, few.replace({"training.episodes": 1}), "train")


def test_a_run_that_left_nothing_makes_room_for_other_settings(tmp_path):
    def fail(folder, *files):
        with pytest.raises(ZeroDivisionError), Run.create(tmp_path / folder, SETTINGS, "train") as run:
            for file in files:
                (run.path / file).write_text("x")
            raise ZeroDivisionError

    fail("barren")
    run = Run.create(tmp_path / "barren", OTHER, "evaluate")
    assert (run.settings, run.record["kind"], run.status, run.record["error"]) == (OTHER, "evaluate", "running", None)
    fail("trained", "checkpoints/best.pt")
    with pytest.raises(RunError, match="or the same settings"):
        Run.create(tmp_path / "trained", OTHER, "train")
    Run.create(tmp_path / "running", SETTINGS, "train")
    with pytest.raises(RunError, match="or the same settings"):
        Run.create(tmp_path / "running", OTHER, "train")


def test_the_suite_may_empty_its_own_folder(tmp_path):
    Run.create(tmp_path, SETTINGS, "suite")
    with pytest.raises(RunError, match=r"or the same settings; --fresh empties this one first\."):
        Run.create(tmp_path, OTHER, "suite")
    with pytest.raises(RunError, match=r"or the same settings\.$"):
        Run.create(tmp_path, OTHER, "train")


def test_open_names_what_is_missing_or_broken(tmp_path):
    with pytest.raises(RunError, match=r"expected a run folder with run\.json"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "tr')
    with pytest.raises(RunError, match=r"expected a readable run\.json"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "train"}')
    with pytest.raises(RunError, match=r"without settings, settings_hash, status, summary"):
        Run.open(tmp_path)


def test_settings_of_another_version_are_refused(tmp_path):
    run = Run.create(tmp_path, SETTINGS, "train")
    (tmp_path / "run.json").write_text(json.dumps({**run.record, "settings": {"preset": "x", "gone": 1}}))
    with pytest.raises(RunError, match="written by another version"):
        _ = run.settings


def test_summary_merges_what_others_wrote_meanwhile(tmp_path):
    first = Run.create(tmp_path, SETTINGS, "suite")
    second = Run.open(tmp_path)
    first.update_summary(a=1)
    second.update_summary(b=np.float64(0.5))
    assert first.summary == {"a": 1, "b": 0.5}
    with pytest.raises(RunError, match="got status"):
        first.update_summary(status="fine")


def test_metrics_take_numbers_of_numpy_and_torch(tmp_path):
    run = Run.create(tmp_path, SETTINGS, "train")
    run.log_metrics(episode=np.int64(3), loss=torch.tensor(0.25), curve=np.arange(2))
    (line,) = run.metrics()
    assert (line["episode"], line["loss"], line["curve"]) == (3, 0.25, [0, 1])
    with pytest.raises(TypeError, match="is not a value for JSON"):
        run.log_metrics(loss=object())


def test_a_cut_last_line_is_left_out_reported_once_and_not_glued_to_the_next(tmp_path):
    run = Run.create(tmp_path, SETTINGS, "train")
    run.log_metrics(episode=1)
    path = run.path / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"episode": 2, "lo')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert [line["episode"] for line in [*run.metrics(), *run.metrics()]] == [1, 1]
    assert len(caught) == 1 and "cut off" in str(caught[0].message), "reported a second time"
    run.log_metrics(episode=3)
    assert [line["episode"] for line in run.metrics()] == [1, 3]


def test_a_broken_line_inside_is_an_error(tmp_path):
    run = Run.create(tmp_path, SETTINGS, "train")
    assert run.metrics() == []
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\nrubbish\n{"a": 2}\n')
    with pytest.raises(RunError, match="line 2"):
        run.metrics()


def test_runs_gives_one_row_each(tmp_path):
    with Run.create(tmp_path / "b", SETTINGS, "train") as run:
        run.update_summary(order={"accuracy_pct": 91.0})
    Run.create(tmp_path / "deep" / "a", OTHER, "evaluate")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / ".partial-x").mkdir()
    (tmp_path / ".partial-x" / "run.json").write_text("{")
    table = runs(tmp_path).set_index("run")
    assert list(table.index) == ["b", "deep/a", "broken"]
    assert table.loc["b", "order.accuracy_pct"] == 91.0
    assert table.loc["b", "status"] == "done"
    assert table.loc["deep/a", "seed"] == 7
    assert table.loc["broken", "status"] == "unreadable"
    assert "run.json" in table.loc["broken", "error"]


def test_runs_of_nothing(tmp_path):
    assert list(runs(tmp_path).columns) == list(runs_module.COLUMNS)
    with pytest.raises(RunError, match="expected a folder of runs"):
        runs(tmp_path / "none")


def test_no_commit_outside_a_checkout(monkeypatch):
    assert set(runs_module.commit()) == {"commit", "dirty"}

    def no_git(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert runs_module.commit() == {"commit": None, "dirty": None}


def test_notebooks_join_the_run_that_is_there_or_begin_one(tmp_path):
    settings = load_settings("tiny")
    suite = Run.create(tmp_path / "suite", settings, "suite")
    joined = Run.join(suite.path, settings)
    assert joined.record["kind"] == "suite" and joined.status == "running"
    alone = Run.join(tmp_path / "alone", settings)
    assert alone.record["kind"] == "notebooks" and alone.status == "done"
    assert Run.join(alone.path, settings).record == alone.record
    with pytest.raises(RunError, match=f"a run with seed 1 .*, got {alone.path} with seed 0 .*another run_dir"):
        Run.join(alone.path, settings.replace({"seed": 1}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(RunError, match="holds something else"):
        Run.join(tmp_path / "full", settings)


def test_a_run_names_its_process_and_reads_interrupted_once_that_is_gone(tmp_path):
    run = Run.create(tmp_path / "a", SETTINGS, "train")
    assert Process(**run.record["process"]) == Process.this() and run.status == "running"
    record = run.record
    record["process"]["started"] = "at another time"
    (run.path / "run.json").write_text(json.dumps(record))
    assert run.status == "interrupted" and runs(tmp_path)["status"].tolist() == ["interrupted"]
    assert Run.create(run.path, OTHER, "train").status == "running", "it left nothing and makes room"
    record = run.record
    del record["process"]
    (run.path / "run.json").write_text(json.dumps(record))
    assert run.status == "running", "of an earlier version nobody can say"


def test_a_run_of_notebooks_has_the_status_of_what_trains_in_it(tmp_path):
    run, suite = Run.join(tmp_path / "a", SETTINGS), Run.create(tmp_path / "b", SETTINGS, "suite")
    works = [folder.path / PROCESSES / "train-tmal.json" for folder in (run, suite)]
    with pytest.raises(KeyboardInterrupt), held(works[0]), held(works[1]):
        assert run.status == "running"
        raise KeyboardInterrupt
    assert (run.status, suite.status) == ("interrupted", "running")
    with pytest.raises(ZeroDivisionError), held(works[0]):
        raise ZeroDivisionError
    assert run.status == "failed" and set(runs(tmp_path)["status"]) == {"failed", "running"}
    with held(works[0]):
        pass
    assert run.status == "done"
    works[0].write_text("{")
    assert run.status == "done", "a file of another version"


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (SettingsError("a", "b", "C."), False),
        (EpisodeError("a", "b", "C."), False),
        (DataError("a", "b", "C."), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_a_refused_command_leaves_no_run_behind(tmp_path, error, stays):
    def refused(folder, file=None):
        with pytest.raises(type(error)), Run.create(tmp_path / folder, SETTINGS, "train") as run:
            if file:
                (run.path / file).touch()
            raise error
        return (tmp_path / folder).exists()

    assert refused("new") is stays
    assert refused("with something in it", "checkpoints/last.pt")
    (tmp_path / "mine").mkdir()
    assert refused("mine")
