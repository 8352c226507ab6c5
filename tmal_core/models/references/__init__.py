"""Reference models in the form of their checkpoints: for parity and for reading what their authors trained."""

from tmal_core.models.references.clip_fsar_reference import CLIPFSARCheckpoint, CLIPFSARHead, load_clip_fsar
from tmal_core.models.references.st_adapter_classifier import STAdapterClassifier, load_st_adapter
from tmal_core.models.references.ts_fsar_reference import TSFSAR, fused_scores, load_ts_fsar, ts_fsar_losses
from tmal_core.models.shrinking import shrink
from tmal_core.models.side_network import FrameAdapter, SideBlock
from tmal_core.models.task_matching import TaskMatching
from tmal_core.models.ts_fsar_scores import distillation_loss

__all__ = ["CLIPFSARCheckpoint", "CLIPFSARHead", "STAdapterClassifier", "load_clip_fsar", "load_st_adapter"]
__all__ += ["TSFSAR", "FrameAdapter", "SideBlock", "TaskMatching", "distillation_loss", "fused_scores"]
__all__ += ["load_ts_fsar", "shrink", "ts_fsar_losses"]
