"""Switches that change nothing: what the settings ask for and the method, put together so, has no use for."""

from __future__ import annotations

from collections.abc import Callable

from tmal_core.config import ModelSettings
from tmal_core.models.fusion import fuses
from tmal_core.models.methods.registry import method


def _flow_joins_tokens(parts: ModelSettings) -> bool:
    return parts.reads_flow and fuses(parts, "token")


def _text_joins_tokens(parts: ModelSettings) -> bool:
    return parts.text and fuses(parts, "token")


def _anything_joins_tokens(parts: ModelSettings) -> bool:
    flow = _flow_joins_tokens(parts) and parts.fusion_levels not in ("none", ())
    return flow or (_text_joins_tokens(parts) and parts.text_levels not in ("none", ()))


def _reads_names(parts: ModelSettings) -> bool:
    return parts.reads_text or parts.text_score > 0


_PARTS: dict[str, tuple[str, Callable[[ModelSettings], bool]]] = {
    "prompt": ("class names", _reads_names),
    "adapters": ("temporal adapters", lambda _: True),
    "bottleneck": ("temporal adapters", lambda parts: parts.adapters != "none"),
    "flow_encoder": ("fusion", lambda parts: parts.fusion != "none"),
    "text": ("fusion", lambda parts: parts.fusion != "none"),
    "fusion": ("flow or text to fuse", lambda parts: parts.flow_encoder != "none" or parts.text),
    "fusion_levels": ("fusion of flow with tokens", _flow_joins_tokens),
    "text_levels": ("fusion of text with tokens", _text_joins_tokens),
    "fusion_width": (
        "flow stem and no fusion of tokens",
        lambda parts: (parts.reads_flow and parts.flow_encoder == "stem") or _anything_joins_tokens(parts),
    ),
    "mlp_width": (
        "prototype modulation",
        lambda parts: fuses(parts, "prototype") and (parts.reads_flow or parts.text),
    ),
    "tune_backbone": ("training", lambda _: True),
    "matching": ("choice of a matcher", lambda _: True),
    "text_score": ("share of names in its answers", lambda _: True),
    "logit_scale": ("learned scale of distances", lambda _: True),
    "smoothing": ("OTAM", lambda parts: parts.matching == "otam"),
}
"""Switch -> the part that it is about, and whether settings have it."""


def unread(parts: ModelSettings) -> dict[str, str]:
    """Every switch that changes nothing for the method of these resolved settings -> why, in words."""
    chosen = method(parts.method)
    found = {}
    for switch, (part, there) in _PARTS.items():
        if switch in chosen.fixed:
            continue
        if switch not in chosen.reads:
            found[switch] = f"{parts.method} has no {part}"
        elif not there(parts):
            found[switch] = f"{parts.method} has no {part} with these settings"
    return found
