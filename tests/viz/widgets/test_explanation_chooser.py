"""The chooser of explanations: its state against the explanations themselves, and what a page may ask of it."""

from __future__ import annotations

import numpy as np
import pytest

from tmal_core.analysis.measures import explain
from tmal_core.analysis.target import Target
from tmal_core.errors import EpisodeError
from tmal_core.viz.widgets.explanation_chooser import ExplanationChooser
from tmal_core.viz.widgets.explanation_state import ExplanationState
from tmal_core.viz.widgets.split_answers import SplitAnswers


@pytest.fixture(scope="module")
def answers(methods):
    return SplitAnswers(methods, "val")


@pytest.fixture
def state(answers):
    return ExplanationState(answers, {("frames", "occlusion"): False, ("frames", "attention rollout"): True})


def rows_of(figure):
    return [axes.get_ylabel() for axes in figure.axes if axes.images][1:]


def test_maps_are_those_of_the_answer(state, answers):
    assert (state.choice.method, state.choice.episode_type, state.inputs) == ("tmal", "appearance", ["frames", "flow"])
    question = state.asked.question
    clip = answers.reader("tmal").evaluate(int(question.query[0]))
    expected = explain(Target.of(state.asked, int(state.asked.result.predicted[0])), clip)
    assert set(state.maps) == set(expected)
    np.testing.assert_allclose(state.maps["gradient × input"], expected["gradient × input"], atol=1e-5)
    assert question.classes[state.label] in state.title and state.title in state.in_words()


def test_what_is_known_to_fail_stands_last(state):
    labels = rows_of(state.figure())
    assert labels[-1] == "occlusion\nfails" and "attention rollout" in labels and len(labels) == len(state.maps)


def test_what_depends_on_a_choice_follows(state):
    other = 1 - state.label
    state.choose(query=1, label=other)
    assert (state.choice.query, state.label) == (1, other)
    state.choose(query=0)
    assert state.choice.label is None and state.label == state.asked.result.predicted[0]
    state.choose(what="flow")
    assert "attention rollout" not in state.maps and state.inputs == ["frames", "flow"]
    state.choose(method="otam")  # which reads no flow
    assert state.choice.what == "frames" and state.inputs == ["frames"] and "size of what is added" not in state.maps
    state.choose(episode_type="motion", number=2)
    assert (state.choice.query, state.choice.episode_type) == (0, "motion")


@pytest.mark.parametrize(
    "changes", [{"number": -1}, {"query": 9}, {"label": 9}, {"episode_type": "none"}, {"method": "x"}]
)
def test_what_cannot_be_had_changes_nothing(state, changes):
    before = state.choice, state.maps
    with pytest.raises(EpisodeError, match=r"expected an? "):
        state.choose(**changes)
    assert (state.choice, state.maps) == before


def test_a_page_chooses_and_is_told(state, monkeypatch):
    chooser, told = ExplanationChooser(state), []
    monkeypatch.setattr(chooser, "send", lambda content, buffers=None: told.append(content))
    first = chooser.picture
    assert first.startswith(b"\x89PNG") and chooser.view["words"] == state.in_words()
    assert chooser.view["options"]["what"] == ["frames", "flow"] and len(chooser.view["options"]["label"]) == 2
    chooser._asked(None, {"changes": {"what": "flow"}}, None)
    assert chooser.view["choice"]["what"] == "flow" and chooser.picture != first and told == [{"error": ""}]
    chooser._asked(None, {"changes": {"number": -1}}, None)
    assert "expected an episode from 0 to" in told[-1]["error"] and chooser.view["choice"]["what"] == "flow"
    with pytest.raises(ValueError, match=r"expected choices among .*, got 'file'"):
        chooser._asked(None, {"changes": {"file": "x"}}, None)
    data, about = chooser._repr_mimebundle_()
    assert data["image/png"] == chooser.picture and about["image/png"]["alt"] == chooser.view["words"]
    assert "application/vnd.jupyter.widget-view+json" in data
