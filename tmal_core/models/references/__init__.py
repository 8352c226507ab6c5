"""CLIP-FSAR and ST-Adapter's classifier in their own form, held against their own code's outputs in the tests."""

from tmal_core.models.references.clip_fsar_reference import CLIPFSARCheckpoint, CLIPFSARHead, load_clip_fsar
from tmal_core.models.references.st_adapter_classifier import STAdapterClassifier, load_st_adapter

__all__ = ["CLIPFSARCheckpoint", "CLIPFSARHead", "STAdapterClassifier", "load_clip_fsar", "load_st_adapter"]
