"""What a family is worth: how far answers come that look at too little of a clip to know its class.

Where classes differ in time alone, all cheats must be at chance; the rows behind them look at the order of frames.
Letters: V videos, T frames, d joint width; E episodes, N way, q queries of one episode.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tmal_core.evaluation.scoring import Episodes
from tmal_core.matching import match_groups

_FOLDS = 4
_RIDGE = 1.0  # on features of unit length


def file_facts(path: Path) -> tuple[float, ...]:
    """What a video file tells unopened: bytes, packets, length in seconds, bits a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = sum(packet.size > 0 for packet in container.demux(stream))
        length_s = float((stream.duration or 0) * (stream.time_base or 0))
    num_bytes = path.stat().st_size
    return float(num_bytes), float(packets), length_s, 8 * num_bytes / max(length_s, 1e-9)


def answers_of_cheats(frames: Tensor, facts: np.ndarray, episodes: Episodes) -> pd.DataFrame:
    """Accuracies of one-shot episodes by cheats and, as rows that are none, by matchers of ordered frames.

    Args:
        frames: (V, T, d) frame features of a split, those of a frozen CLIP.
        facts: (V, n) of the files, as `file_facts`.

    Returns:
        Columns `row`, `cheat` (bool), `accuracy_pct`. Of single positions the best is told, beside the first.
    """
    files = torch.from_numpy((facts - facts.mean(0)) / np.maximum(facts.std(0), 1e-9)).float()
    centred = frames - frames.mean(1, keepdim=True)
    alone = [_distances(frames[:, t : t + 1], episodes) for t in range(frames.shape[1])]
    both_ends = frames[:, [0, -1]].flatten(1)[:, None]
    found = {
        "first frame": alone[0],
        "last minus first": _distances(frames[:, -1:] - frames[:, :1], episodes),
        "first and last frame": _distances(both_ends, episodes),
        "frame t with frame t": torch.stack(alone).sum(0),
        "set of frames, mean": _distances(frames, episodes),
        "set of frames, best match": _distances(frames, episodes, "bimhm"),
        "file": _apart(files, episodes),
        "OTAM": _distances(frames, episodes, "otam", 0.5),
        "OTAM, sharp and centred": _distances(centred, episodes, "otam", 0.03),
    }
    rows = [(name, not name.startswith("OTAM"), _accuracy_pct(distances)) for name, distances in found.items()]
    rows.insert(1, ("best single frame", True, max(map(_accuracy_pct, alone))))
    return pd.DataFrame(rows, columns=["row", "cheat", "accuracy_pct"])


def answers_of_classifiers(frames: Tensor, labels: np.ndarray, groups: np.ndarray, bases: np.ndarray) -> pd.DataFrame:
    """Accuracies of a linear classifier for each group, trained on all clips but those it is asked about.

    Args:
        frames: (V, T, d) frame features.
        labels: (V,) which of its group's classes a clip is of: 0 or 1.
        groups: (V,) names.
        bases: (V,) names; versions of one base are never on both sides.

    Returns:
        As `answers_of_cheats`; the row of the cosines of neighbouring frames is none.
    """
    unit = torch.nn.functional.normalize(frames.double(), dim=2)
    alone = [unit[:, t] for t in range(unit.shape[1])]

    def right(features: Tensor) -> float:
        return _cross_validated_pct(features.numpy(), labels, groups, bases)

    # Each position for itself: the best of several is above chance by luck alone.
    rows = [
        *((f"trained: frame {t + 1}", True, right(one)) for t, one in enumerate(alone)),
        ("trained: first and last frame", True, right(torch.cat([alone[0], alone[-1], alone[-1] - alone[0]], 1))),
        ("trained: steps between neighbours", False, right((unit[:, 1:] * unit[:, :-1]).sum(2))),
    ]
    return pd.DataFrame(rows, columns=["row", "cheat", "accuracy_pct"])


def _distances(clips: Tensor, episodes: Episodes, name: str = "mean", smoothing: float = 0.5) -> Tensor:
    """(E, N, Q, N) between queries and support clips (V, T, d); some episodes at a time."""
    support, query = (torch.from_numpy(rows).flatten(1) for rows in (episodes.support, episodes.query))
    parts = zip(query.split(500), support.split(500), strict=True)
    found = torch.cat([match_groups(clips[q], clips[s], name, smoothing=smoothing) for q, s in parts])
    return found.unflatten(1, episodes.query.shape[1:])


def _apart(points: Tensor, episodes: Episodes) -> Tensor:
    """As `_distances`, between points (V, n)."""
    query, support = points[torch.from_numpy(episodes.query)], points[torch.from_numpy(episodes.support[:, :, 0])]
    return (query[:, :, :, None] - support[:, None, None]).norm(dim=-1)


def _accuracy_pct(distances: Tensor) -> float:
    right = torch.arange(distances.shape[1])[:, None]
    return 100.0 * float((distances.argmin(3) == right).double().mean())


def _cross_validated_pct(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, bases: np.ndarray) -> float:
    """Accuracy in percent of ridge classifiers, one a group and fold of its bases."""
    right = np.zeros(len(labels), bool)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        fold = np.unique(bases[rows], return_inverse=True)[1] % _FOLDS
        for asked in range(_FOLDS):
            known, unknown = rows[fold != asked], rows[fold == asked]
            centre = features[known].mean(0)
            x, y = features[known] - centre, 2.0 * labels[known] - 1
            weights = x.T @ np.linalg.solve(x @ x.T + _RIDGE * np.eye(len(x)), y - y.mean())
            right[unknown] = ((features[unknown] - centre) @ weights + y.mean() > 0) == labels[unknown]
    return 100.0 * float(right.mean())
