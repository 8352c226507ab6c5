"""Confusions count an answer against the episodes that offered it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tmal_core.analysis.confusion import confusion_table
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
