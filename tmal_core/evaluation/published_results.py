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

# Accuracy with 1 / 5 shots in the order of DATA_SETS; None where no figure was found. Class names alone need no shots.
_FIGURES = (
    ("zero-shot CLIP", SECOND_HAND, ((37.0, None), (None, None), (None, None), (None, None), (75.9, None))),
    ("CLIP-FSAR", SECOND_HAND, ((61.9, 72.1), (54.5, 61.8), (89.7, None), (96.6, None), (75.8, 87.7))),
    ("CLIP-FSAR + text score", SECOND_HAND, ((62.1, 72.1), (54.6, 61.8), (94.8, None), (97.0, None), (77.1, 87.7))),
    ("EMP-Net", SECOND_HAND, ((63.1, 73.0), (57.1, 65.7), (89.1, None), (94.3, None), (76.8, 85.8))),
    ("CLIP-MEI", README, ((67.8, 79.8), (None, None), (87.7, 96.0), (94.9, 98.9), (75.9, 88.5))),
    ("TS-FSAR", README, ((75.1, 83.5), (60.5, 70.3), (96.3, 96.6), (98.7, 99.3), (85.0, 88.9))),
)


def published() -> pd.DataFrame:
    """One row per figure: method, data_set, shot, accuracy_pct, source."""
    rows = [
        {"method": method, "data_set": data_set, "shot": shot, "accuracy_pct": value, "source": source}
        for method, source, by_data_set in _FIGURES
        for data_set, pair in zip(DATA_SETS, by_data_set, strict=True)
        for shot, value in zip((1, 5), pair, strict=True)
        if value is not None
    ]
    return pd.DataFrame(rows)


def published_table() -> pd.DataFrame:
    """The same for reading: a row per method with its source, a column per data set, "1-shot / 5-shot"."""
    table = {}
    for method, source, by_data_set in _FIGURES:
        cells = (" / ".join("-" if value is None else f"{value:.1f}" for value in pair) for pair in by_data_set)
        table[method] = {**dict(zip(DATA_SETS.values(), cells, strict=True)), "source": source}
    return pd.DataFrame(table).T.rename_axis("1-shot / 5-shot")


def comparison_note(data_set: str, way: int, shot: int) -> str:
    """Which of the published figures a result on this data set may be held against, in one sentence."""
    if data_set not in DATA_SETS:
        return f"None of these was measured on `{data_set}`: no figure here may be compared with the table above."
    name = DATA_SETS[data_set]
    if way != 5 or shot not in (1, 5):
        return f"The column {name} is of the same data set, but 5-way with 1 or 5 shots, not {way}-way {shot}-shot."
    return f"The column {name} is of the same data set and split, {shot}-shot."
