"""TS-FSAR: a side network beside a frozen CLIP, matched by channel distances as the task asks (AAAI 2026)."""

from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods.registry import Method
from tmal_core.models.ts_fsar_encoder import TSFSAREncoder
from tmal_core.models.ts_fsar_head import TSFSARHead

METHOD = Method(
    "ts_fsar",
    "TS-FSAR, side network",
    trained=True,
    build=lambda clip, parts: FewShotModel(TSFSAREncoder(clip, parts.ts_fsar), TSFSARHead(parts.ts_fsar)),
    reads={"prompt", "ts_fsar"},
    fixed={"adapters": "none", "flow_encoder": "none", "text": True, "fusion": "prototype"},
    starts_as_clip=False,
)
