"""ST-Adapter whole: from video files to pictures, and from pictures to logits, losses, gradients and three steps.

Its classifier is here for parity alone (`models.references`). Its pictures and its recipe are none of this project's:
they are written out here (after its `video_dataset/dataset.py` and `main.py`), to hold the decoder and the gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_weights import by_rule, normalised, read_golden
from tolerances import END_TO_END, assert_parity
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from tmal_core.data.video import read_frames
from tmal_core.data.video.transforms import CLIP_STD
from tmal_core.models.references import STAdapterClassifier

SIDE, GREY_LEVEL = 64, 1 / 255 / min(CLIP_STD)


@pytest.fixture(scope="module")
def golden(assets) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return read_golden(assets / "st_adapter_end_to_end.safetensors")


def classifier(settings: dict[str, Any], kind: str) -> STAdapterClassifier:
    """With the goldens' weights; what the reference trains alone has a gradient."""
    model, where = settings["model"], settings["kinds"][kind]
    built = STAdapterClassifier(
        model["num_classes"],
        image_size=model["input_resolution"],
        patch_size=model["patch_size"],
        width=model["width"],
        layers=model["layers"],
        heads=model["heads"],
        bottleneck=model["adapter_width"],
        adapter_blocks=range(model["layers"] - where["adapter_layers"], model["layers"]),
        before_attention=where["adapter_pre_attn"],
        before_mlp=where["adapter_pre_mlp"],
    )
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.copy_(by_rule(f"{kind}.{name}", parameter.shape))
            parameter.requires_grad_(name in settings["trained"][kind])
    for module in built.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # as in the goldens
    return built


@pytest.mark.parametrize("kind", ["both", "ffn"])
def test_logits_losses_gradients_and_steps(golden, kind):
    """Three steps of AdamW, decay on everything that is trained but biases, the first at rate 0."""
    tensors, settings = golden
    model, clips = classifier(settings, kind), normalised(tensors["frames"]).transpose(1, 2)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sorted(trained) == settings["trained"][kind]
    with torch.no_grad():
        assert_parity(model.eval()(clips), tensors[f"{kind}.eval.logits"], END_TO_END, "logits")
    o = settings["optimiser"]
    groups = [
        {"params": [p for name, p in trained.items() if (".bias" in name) == bias], "weight_decay": decay}
        for bias, decay in ((False, o["weight_decay"]), (True, 0.0))
    ]
    optimiser = torch.optim.AdamW(groups, betas=o["betas"], eps=o["eps"])
    for step, rate in enumerate(settings["rates_of_steps"]):
        logits = model.train()(clips)
        loss = cross_entropy(logits, tensors["labels"])
        optimiser.zero_grad()
        loss.backward()
        assert_parity(logits, tensors[f"{kind}.step{step}.logits"], END_TO_END, f"logits of step {step}")
        assert_parity(loss[None], tensors[f"{kind}.step{step}.loss"], END_TO_END, f"loss of step {step}")
        for name, parameter in trained.items() if step == 0 else ():
            wanted = tensors[f"{kind}.step0.gradient.{name}"]
            # The last adapter changes patch tokens behind which nothing is read: all zeros.
            assert wanted.any() or not parameter.grad.any()
            if wanted.any():
                assert_parity(parameter.grad, wanted, END_TO_END, name)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
    for name, parameter in trained.items():
        assert_parity(parameter, tensors[f"{kind}.step2.parameter.{name}"], END_TO_END, name)
    with torch.no_grad():
        assert_parity(model.eval()(clips), tensors[f"{kind}.trained.eval.logits"], END_TO_END, "logits after training")


def resized(frames: np.ndarray, short: int) -> Tensor:
    """(T, H, W, 3) uint8 normalised, then bicubic without antialiasing."""
    height, width = frames.shape[1:3]
    size = (short, width * short // height) if height < width else (height * short // width, short)
    return interpolate(normalised(torch.from_numpy(frames).permute(0, 3, 1, 2)), size, mode="bicubic")


def windows(pictures: Tensor) -> list[Tensor]:
    """Three of them along the longer side: start, middle, end."""
    height, width = pictures.shape[-2:]
    spare = max(height, width) - SIDE
    offsets = (0, spare // 2, spare)
    if height < width:
        return [pictures[..., at : at + SIDE] for at in offsets]
    return [pictures[..., at : at + SIDE, :] for at in offsets]


@pytest.mark.parametrize("video", ["wide", "tall"])
def test_pictures_from_the_file(golden, assets, video):
    tensors, settings = golden
    path = assets / f"e2e_video_{video}.mp4"

    def near(found: Tensor, name: str) -> None:
        assert found.shape == tensors[name].shape, name
        assert (found - tensors[name]).abs().max() <= GREY_LEVEL, name

    drawn = settings["pictures"][f"{video}.ssv2_test"]
    ends = np.round(np.arange(9) * 59 / 8).astype(int)
    assert ((ends[:-1] + ends[1:]) // 2).tolist() == drawn["frames"]
    frames = read_frames(path, np.array(drawn["frames"])[drawn["kept"]])
    near(torch.stack(windows(resized(frames, SIDE))), f"{video}.ssv2_test.pictures")

    drawn = settings["pictures"][f"{video}.k400_test"]
    views = []
    for view in drawn["views"]:
        at = drawn["starts"][view] + drawn["rate"] * np.arange(8)
        views.append(windows(resized(read_frames(path, at[drawn["kept"]]), SIDE))[1])
    near(torch.stack(views), f"{video}.k400_test.pictures")

    for seed in (1, 2):
        drawn = settings["pictures"][f"{video}.k400_train{seed}"]
        frames = read_frames(path, np.array(drawn["frames"])[drawn["kept"]])
        pictures = resized(frames, min(drawn["resized"]))
        assert list(pictures.shape[-2:]) == drawn["resized"]
        pictures = pictures[..., drawn["y"] : drawn["y"] + SIDE, drawn["x"] : drawn["x"] + SIDE]
        near(pictures.flip(-1) if drawn["flip"] else pictures, f"{video}.k400_train{seed}.pictures")
