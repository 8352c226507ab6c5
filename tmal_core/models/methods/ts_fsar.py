"""TS-FSAR: a side network beside a frozen CLIP, matched by channel distances as the task asks (AAAI 2026)."""

from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods.registry import NAMES, Method
from tmal_core.models.ts_fsar_encoder import TSFSAREncoder
from tmal_core.models.ts_fsar_head import TSFSARHead

METHOD = Method(
    "ts_fsar",
    "TS-FSAR, side network",
    trained=True,
    build=lambda clip, parts: FewShotModel(TSFSAREncoder(clip, parts.ts_fsar), TSFSARHead(parts.ts_fsar)),
    reads=NAMES | {"ts_fsar"},
    fixed={"adapters": "none", "flow_encoder": "none", "text": True, "fusion": "prototype"},
    scores_names=lambda parts: any(parts.ts_fsar.powers[1:]),
    without_names={"model.ts_fsar.powers": [1.0, 0.0, 0.0]},
    names_in_features=False,
    starts_as_clip=False,
)
