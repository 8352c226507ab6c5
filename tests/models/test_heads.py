"""How frame features are compared: centred or not, and what of a clip is then left."""

from __future__ import annotations

import pytest
import torch

from tmal_core.config import load_settings
from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment
from tmal_core.matching import cosine_distance
from tmal_core.models.heads import MatchingHead

CLIPS = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
PLACES = 5 * torch.randn(3, 1, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("matching", ["otam", "bimhm"])
def test_centred_clips_forget_what_their_frames_have_in_common(matching):
    head, plain = (MatchingHead(matching, smoothing=0.1, centre=centre) for centre in ("clip", "none"))
    assert torch.equal(plain.modulate(CLIPS), CLIPS)
    torch.testing.assert_close(head.modulate(CLIPS), CLIPS - CLIPS.mean(1, keepdim=True))
    labels = torch.arange(2)
    answers = {one: one.episode_logits(CLIPS[:1], CLIPS[1:], labels) for one in (head, plain)}
    moved = CLIPS + PLACES  # each clip by a vector of its own
    torch.testing.assert_close(head.episode_logits(moved[:1], moved[1:], labels), answers[head], atol=1e-5, rtol=1e-5)
    assert (plain.episode_logits(moved[:1], moved[1:], labels) - answers[plain]).abs().max() > 0.1


def test_both_is_the_mean_of_the_distances_with_and_without():
    clips = 50 * CLIPS  # beside which the 0.01 of the cosine is nothing
    plain, centred, both = (MatchingHead("bimhm", centre=one).modulate(clips) for one in ("none", "clip", "both"))
    wanted = (cosine_distance(plain, plain) + cosine_distance(centred, centred)) / 2
    torch.testing.assert_close(cosine_distance(both, both), wanted, atol=6e-3, rtol=0)


def test_of_a_still_picture_both_leaves_the_picture_alone():
    still = (100 * CLIPS[:1, :1]).expand(1, 4, 6) + 1e-6 * CLIPS[:1]  # and rounding
    found = MatchingHead("otam", centre="both").modulate(still)
    assert found[..., 6:].abs().max() < 1e-4
    torch.testing.assert_close(found[..., :6].norm(dim=2), torch.ones(1, 4), atol=1e-3, rtol=0)


@pytest.mark.parametrize("centre", ["clip", "both"])
def test_averaged_frames_are_never_centred(centre):
    head = MatchingHead("mean", centre=centre)
    assert torch.equal(head.modulate(CLIPS), CLIPS), "of their mean nothing would be left"


def test_half_precision_is_left_before_the_mean_goes():
    """Frames of one clip lie closer together than bfloat16 tells apart where their mean is."""
    near = (CLIPS / 10 + PLACES).bfloat16()
    found = MatchingHead("otam", centre="clip").modulate(near)
    wanted = near.double() - near.double().mean(1, keepdim=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=1e-4)


def test_a_smoothing_in_deviations_is_what_it_comes_to():
    """Nothing is answered before the deviation is there."""
    labels, (query, support) = torch.arange(2), (CLIPS[:1], CLIPS[1:])
    head, plain = MatchingHead("otam", 2.0, "std"), MatchingHead("otam", 0.5)
    for answers in (head.distances, lambda *clips: head.group_distances(*(part[None] for part in clips))):
        with pytest.raises(ValueError, match="a measured frame_std for smoothing_unit std, got none: set it"):
            answers(query, support)
    head.frame_std = 0.25
    assert torch.equal(head.episode_logits(query, support, labels), plain.episode_logits(query, support, labels))
    both = MatchingHead("otam+diagonal", 2.0, "std")
    assert both.in_std and both.rematched("otam").in_std and not both.rematched("diagonal").in_std
    for matching in ("bimhm", "mean", "diagonal", "bimhm+tuples"):
        assert not MatchingHead(matching, 2.0, "std").in_std, "they have no smoothing"


@pytest.mark.parametrize("centre", ["clip", "both"])
@pytest.mark.parametrize("name", ["otam", "st_adapter", "tmal"])
def test_one_frame_cannot_be_centred(name, centre):
    asked = {"sampling.num_frames": 1, "model.centre": centre}
    words = rf"sampling\.num_frames of two and more with model\.centre {centre}, got 1\. Set it to none"
    with pytest.raises(SettingsError, match=words):
        Experiment.of("tiny", asked, name)
    assert Experiment(load_settings("tiny", asked), method_name="protonet").settings.sampling.num_frames == 1


def test_where_frames_are_averaged_centring_is_refused_as_unread():
    for name, words in {"protonet": "protonet has no comparison", "clip_fsar": "clip_fsar has none"}.items():
        with pytest.raises(SettingsError, match=words):
            Experiment.of("tiny", {"model.centre": "clip"}, name).of_methods([name])


def test_heads_of_sums_answer_by_the_mean_of_their_parts():
    labels, (query, support) = torch.arange(2), (CLIPS[:1], CLIPS[1:])
    head, parts = MatchingHead("otam+tuples", 0.1, centre="both"), ("otam", "tuples")
    alone = [head.rematched(name).episode_logits(query, support, labels) for name in parts]
    torch.testing.assert_close(head.episode_logits(query, support, labels), sum(alone) / 2)
    assert head.smoothing == 0.1 and head.rematched("bimhm+otam", 0.3).smoothing == 0.3
    assert {MatchingHead(name).compared_pairs(8) for name in (*parts, "otam+tuples", "diagonal")} == {16}
