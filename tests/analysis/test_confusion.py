"""Confusions count an answer against the episodes that offered it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tmal_core.analysis.confusion import answer_table, confusion_table
from tmal_core.data.sets.catalog import Catalog
from tmal_core.evaluation.scoring import Episodes, Outcome

CATALOG = Catalog(Path(), pd.DataFrame({"class_name": ["a", "a", "b", "b", "c", "c", "unused"]}))


def outcome(support, query, predicted):
    """Episodes of one shot and one query; `predicted` is the label answered to each query."""
    predicted = np.array(predicted)
    logits = np.eye(predicted.shape[1], dtype=np.float32)[predicted]
    return Outcome(Episodes("mixed", np.array(support)[..., None], np.array(query)[..., None]), logits)


def test_shares_are_of_the_episodes_that_offer_both():
    # a against b twice, a against c once; b and c never meet. Query a is answered b once.
    answers = outcome([[0, 2], [2, 0], [0, 4]], [[1, 3], [3, 1], [1, 5]], [[1, 1], [0, 1], [0, 1]])
    table = confusion_table(answers, CATALOG)
    assert list(table.index) == list(table.columns) == ["a", "b", "c"]
    expected = [[200 / 3, 50, 0], [0, 100, np.nan], [0, np.nan, 100]]
    assert np.allclose(table, expected, equal_nan=True)


def test_labels_belong_to_the_support_of_their_own_episode():
    """Label 0 is class b in one episode and class a in the other."""
    answers = outcome([[2, 0], [0, 2]], [[3, 1], [1, 3]], [[1, 1], [1, 1]])
    assert np.allclose(confusion_table(answers, CATALOG), [[50, 50], [50, 50]])


def test_several_queries_per_class():
    episodes = Episodes("mixed", np.array([[[0], [2]]]), np.array([[[1, 1], [3, 3]]]))
    logits = np.eye(2, dtype=np.float32)[[[0, 1, 1, 1]]]
    assert np.allclose(confusion_table(Outcome(episodes, logits), CATALOG), [[50, 50], [0, 100]])


def test_answers_are_told_one_by_one_and_add_up_to_the_table():
    drawn = outcome([[0, 2], [2, 0], [0, 4]], [[1, 3], [3, 1], [1, 5]], [[1, 1], [0, 1], [0, 1]])
    answers = answer_table(drawn, CATALOG)
    first = answers.iloc[0]
    assert (first["episode"], first["query"], first["row"]) == (0, 0, 1)
    assert (first["asked"], first["answered"], first["own_row"], first["answered_row"]) == ("a", "b", 0, 2)
    assert answers["asked"].tolist() == list("abbaac") and answers["answered"].tolist() == list("bbbaac")
    assert np.allclose(answers["probability"], np.e / (1 + np.e))
    counts = answers.groupby(["asked", "answered"]).size()
    met = pd.Series({("a", "a"): 3, ("a", "b"): 2, ("b", "b"): 2, ("c", "a"): 1, ("c", "c"): 1})
    shares = confusion_table(drawn, CATALOG)
    assert all(np.isclose(shares.loc[pair], 100 * count / met[pair]) for pair, count in counts.items())


def test_answers_of_several_queries_and_shots():
    episodes = Episodes("mixed", np.array([[[0, 1], [2, 3]]]), np.array([[[1, 0], [3, 2]]]))
    logits = np.array([[[0, 1], [1, 0], [0, 1], [1, 0]]], np.float32)
    answers = answer_table(Outcome(episodes, logits), CATALOG)
    assert answers["query"].tolist() == [0, 1, 2, 3] and answers["row"].tolist() == [1, 0, 3, 2]
    assert answers["own_row"].tolist() == [0, 0, 2, 2] and answers["answered_row"].tolist() == [2, 0, 2, 0]
