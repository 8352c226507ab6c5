"""The inspector without a widget: what is chosen, asked, changed and found, held against evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tmal_core.analysis.inspection import evaluate_episode
from tmal_core.analysis.what_if import WhatIf
from tmal_core.errors import DataError, EpisodeError, SettingsError
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.experiment import Experiment
from tmal_core.viz.widgets import inspector_state
from tmal_core.viz.widgets.inspector_state import InspectorState
from tmal_core.viz.widgets.inspector_view import view


def outcome(state, method, count=300):
    choice = state.choice
    sampler, experiment = state.answers.sampler(choice.drawn), state.answers.methods[method]
    return evaluate(experiment.model, experiment.bank("val", progress=False), Episodes.draw(sampler, count))


def test_it_starts_with_the_first_episode_of_the_first_method(state, methods):
    assert (state.choice.method, state.choice.other, state.choice.number) == ("otam", "tmal", 0)
    assert set(state.answers.episode_types) == set(methods["otam"].samplers("val"))
    sampler = methods["otam"].samplers("val")[state.choice.episode_type]
    expected = evaluate_episode(methods["otam"].model, methods["otam"].bank("val", progress=False), sampler[0])
    assert np.array_equal(state.before.result.distances, expected.distances) and state.after is state.before


def test_each_choice_is_what_evaluation_would_answer(state):
    state.choose(method="tmal", episode_type="semantic", number=7)
    found = outcome(state, "tmal", 8)
    assert np.array_equal(state.before.result.predicted, found.predicted[7].ravel())
    state.choose(shot=2, way=2, seed=5)
    assert state.question.support.shape == (2, 2) and state.choice.number == 7


def test_another_episode_starts_at_its_first_query_and_another_method_keeps_all(state):
    state.choose(query=1, support=1)
    question = state.question
    state.choose(method="tmal")
    assert state.question is question and (state.choice.query, state.choice.support) == (1, 1)
    state.choose(number=1)
    assert (state.choice.query, state.choice.support) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"way": 99}, "expected a way of at most"),
        ({"shot": 99}, "clips per class"),
        ({"number": -1}, "expected an episode from 0 to 9007199254740991, got -1"),
        ({"number": 10**20}, "expected an episode from 0 to 9007199254740991, got 1"),
        ({"seed": -1}, "expected a seed from 0 on, got -1"),
        ({"way": 0}, "expected a way from 1 on, got 0"),
        ({"shot": 0}, "expected a shot from 1 on, got 0"),
        ({"episode_type": "magic"}, "expected an episode type among .*, got 'magic'"),
        ({"method": "magic"}, "expected a method among otam, tmal, got 'magic'"),
    ],
)
def test_what_cannot_be_had_leaves_everything_as_it_was(state, changes, message):
    before = state.choice, state.question, state.before
    with pytest.raises(EpisodeError, match=message):
        state.choose(**changes)
    assert (state.choice, state.question, state.before) == before


def test_what_if_keeps_the_answer_before(state):
    state.choose(method="tmal")
    before = state.before
    state.suppose(flow=False)
    assert state.before is before and state.what_if.flow is False
    assert not np.allclose(state.after.result.distances, before.result.distances)
    state.choose(number=1)  # goes on under the same change
    assert state.what_if.flow is False and state.after is not state.before
    state.suppose(**vars(WhatIf()))
    assert state.after is state.before


def test_a_change_that_a_method_has_not_is_refused_and_another_method_starts_without(state):
    with pytest.raises(SettingsError, match="expected a method with adapters, got one without"):
        state.suppose(adapters=False)
    assert state.what_if.is_nothing and state.switches["adapters"] is False
    state.choose(method="tmal")
    assert state.switches["adapters"] and state.switches["flow"] and state.switches["text"]
    state.suppose(adapters=False)
    state.choose(method="otam")
    assert state.what_if.is_nothing and state.after is state.before


def found(state, kind, **how):
    return [number for number in state.search(kind, **how) if number is not None]


def test_next_wrong_is_the_next_that_evaluation_calls_wrong(state):
    state.choose(episode_type="semantic")
    wrong = np.flatnonzero(~outcome(state, "otam").correct.all((1, 2)))
    assert found(state, "wrong") == [wrong[wrong > 0][0]]
    state.choose(number=int(wrong[3]))
    assert found(state, "wrong") == [wrong[4]] and found(state, "wrong", back=True) == [wrong[2]]
    assert state.choice.number == wrong[3], "a search chooses nothing"


def test_next_differing_and_next_uncertain(state):
    one, other = (outcome(state, name).predicted for name in ("otam", "tmal"))
    differing = np.flatnonzero((one != other).any((1, 2)))
    assert found(state, "differing") == [differing[differing > 0][0]]
    (number,) = found(state, "uncertain")
    state.choose(number=number)
    best = np.sort(state.before.result.probabilities, 1)
    assert (best[:, -1] - best[:, -2]).min() < inspector_state.UNCERTAIN


def test_a_search_without_end_says_so_often_and_ends(state, monkeypatch):
    monkeypatch.setattr(inspector_state, "SEARCHED", 30)
    monkeypatch.setattr(inspector_state, "AT_ONCE", 10)
    monkeypatch.setattr(InspectorState, "_worth_a_look", lambda self, kind, numbers: np.zeros(len(numbers), bool))
    assert list(state.search("wrong")) == [None] * 3
    assert list(state.search("wrong", back=True)) == []


def test_the_table_is_what_evaluation_answers(state):
    table = state.table(20)
    for name in ("otam", "tmal"):
        expected = 100 * outcome(state, name, 20).correct.mean((1, 2))
        assert table[name].tolist() == expected.tolist()
    assert table["classes"][0] == " · ".join(state.question.classes)
    best = np.sort(state.before.result.probabilities, 1)
    assert table["margin"][0] == pytest.approx((best[:, -1] - best[:, -2]).min(), abs=1e-5)


def test_clips_chosen_by_hand(state):
    rows = state.answers.catalog.table.groupby("class_name").indices
    (a, first), (b, second), (_, third) = list(rows.items())[:3]
    state.ask({a: first[:2], b: second[:2]}, [int(first[3]), int(third[0])])
    assert state.question.classes == (a, b) and state.question.labels.tolist() == [0, -1]
    assert state.before.result.distances.shape == (2, 4) and state.by_hand is state.question
    state.choose(method="tmal")
    assert state.question is state.by_hand
    state.choose(number=0)
    assert state.by_hand is None and state.question.classes != ("a", "b")


@pytest.mark.parametrize(
    ("sizes", "queries", "message"),
    [
        ([1, 2], [3], "expected two classes or more, with the same number of clips, got 1 of .*, 2 of "),
        ([1], [3], "two classes or more"),
        ([0, 0], [3], "two classes or more"),
        ([1, 1], [], "expected a query, got none"),
        ([1, 1], [0], "expected queries that are no support clips, got .* as both"),
    ],
)
def test_a_question_that_cannot_be_asked(state, sizes, queries, message):
    rows = list(state.answers.catalog.table.groupby("class_name").indices.items())
    support = {name: list(found[:size]) for (name, found), size in zip(rows, sizes, strict=False)}
    question = state.question
    with pytest.raises(EpisodeError, match=message):
        state.ask(support, [int(rows[0][1][number]) for number in queries])
    assert state.question is question and state.by_hand is None


def test_no_method():
    with pytest.raises(EpisodeError, match="expected at least one method, got none"):
        InspectorState({})


def test_a_file_from_disk_is_a_query_of_no_class(state, tmp_path):
    """A copy of a clip of the split under another name: it has the clip's own distances."""
    rows = list(state.answers.catalog.table.groupby("class_name").indices.values())
    copied = shutil.copy(state.answers.catalog.file(int(rows[0][3])), tmp_path / "mine.mp4")
    row = state.answers.add(tmp_path / "mine.mp4")
    assert row == len(state.answers.catalog) - 1 and state.answers.add(Path(copied)) == row
    names = list(state.answers.catalog.table.groupby("class_name").indices)[1:3]
    state.ask({names[0]: rows[0][:1], names[1]: rows[1][:1]}, [row, int(rows[0][3])])
    assert state.question.labels.tolist() == [-1, 0]
    np.testing.assert_allclose(*state.before.result.distances, atol=2e-4)
    state.choose(method="tmal")  # with flow, which is computed
    assert state.question.query[0] == row and np.isfinite(state.before.result.distances).all()
    state.suppose(order="reversed")
    state.choose(number=3)
    assert state.by_hand is None


