"""Real presets on mock trees: a few generated clips per class, under the names of the real lists.

Every preset goes through import, preparation, flow, training and evaluation with the tiny CLIP, one with 5 shots too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from tmal_core import cli
from tmal_core.config import load_settings
from tmal_core.data.sets.catalog import load_catalog
from tmal_core.data.sets.lists import load_splits
from tmal_core.data.sets.sources import SOURCES
from tmal_core.errors import DataError
from tmal_core.evaluation.ledger import looks
from tmal_core.experiment import Experiment
from tmal_core.models.methods import unread
from tmal_core.tasks.evaluate import evaluate_methods
from tmal_core.tasks.prepare import prepare_data_set
from tmal_core.tasks.splits import import_splits

REAL = Path(os.environ.get("TMAL_TEST_LISTS", "no folder of lists is named"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="TMAL_TEST_LISTS names no folder of CLIP-FSAR's lists")
SHORT = {
    "training.episodes": 2,
    "training.validate_every": 2,
    "prepare.max_lost": 1.0,
    "flow.estimator": "dis_ultrafast",
}


@pytest.fixture(scope="module")
def mock(tmp_path_factory, copy_clip, shrunk):
    """Makes the mock tree of a preset: its settings and the folder of its videos."""

    def mock(name: str, per_class: int):
        base = tmp_path_factory.mktemp(name)
        import_splits([REAL], name, base / "data")
        for number, (_, rows) in enumerate(load_splits(base / "data").groupby(["split", "class_id"])):
            for k, path in enumerate(rows["path"].head(per_class)):
                file = path if "." in path else f"{path}.webm"
                copy_clip(base / "videos" / file, (2 * number + k) % 7)
        return load_settings(name, {**shrunk, **SHORT, "data.root": str(base / "data")}), base / "videos"

    return mock


def prepared(settings, videos, per_class: int):
    """Prepare, and hold the numbers against the published ones."""
    done = prepare_data_set(settings, videos, progress=False)
    source = SOURCES[settings.data.name]
    assert done.listed["split"].value_counts().to_dict() == source.videos
    classes = done.report["split"].value_counts().to_dict()
    assert classes == source.classes and (done.report["used"] == per_class).all()
    assert done.counts["missing"] == len(done.listed) - per_class * len(done.report) and done.num_extra == 0
    catalog = load_catalog(settings.data.root)
    assert catalog.root == videos and len(catalog) == per_class * len(done.report)
    for split, number in source.videos.items():
        assert catalog.lost(split) == number - per_class * source.classes[split]


@pytest.mark.parametrize(
    ("name", "trained", "shot"),
    [
        ("hmdb51", "tmal", 1),
        ("hmdb51", "tmal", 5),
        ("ucf101", "st_adapter_mean", 1),
        ("kinetics100", "clip_fsar", 1),
        ("ssv2_full", "st_adapter", 1),
        ("ssv2_small", "st_adapter", 1),
    ],
)
def test_prepare_flow_train_evaluate(mock, shrunk, name, trained, shot, tmp_path, flow_here, capsys):
    per_class = shot + 1
    settings, videos = mock(name, per_class)
    prepared(settings, videos, per_class)
    root, run = str(settings.data.root), tmp_path / "run"
    chosen = {**shrunk, **SHORT, "data.root": root, "model.method": trained, "episodes.shot": shot}
    idle = unread(Experiment(settings, method_name=trained).settings.model)  # refused where nobody reads it
    chosen = {key: value for key, value in chosen.items() if key.removeprefix("model.") not in idle}
    changes = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    preset = ["--preset", name, *changes]
    assert cli.main(["flow", *preset]) == 0
    assert f"flow of {per_class * sum(SOURCES[name].classes.values())} videos" in capsys.readouterr().out
    assert cli.main(["train", *preset, "--out", str(run)]) == 0
    methods = [part for method in (trained, "otam", "zero_shot") for part in ("--method", method)]
    assert cli.main(["evaluate", "--out", str(run), *methods, "--final"]) == 0
    lost = SOURCES[name].videos["test"] - per_class * SOURCES[name].classes["test"]
    shown = capsys.readouterr().out
    assert f"{lost} listed videos of test are lost" in shown and "looks at test so far: 3 " in shown
    assert [bool(file) for file in looks(Path(root))["checkpoint"]] == [True, False, False]
    table = pd.read_csv(run / "tables" / "evaluate-test.csv")
    assert table["method"].tolist() == [trained, "otam", "zero_shot"] and (table["lost_videos"] == lost).all()
    assert (table["episode_type"] == "all").all() and (table["way"] == 5).all() and (table["shot"] == shot).all()
    assert table["accuracy_pct"].between(0, 100).all()
    assert len(pd.read_csv(run / "tables" / "lost-test.csv")) == lost
    if name == "ssv2_small":
        mine = Experiment(settings, run_dir=tmp_path)
        assert evaluate_methods(mine.of_methods(["otam"]), "val", progress=False)
        words = r"names of all classes, got 12 without one \(unnamed val 0, ...\). .*something-something-v2-train.json"
        with pytest.raises(DataError, match=words):
            evaluate_methods(mine.of_methods(["otam", "zero_shot"]), "val", progress=False)
        assert cli.main(["train", *preset, "--set", "model.method=tmal", "--out", str(tmp_path / "text")]) == 1
        assert "names of all classes" in capsys.readouterr().err
