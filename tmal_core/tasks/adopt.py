"""`tmal adopt`: make a run of somebody else's checkpoint, which is then evaluated, inspected and used like one's own.

- CLIP-FSAR's (`model_state` with `head.backbone.*`, `head.context2.*` and `head.scale`) becomes the method `clip_fsar`;
  text comes from the CLIP of the settings, as there. Pictures are squashed as in its training, unless `sampling.fit` is
  set; its frames are the preset's for `clip_fsar`, on real data its own. `--set model.text_score=0.9` adds its text
  score. With UCF101 and 5 shots its code normalises pictures by mean 0.45 and std 0.225, a slip of its settings:
  `normalised` says so.
- ST-Adapter's becomes `st_adapter`: its adapters, without the classifier behind them, in the frozen CLIP of the
  settings.

- TS-FSAR's (flat, with `ts_dcm.generator.weight`) becomes `ts_fsar`, without its copy of CLIP, which has to be that of
  the settings. What weights do not tell (powers, r, temperatures, blocks over time) is as the settings say: the
  preset's, of the shots that are asked for.

What the file tells of the settings (widths, where adapters stand) is taken from it; everything else must agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tmal_core.config import ModelSettings
from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.experiment import Experiment
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.open_clip_access import CLIP_STATISTICS, QuickGELU, statistics
from tmal_core.models.references import load_clip_fsar, load_st_adapter, load_ts_fsar
from tmal_core.models.state_dicts import load_strictly, read_checkpoint
from tmal_core.runtime.files import file_sha256
from tmal_core.runtime.run_folders import Run
from tmal_core.runtime.weights_files import resolve
from tmal_core.training.checkpoint import Origin, save_checkpoint
from tmal_core.training.loop import BEST

CLIP_FSAR, ST_ADAPTER, TS_FSAR = "clip_fsar", "st_adapter", "ts_fsar"
_MARK_OF_TS_FSAR = "ts_dcm.generator.weight"
_NAMES = {"attention": "adapter_pre_attn", "ffn": "adapter_pre_mlp"}


def adopt_checkpoint(
    experiment: Experiment, source: str | Path, normalised: tuple[float, float] | None = None
) -> tuple[Run, Experiment]:
    """Write a run folder with the checkpoint in it: the experiment's, empty or new.

    Args:
        experiment: of the data set and the CLIP that the checkpoint stands on.
        source: the file, or its name in `tmal_core.runtime.weights_files`.
        normalised: mean and std of its pictures, in 0..1, where they were not CLIP's; they go into the weights, which
            answer on CLIP's pictures as they did on their own.

    Returns:
        The run, and the experiment with the method and what the file told of it.

    Raises:
        WeightsError: none of the three kinds, damaged, or of another CLIP than the settings'.
        SettingsError: `normalised` for another's than CLIP-FSAR's, or no std above 0.
        RunError: the folder holds something else.
    """
    content = read_checkpoint(source)
    marks = {"model_state": _clip_fsar, _MARK_OF_TS_FSAR: _ts_fsar}
    names = content.keys() if isinstance(content, dict) else ()
    fill = next((kind for mark, kind in marks.items() if mark in names), _st_adapter)
    model, adopted = fill(experiment, source)
    if normalised is not None:
        _take_clip_pictures(model, adopted.name, *normalised)
    path = Path(source) if Path(source).is_file() else resolve(source)
    with Run.create(adopted.folder, adopted.settings, "adopt", adopted.set_by_user) as run:
        save_checkpoint(adopted.checkpoints / BEST, model, Origin(adopted.origin.digest, {"adopted_from": path.name}))
        run.update_summary(adopted=str(path), sha256=file_sha256(path), normalised=normalised)
    return run, adopted


def _clip_fsar(experiment: Experiment, source: str | Path) -> tuple[FewShotModel, Experiment]:
    found: Any = load_clip_fsar(source)  # a module whose parts have the names of the file
    mlp_width = found.head.context2.layers[0][1].net[0].out_features
    asked = {key.removeprefix(f"methods.{CLIP_FSAR}.") for key in experiment.set_by_user}
    pictures = {} if "sampling.fit" in asked else {"sampling.fit": "squash"}
    model, adopted = _built(experiment, CLIP_FSAR, {"model.mlp_width": mlp_width, **pictures})
    head: Any = model.head
    backbone = adopted.settings.model.backbone
    if not isinstance(model.encoder.clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU):
        got = f"{backbone}, which computes something else with them"
        raise WeightsError("a model with QuickGELU for CLIP-FSAR's weights", got, "Use a -quickgelu model.")
    if statistics(model.encoder.clip.visual) != CLIP_STATISTICS:
        got = f"{backbone}, whose pictures are normalised otherwise"
        raise WeightsError("a model with CLIP's mean and std for CLIP-FSAR's weights", got, "Use ViT-B-16-quickgelu.")
    where = f"{source}, for {backbone}"
    load_strictly(model.encoder.clip.visual, found.backbone.state_dict(), where)
    load_strictly(head.context2, found.head.context2.state_dict(), where)
    with torch.no_grad():
        head.scale.copy_(found.head.scale)
    return model, adopted


def _st_adapter(experiment: Experiment, source: str | Path) -> tuple[FewShotModel, Experiment]:
    clip, _ = _built(experiment, "otam", {})
    found: Any = load_st_adapter(
        source, clip.clip_encoder.clip.visual
    )  # a module whose parts have the names of the file
    _require_same_clip(found.state_dict(), clip, experiment.settings.model, source)
    blocks = [
        {place: getattr(block, name) for place, name in _NAMES.items() if getattr(block, name) is not None}
        for block in found.transformer.resblocks
    ]
    kernels = {adapter.conv.kernel_size for block in blocks for adapter in block.values()}
    if any(block.keys() != blocks[0].keys() for block in blocks) or kernels != {(3, 1, 1)}:
        got = f"{source} with adapters in {sum(map(bool, blocks))} of {len(blocks)} blocks, kernels {sorted(kernels)}"
        raise WeightsError("adapters of 3x1x1 in every block", got, "Take one of ST-Adapter's own configurations.")
    place, adapter = next(iter(blocks[0].items()))
    told = {"model.adapters": place if len(blocks[0]) == 1 else "both", "model.bottleneck": adapter.fc1.out_features}
    model, adopted = _built(experiment, ST_ADAPTER, told)
    if adopted.settings.model.centre == "gate":
        remedy = "Set it to none, clip or both."
        raise SettingsError("frames compared without a gate, which the file has not", "model.centre gate", remedy)
    modules: Any
    for place, modules in model.encoder.adapters.items():
        for mine, block in zip(modules, blocks, strict=True):
            mine.load_state_dict(block[place].state_dict())
    return model, adopted


def _ts_fsar(experiment: Experiment, source: str | Path) -> tuple[FewShotModel, Experiment]:
    parts = experiment.changed({}, TS_FSAR).settings.model.ts_fsar
    found: Any = load_ts_fsar(source, temporal_blocks=parts.temporal_blocks)
    clip, _ = _built(experiment, "otam", {})
    _require_same_clip(found.visual.state_dict(), clip, experiment.settings.model, source, with_projection=True)
    frames, width = found.matching.num_frames, found.matching.generator.in_features
    told = {"model.ts_fsar.side_width": width, "model.ts_fsar.num_frames": frames, "sampling.num_frames": frames}
    model, adopted = _built(experiment, TS_FSAR, told)
    encoder: Any = model.encoder
    head: Any = model.head
    for name in ("side", "adapter", "up_ln", "up_linear"):
        load_strictly(getattr(encoder, name), getattr(found, name).state_dict(), f"{name} of {source}")
    head.take_classes(len(found.guided.weight))
    for name in ("matching", "guided"):
        load_strictly(getattr(head, name), getattr(found, name).state_dict(), f"{name} of {source}")
    return model, adopted


def _take_clip_pictures(model: FewShotModel, name: str, mean: float, std: float) -> None:
    """Change the first layer and what is added to it so that pictures by CLIP's mean and std serve as those of others.

    Patches tile the picture without a margin, so a constant in it is a constant in every patch's token.
    """
    if name != CLIP_FSAR or not std > 0:
        got, remedy = f"{mean:g}, {std:g} for {name}", "Leave it out, or correct the two numbers."
        raise SettingsError("mean and std (above 0) of a checkpoint of CLIP-FSAR", got, remedy)
    visual: Any = model.encoder.clip.visual
    clip_mean, clip_std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        visual.positional_embedding[1:] += (visual.conv1.weight * (clip_mean - mean) / std).sum((1, 2, 3))
        visual.conv1.weight *= clip_std / std


def _built(experiment: Experiment, name: str, told: dict[str, Any]) -> tuple[FewShotModel, Experiment]:
    asked = {key.removeprefix(f"methods.{name}."): value for key, value in experiment.set_by_user.items()}
    for key, value in told.items():
        if asked.get(key, value) != value:
            raise SettingsError(f"{key} {value}, as in the file", str(asked[key]), "Leave it out.")
    adopted = experiment.changed(told, name)
    return adopted.build().eval(), adopted


def _require_same_clip(
    theirs: dict[str, Tensor],
    model: FewShotModel,
    parts: ModelSettings,
    source: str | Path,
    with_projection: bool = False,
) -> None:
    """What the file holds of the frozen CLIP must be that of the settings: adapters fit no other."""
    for name, mine in model.encoder.clip.visual.state_dict().items():
        other = theirs.get(name)
        if name == "proj" and not with_projection:
            continue
        if other is None or other.shape != mine.shape or not torch.allclose(other, mine, atol=1e-3):
            got = f"{source} with another {name}"
            remedy = "Set model.backbone and model.pretrained to the CLIP that it was trained on."
            raise WeightsError(f"adapters of {parts.backbone} ({parts.pretrained})", got, remedy)
