"""Which classes are taken for which: confusions of few-shot answers.

An episode offers only N of the classes, so a count of wrong answers says how often two classes met, not how alike they
are. Here an entry is the share of answers B among the queries of A whose episode offered B.
"""

import numpy as np
import pandas as pd

from tmal_core.data.sets.catalog import Catalog
from tmal_core.evaluation.scoring import Outcome


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