@pytest.mark.parametrize(("name", "content"), [("none.mp4", None), ("broken.mp4", b"no video")])
def test_a_file_that_is_none(state, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="expected a video"):
        state.answers.add(tmp_path / name)
    assert state.answers.catalog is state.answers._drawn_from


def test_a_method_that_answers_an_episode_as_a_whole(few_settings, methods, tmp_path):
    experiment = Experiment(few_settings.replace({"model.tuple_width": 16}), method_name="trx", run_dir=tmp_path)
    experiment.__dict__["model"] = experiment.build().eval()
    experiment.model.head.log_scale.data.fill_(1.0)  # none of its logits takes a scale a second time
    state = InspectorState({"trx": experiment, "otam": methods["otam"]}, "val")
    logits = state.answers.logits("trx", state.choice.drawn, np.arange(3))[0]
    exact = np.log(state.before.result.probabilities)
    np.testing.assert_allclose(logits - logits.max(1, keepdims=True), exact - exact.max(1, keepdims=True), atol=1e-3)
    shown = view(state)["before"]
    assert shown["parts"] is None and shown["matcher"] is None and np.isfinite(shown["distances"]).all()
    assert view(state)["what_if"]["switches"] == {**state.switches, "matching": False, "smoothing": False}
    state.suppose(order="reversed")
    assert view(state)["after"]["parts"] is None
    with pytest.raises(SettingsError, match="a method with matching, got one without"):
        state.suppose(matching="diagonal")
    state.choose(method="otam")
    state.suppose(matching="bimhm+diagonal")
    shown = view(state)
    assert shown["after"]["matcher"] == "bimhm+diagonal" and "bimhm+diagonal" in shown["options"]["matching"]
    assert {"diagonal", "tuples", "otam+diagonal"} <= set(shown["options"]["matching"])
