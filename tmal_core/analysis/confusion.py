"""Which classes are taken for which: confusions of few-shot answers.

An episode offers only N of the classes, so a count of wrong answers says how often two classes met, not how alike they
are. Here an entry is the share of answers B among the queries of A whose episode offered B.
"""

import numpy as np
import pandas as pd

from tmal_core.data.sets.catalog import Catalog
from tmal_core.evaluation.scoring import Outcome


def answer_table(outcome: Outcome, catalog: Catalog) -> pd.DataFrame:
    """A row per query, in the order of the episodes: what was asked and what was answered.

    Columns: `episode`, `query` (which of the episode's, class by class), `row` of the query, `asked` and `answered`
    (names of classes), `own_row` and `answered_row` (the first support clip of either), and `probability` of the
    answer, as far as the outcome's logits hold the learned scale.
    """
    episodes, predicted = outcome.episodes, outcome.predicted
    count, way, num_queries = episodes.query.shape
    names, first = catalog.table["class_name"].to_numpy(str), episodes.support[:, :, 0]
    answered = np.take_along_axis(first, predicted.reshape(count, -1), 1)
    shifted = np.exp(outcome.logits - outcome.logits.max(2, keepdims=True))
    columns = {
        "episode": np.arange(count).repeat(way * num_queries),
        "query": np.tile(np.arange(way * num_queries), count),
        "row": episodes.query.reshape(-1),
        "asked": names[episodes.query].reshape(-1),
        "answered": names[answered].reshape(-1),
        "own_row": first.repeat(num_queries, 1).reshape(-1),
        "answered_row": answered.reshape(-1),
        "probability": (shifted.max(2) / shifted.sum(2)).reshape(-1),
    }
    return pd.DataFrame(columns)


def confusion_table(outcome: Outcome, catalog: Catalog) -> pd.DataFrame:
    """Class of the query by class of the answer, in percent of the queries that could be answered so.

    A square table for episodes of one episode type, classes in the order of `catalog`, their split; NaN where two
    classes never met.
    """
    classes = list(dict.fromkeys(catalog.table["class_name"].iloc[np.unique(outcome.episodes.query)]))
    code = {name: i for i, name in enumerate(classes)}
    of_row = catalog.table["class_name"].map(code).fillna(-1).to_numpy(np.int64)
    offered = of_row[outcome.episodes.support[:, :, 0]]
    num_episodes, way, num_queries = outcome.episodes.query.shape
    answered = np.take_along_axis(offered, outcome.predicted.reshape(num_episodes, -1), axis=1).reshape(-1)
    asked = of_row[outcome.episodes.query].reshape(-1)
    answers, chances = np.zeros((2, len(classes), len(classes)))
    np.add.at(answers, (asked, answered), 1)
    choices = np.repeat(offered, way * num_queries, axis=0)
    np.add.at(chances, (np.repeat(asked, way), choices.reshape(-1)), 1)
    shares = np.divide(100.0 * answers, chances, out=np.full_like(answers, np.nan), where=chances > 0)
    return pd.DataFrame(shares, index=classes, columns=classes)
