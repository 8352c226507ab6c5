"""What is trained is counted, and one changed bit of the rest is seen."""

from __future__ import annotations

import torch
from torch import nn

from tmal_core.config import load_settings
from tmal_core.models.methods import build
from tmal_core.models.summary import frozen_hash, parameter_table


def model():
    whole = nn.Module()
    whole.encoder, whole.head = nn.Module(), nn.Module()
    whole.encoder.clip = nn.Module()
    whole.encoder.clip.visual = nn.Linear(3, 4).requires_grad_(False)
    whole.encoder.clip.transformer = nn.Linear(2, 2).requires_grad_(False)
    whole.encoder.clip.register_buffer("mask", torch.zeros(2))
    whole.encoder.adapters = nn.Linear(2, 1)
    whole.head.log_scale = nn.Parameter(torch.tensor(0.0))
    return whole


def test_parameters_are_counted_by_part():
    table = parameter_table(model()).set_index("part")
    assert table["parameters"].to_dict() == {
        "CLIP, image tower": 16,
        "CLIP, text tower": 6,
        "adapters": 3,
        "scale of distances": 1,
        "whole model": 26,
    }
    assert table["trained"].tolist() == [0, 0, 3, 1, 4]


def test_every_part_of_tmal_has_a_readable_name():
    settings = load_settings("tiny", {"model.method": "tmal"}).model
    table = parameter_table(build(settings)).set_index("part")
    added = {
        "temporal adapters before attention",
        "temporal adapters before FFN",
        "motion encoder",
        "visual-flow fusion of tokens",
        "visual-text fusion of tokens",
        "prototype modulation",
        "scale of distances",
        "scale of text similarities",
    }
    assert set(table.index) == added | {"CLIP, image tower", "CLIP, text tower", "whole model"}
    assert set(table.index[table["trained"] > 0]) == added | {"whole model"}


def test_fingerprint_sees_frozen_bits_only():
    whole = model()
    before = frozen_hash(whole)
    whole.encoder.adapters.weight.data += 1
    whole.head.log_scale.data += 1
    assert frozen_hash(whole) == before and len(before) == 12
    weight = whole.encoder.clip.visual.weight.data
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    changed = frozen_hash(whole)
    assert changed != before
    whole.encoder.clip.mask[0] = 1
    assert frozen_hash(whole) not in (before, changed)
