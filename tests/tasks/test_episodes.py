"""Whether a data set can give the episodes that are asked for, told before anything runs."""

from __future__ import annotations

import pytest

from tmal_core.errors import EpisodeError
from tmal_core.experiment import Experiment, require_episodes


@pytest.mark.parametrize("prepared", [False, True])
def test_episodes_that_the_data_cannot_give_are_told_before_anything_runs(small_settings, small_data, prepared):
    """By what the diagnostic data set will hold, or by the catalogue of another one."""
    place = {"data.name": "mine"} if prepared else {"data.root": "nowhere"}
    own = small_settings.replace(place)
    require_episodes(Experiment(own))
    for change, words in (
        ({"episodes.way": 99}, "a way of at most 30, got 99-way episodes of 'appearance'"),
        ({"episodes.queries_train": 6}, r"7 clips per class \(1-shot with 6 queries, 'appearance'\), got 4"),
        ({"episodes.queries_eval": 5}, r"6 clips per class \(1-shot with 5 queries, 'appearance'\), got 4"),
    ):
        with pytest.raises(EpisodeError, match=words):
            require_episodes(Experiment(own.replace(change)))
    require_episodes(Experiment(own.replace({"data.name": "mine", "data.root": "nowhere", "episodes.way": 99})))
