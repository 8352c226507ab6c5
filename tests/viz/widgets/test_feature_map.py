"""The map of features without a browser: the state's arrays, the view's plain data, what a page asks and leaves."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from tmal_core.analysis.confusion import confusion_table
from tmal_core.analysis.feature_space import class_distances, clip_points
from tmal_core.errors import DataError, EpisodeError
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.viz.feature_plots import Cloud, feature_clouds
from tmal_core.viz.widgets import feature_export
from tmal_core.viz.widgets.episode_inspector import EpisodeInspector
from tmal_core.viz.widgets.feature_map import FeatureMap
from tmal_core.viz.widgets.feature_state import FeatureState
from tmal_core.viz.widgets.feature_view import features_view

COUNT = 40


@pytest.fixture
def features(state):
    return FeatureState(state.answers, episode_type="order", count=COUNT)


@pytest.fixture
def page(features, state, tmp_path, monkeypatch):
    """A map beside an inspector; its messages are kept in `told`."""
    inspector = EpisodeInspector(state, tmp_path)
    shown = FeatureMap(features, tmp_path, inspector)
    shown.told = []
    monkeypatch.setattr(shown, "send", lambda content, buffers=None: shown.told.append((content, buffers)))
    monkeypatch.setattr(inspector, "send", lambda content, buffers=None: None)
    shown.ask = lambda **message: shown._asked(None, message, None)
    return shown


def test_points_are_the_clips_of_the_episode_type_in_each_method_s_own_features(features, methods):
    shown, table = features.shown, features.catalog.table
    assert (features.before, features.choice.after) == ("otam", "tmal")
    assert set(table["family"].iloc[shown.rows]) == {"order"} and len(shown.rows) == (table["family"] == "order").sum()
    assert [shown.classes[label] for label in shown.labels] == table["class_name"].iloc[shown.rows].tolist()
    for name in ("otam", "tmal"):
        points = clip_points(methods[name].model, methods[name].bank("val", progress=False), shown.rows)
        np.testing.assert_allclose(shown.places[name], shown.axes[name](points), atol=1e-9)
        assert np.allclose(shown.axes[name].mean, points.mean(0)), "fitted on these very clips"
        alone = class_distances(
            points, table["class_name"].to_numpy(str)[shown.rows], table["group"].to_numpy(str)[shown.rows]
        )
        row = shown.spread.set_index("method").loc[name]
        assert row["ratio_pct"] == pytest.approx(alone["ratio_pct"].mean())
    assert (np.multiply(*[shown.places[name] for name in ("otam", "tmal")]).sum(0) >= 0).all(), "axes agree"


def test_answers_are_those_of_evaluation(features, methods):
    experiment = methods["tmal"]
    drawn = experiment.episodes("val", COUNT)["order"]
    assert isinstance(drawn, Episodes)
    outcome = evaluate(experiment.model, experiment.bank("val", progress=False), drawn)
    expected = confusion_table(outcome, features.catalog)
    pd.testing.assert_frame_equal(features.shown.confusion.loc[expected.index, expected.columns], expected)
    assert len(features.shown.answers) == drawn.query.size
    for (asked, answered), some in features.shown.answers.groupby(["asked", "answered"]):
        cell = features.shown.cell(asked, answered)
        assert cell.equals(some) and set(cell["answered"]) == {answered}


def test_another_choice_and_back(features):
    first = features.shown
    features.choose(episode_type="appearance")
    assert features.shown is not first and set(features.catalog.table["family"].iloc[features.shown.rows]) == {
        "appearance"
    }
    features.choose(episode_type="order")
    assert features.shown is first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episode_type": "magic"}, "expected an episode type among .*, got 'magic'"),
        ({"after": "otam"}, "expected a method among tmal, got 'otam'"),
    ],
)
def test_what_cannot_be_had_leaves_everything_as_it_was(features, changes, message):
    before = features.choice, features.shown
    with pytest.raises(EpisodeError, match=message):
        features.choose(**changes)
    assert (features.choice, features.shown) == before


def test_there_must_be_something_to_compare(state, methods):
    with pytest.raises(EpisodeError, match="expected a method among otam, tmal, got 'magic'"):
        FeatureState(state.answers, before="magic")
    alone = type(state.answers)({"otam": methods["otam"]}, "val")
    with pytest.raises(EpisodeError, match="expected a method beside otam, got none"):
        FeatureState(alone)


def test_the_view_is_the_state_in_plain_data(page, features):
    shown, view = features.shown, json.loads(json.dumps(page.view))
    assert [point["row"] for point in view["points"]] == shown.rows.tolist()
    np.testing.assert_allclose([point["after"] for point in view["points"]], shown.places["tmal"], atol=1e-4)
    assert [one["name"] for one in view["classes"]] == shown.classes
    assert len({(one["light"], one["shape"]) for one in view["classes"]}) == len(shown.classes)
    counted = sum(len(some) for some in view["cells"].values())
    assert counted == len(shown.answers) and view["linked"] is True
    (asked, answered), some = next(iter(shown.answers.groupby(["asked", "answered"], sort=False)))
    key = f"{shown.classes.index(asked)},{shown.classes.index(answered)}"
    assert [row[:3] for row in view["cells"][key]] == some[["episode", "query", "row"]].to_numpy().tolist()
    for row, values in zip(view["confusion"], shown.confusion.to_numpy(), strict=True):
        assert np.allclose([np.nan if value is None else value for value in row], values, atol=1e-3, equal_nan=True)
    after = shown.spread.iloc[1]
    assert (
        f"after training {after['ratio_pct']:.0f} %" in view["message"]
        and f"{len(shown.answers)} queries" in view["message"]
    )
    assert f"these {len(shown.rows)} clips of val" in view["maps"]["after"]["fitted"]


def test_an_answer_opens_its_episode_in_the_inspector(page, features):
    one = features.shown.answers.iloc[5]
    page.ask(do="episode", number=int(one["episode"]), query=int(one["query"]))
    state = page.inspector.state
    assert state.choice.method == "tmal" and state.choice.episode_type == "order"
    assert (state.choice.number, state.choice.query) == (one["episode"], one["query"])
    assert state.question.query[one["query"]] == one["row"]
    answer = state.before.result.predicted[one["query"]]
    assert state.question.classes[answer] == one["answered"]
    assert state.before.result.probabilities[one["query"], answer] == pytest.approx(one["probability"], abs=1e-5)
    assert page.inspector.view["choice"]["number"] == one["episode"]
    assert page.told[-1][0]["opened"].startswith(f"episode {one['episode']}, query {one['query'] + 1}")


def test_what_a_page_asks(page, features):
    page.ask(do="choose", changes={"episode_type": "appearance"})
    assert page.view == features_view(features, linked=True) and page.view["choice"]["episode_type"] == "appearance"
    page.ask(do="choose", changes={"episode_type": "magic"})
    assert (
        "expected an episode type" in page.told[-1][0]["error"] and page.view["choice"]["episode_type"] == "appearance"
    )
    row = int(features.shown.rows[0])
    page.ask(do="clips", wanted=[{"row": row, "id": 4}])
    content, pictures = page.told[-1]
    assert content["id"] == 4 and content["facts"]["row"] == row and pictures[0][8:12] == b"WEBP"
    with pytest.raises(ValueError, match="expected one of choose, clips, episode, export, got 'suppose'"):
        page.ask(do="suppose")


def test_without_a_kernel_there_is_a_picture(page):
    shown = page._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    assert "application/vnd.jupyter.widget-view+json" in data and data["image/png"][1:4] == b"PNG"


def test_exports(page, features, tmp_path):
    for kind in ("png", "html"):
        page.ask(do="export", kind=kind)
    picture, exported = (tmp_path / f"features-tmal-order.{kind}" for kind in ("png", "html"))
    assert [content["saved"] for content, _ in page.told] == [str(picture), str(exported)]
    assert picture.read_bytes()[1:4] == b"PNG"
    html = exported.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
    assert data["view"]["linked"] is False and {int(row) for row in data["clips"]} == set(features.shown.rows.tolist())
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_the_figure_has_each_clip_once_in_each_panel(features):
    before, after, heat = feature_export.figure(features).axes
    for panel, name in ((before, "otam"), (after, "tmal")):
        drawn = np.concatenate([c.get_offsets() for c in panel.collections])
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, features.shown.places[name]))
        assert len({len(c.get_paths()[0].vertices) for c in panel.collections}) > 1
    assert np.allclose(heat.images[0].get_array().filled(np.nan), features.shown.confusion, equal_nan=True)


def test_a_figure_of_other_clips_is_refused():
    cloud = Cloud(np.zeros((2, 2)), np.ones(2), "")
    for clouds in ({}, {"before": cloud}):
        with pytest.raises(DataError, match="expected places of 3 clips for each method"):
            feature_clouds(clouds, np.zeros(3, int), ["a"], pd.DataFrame())


def test_an_inspector_that_went_elsewhere_is_left_alone(page, methods):
    page.inspector.state = type(page.inspector.state)(methods, "train")
    page.ask(do="episode", number=1, query=0)
    error = page.told[-1][0]["error"]
    assert "expected an inspector of the same run and of val, got one of train" in error
    assert page.inspector.state.choice.number == 0


def test_the_table_has_every_episode_type(features):
    table = features.by_episode_type()
    kinds = list(features.answers.episode_types)
    assert table["episode_type"].tolist() == [kind for kind in kinds for _ in range(2)]
    assert table["method"].tolist() == ["otam", "tmal"] * len(kinds)
    own = table[table["episode_type"] == "order"].drop(columns="episode_type").reset_index(drop=True)
    pd.testing.assert_frame_equal(own, features.shown.spread)
