"""Distances between clips from the distances between their frames, all behind `match`."""

from tmal_core.matching.alignment import best_path, otam_alignment
from tmal_core.matching.channel_distances import distance_correlation, distance_representation
from tmal_core.matching.cosine import cosine_distance, mean_distance
from tmal_core.matching.diagonal_distance import diagonal
from tmal_core.matching.dispatch import MATCHERS, match, match_groups, register_matcher
from tmal_core.matching.distance_parts import Breakdown, breakdown
from tmal_core.matching.hausdorff import bimhm
from tmal_core.matching.nearest_tuples import tuples
from tmal_core.matching.otam_distance import otam

__all__ = [
    "MATCHERS",
    "Breakdown",
    "best_path",
    "bimhm",
    "breakdown",
    "cosine_distance",
    "diagonal",
    "match",
    "match_groups",
    "mean_distance",
    "otam",
]
__all__ += ["distance_correlation", "distance_representation", "otam_alignment", "register_matcher", "tuples"]
