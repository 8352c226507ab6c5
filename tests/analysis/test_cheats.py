"""Cheats answer what their names say, and a trained one never meets what it is asked about."""

from __future__ import annotations

import numpy as np
import torch

from tmal_core.analysis.cheats import answers_of_cheats, answers_of_classifiers, file_facts
from tmal_core.data.diagnostic.generation import write_clip
from tmal_core.evaluation.scoring import Episodes


def test_rows_are_what_they_say():
    """Two classes of two clips each: only the last frames differ by class, and only the files of one."""
    ones = torch.eye(4)
    frames = torch.stack([torch.stack([ones[0], ones[1 + label]]) for label in (0, 0, 1, 1)])
    episodes = Episodes("pair", np.array([[[0], [2]]]), np.array([[[1], [3]]]))
    facts = np.array([[1.0, 7], [1.1, 7], [2.0, 7], [1.9, 7]])
    found = answers_of_cheats(frames, facts, episodes).set_index("row")["accuracy_pct"]
    assert found["first frame"] == 50
    assert (found.drop("first frame") == 100).all()


def test_a_classifier_never_meets_the_base_it_is_asked_about():
    """Features that name the base alone: a twin on the other side would give every answer away, or its opposite."""
    bases = np.repeat(np.arange(40), 2).astype(str)
    labels, groups = np.tile([0, 1], 40), np.full(80, "g")
    frames = torch.nn.functional.one_hot(torch.arange(40).repeat_interleave(2)).float()[:, None].repeat(1, 2, 1)
    found = answers_of_classifiers(frames, labels, groups, bases).set_index("row")["accuracy_pct"]
    assert found["trained: frame 1"] == 50
    told = torch.cat([frames, torch.tensor(labels)[:, None, None].expand(80, 2, 1).float()], 2)
    found = answers_of_classifiers(told, labels, groups, bases).set_index("row")["accuracy_pct"]
    assert found["trained: frame 1"] == 100


def test_facts_of_a_file(tmp_path):
    write_clip(tmp_path / "clip.mp4", np.zeros((12, 32, 32, 3), np.uint8), fps=24)
    num_bytes, packets, length_s, rate = file_facts(tmp_path / "clip.mp4")
    assert (num_bytes, packets, length_s) == ((tmp_path / "clip.mp4").stat().st_size, 12, 0.5)
    assert rate == 8 * num_bytes / 0.5
