"""Results that others have published, to stand beside one's own: read, never reproduced here.

All are CLIP ViT-B/16, 5-way, on CLIP-FSAR's splits; in percent. Most are second hand: they were read in somebody else's
table and not in the paper itself. None carries an interval, and checkpoints were commonly chosen on the test split.
"""

from __future__ import annotations

import pandas as pd

DATA_SETS = {
    "ssv2_full": "SSv2-Full",
    "ssv2_small": "SSv2-Small",
    "kinetics100": "Kinetics-100",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
}
"""Name of a data set in the settings -> its name in tables."""

SECOND_HAND = "(2nd) another paper's table"
README = "its README"
NOT_STATED = "not stated"
TEXT_AT_TEST = "text at test"
"""Column that says what class names do at test: join `features`, have a `score` of their own, `both`, or not stated."""

# Accuracy with 1 / 5 shots in the order of DATA_SETS; "-" where no figure was found. Class names alone need no shots.
# Then what the text of an episode's classes does at test, in the words of `tmal_core.models.methods.text_at_test`.
_FIGURES = {
    "zero-shot CLIP": ("37.0 / -", "- / -", "- / -", "- / -", "75.9 / -", "score", SECOND_HAND),
    "CLIP-FSAR": ("61.9 / 72.1", "54.5 / 61.8", "89.7 / -", "96.6 / -", "75.8 / 87.7", "features", SECOND_HAND),
    "CLIP-FSAR + text score": (
        "62.1 / 72.1",
        "54.6 / 61.8",
        "94.8 / -",
        "97.0 / -",
        "77.1 / 87.7",
        "both",
        SECOND_HAND,
    ),
    "EMP-Net": ("63.1 / 73.0", "57.1 / 65.7", "89.1 / -", "94.3 / -", "76.8 / 85.8", NOT_STATED, SECOND_HAND),
    "CLIP-MEI": ("67.8 / 79.8", "- / -", "87.7 / 96.0", "94.9 / 98.9", "75.9 / 88.5", NOT_STATED, README),
    "TS-FSAR": ("75.1 / 83.5", "60.5 / 70.3", "96.3 / 96.6", "98.7 / 99.3", "85.0 / 88.9", "score", README),
}


def published_table() -> pd.DataFrame:
    """A row per method with its use of class names at test and its source, a column per data set, "1-shot / 5-shot".

    Rows with and without a score of class names answer different questions: frozen CLIP names three of four clips of
    HMDB51 by them alone.

    >>> published_table().loc["CLIP-FSAR", "HMDB51"]
    '75.8 / 87.7'
    """
    table = pd.DataFrame.from_dict(_FIGURES, orient="index", columns=[*DATA_SETS.values(), TEXT_AT_TEST, "source"])
    return table.rename_axis("1-shot / 5-shot")


def comparison_note(data_set: str, way: int, shot: int) -> str:
    """Which of the published figures a result on this data set may be held against, in one sentence.

    >>> comparison_note("hmdb51", way=5, shot=1)
    'The column HMDB51 is of the same data set and split, 1-shot.'
    """
    if data_set not in DATA_SETS:
        return f"None of these was measured on {data_set}: no figure here may be compared with the table above."
    name = DATA_SETS[data_set]
    if way != 5 or shot not in (1, 5):
        return f"The column {name} is of the same data set, but 5-way with 1 or 5 shots, not {way}-way {shot}-shot."
    return f"The column {name} is of the same data set and split, {shot}-shot."
