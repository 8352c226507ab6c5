"""The reference models that this project's parts come from, held against their own code's outputs in the tests.

CLIP-FSAR and ST-Adapter's classifier.
"""

from __future__ import annotations

from tmal_core.models.references.clip_fsar_reference import CLIPFSARCheckpoint, CLIPFSARHead, load_clip_fsar
from tmal_core.models.references.st_adapter_classifier import STAdapterClassifier, load_st_adapter

__all__ = ["CLIPFSARCheckpoint", "CLIPFSARHead", "STAdapterClassifier", "load_clip_fsar", "load_st_adapter"]
