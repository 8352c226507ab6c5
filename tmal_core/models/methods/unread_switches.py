"""Switches that change nothing: what the settings ask for and the method, put together so, has no use for."""

from tmal_core.config import ModelSettings
from tmal_core.models.fusion import fuses
from tmal_core.models.heads import aligns
from tmal_core.models.methods.registry import compares_whole_frames, method, needs_names


def _parts(settings: ModelSettings) -> dict[str, tuple[str, bool]]:
    """Switch -> the part that it is about, and whether the settings have it."""
    s, fused = settings, settings.fusion != "none"
    at_tokens, at_prototypes = fuses(s, "token"), fuses(s, "prototype")
    flow_joins, text_joins = s.reads_motion and at_tokens, s.text and at_tokens
    nowhere = ("none", ())
    named, described = needs_names(s), s.descriptions is not None
    joins = (flow_joins and s.fusion_levels not in nowhere) or (text_joins and s.text_levels not in nowhere)
    stem = s.reads_motion and s.flow_encoder != "clip"
    return {
        "prompt": _in_place_of("prompt", "prompts" if s.prompts else "descriptions" if described else "", named),
        "prompts": _in_place_of("prompts", "descriptions" if described else "", named),
        "descriptions": ("class names", named),
        "adapters": ("temporal adapters", True),
        "bottleneck": ("temporal adapters", s.adapters != "none" or s.temporal_attention > 0),
        "temporal_attention": ("temporal attention", True),
        "side_width": ("side network of its frame features", True),
        "flow_encoder": ("fusion", fused),
        "text": ("fusion", fused),
        "fusion": ("flow or text to fuse", s.flow_encoder != "none" or s.text),
        "fusion_levels": ("fusion of flow with tokens", flow_joins),
        "text_levels": ("fusion of text with tokens", text_joins),
        "fusion_width": ("flow stem and no fusion of tokens", stem or joins),
        "mlp_width": ("prototype modulation", at_prototypes and (s.reads_motion or s.text)),
        "tune_backbone": ("training", True),
        "matching": ("choice of a matcher", True),
        "task_conditioned": ("comparison of whole frames", compares_whole_frames(s)),
        "text_score": ("share of names in its answers", True),
        "logit_scale": ("learned scale of distances", True),
        "text_scale": ("video-text loss", s.reads_text),
        "ts_fsar": ("side network", True),
        "smoothing": ("OTAM", aligns(s.matching)),
        "smoothing_unit": ("OTAM", aligns(s.matching)),
        "centre": ("comparison of frame with frame", s.matching != "mean"),
        "gate_sharpness": ("gate between frames and centred ones", s.matching != "mean" and s.centre == "gate"),
        "tuples": ("cross-transformers", True),
        "tuple_width": ("cross-transformers", True),
    }


def _in_place_of(switch: str, other: str, named: bool) -> tuple[str, bool]:
    """A switch of what is read of class names, and the one that takes its place."""
    return (f"use for model.{switch} beside model.{other}" if named and other else "class names", named and not other)


def unread(parts: ModelSettings) -> dict[str, str]:
    """Every switch that changes nothing for the method of these resolved settings -> why, in words."""
    chosen, found = method(parts.method), {}
    for switch, (part, there) in _parts(parts).items():
        if switch in chosen.fixed or (switch in chosen.reads and there):
            continue
        with_these = " with these settings" if switch in chosen.reads else ""
        found[switch] = f"{parts.method} has no {part}{with_these}"
    return found
