"""FlowNet 2.0 (Ilg et al. 2017) in plain PyTorch, all six variants, with the official checkpoints.

    variant   networks
    C, S, SD  that network alone
    CS, CSS   C, then one or two S that refine the estimate so far
    2         CSS beside SD, joined by Fusion

Letters: B batch, H, W pixels. Images are RGB in 0..255, flow is (dx, dy) in pixels from the first to the second image.

The networks want sides that are multiples of 64. Frames are padded to that by repeating the border, which agrees with
the warping, and the flow is cropped back. The mean per channel over both images, which is subtracted first, is that of
the images as given: padding does not shift it. The reference crops or resizes instead, so at multiples of 64 both
compute the same and elsewhere there is nothing to compare.

Only the finest flow is returned. Under `torch.autocast` the convolutions run in low precision, while normalisation,
warping and the flow that is handed on stay in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmal_core.errors import DataError, SettingsError, WeightsError
from tmal_core.flow.flownet2_networks import FlowNetC, FlowNetFusion, FlowNetS, FlowNetSD
from tmal_core.flow.frame_pairs import check_pair, pad_pair
from tmal_core.flow.warping import channel_norm, warp
from tmal_core.runtime.tensor_files import describe_content, is_state_dict, read_archive

VARIANTS = ("2", "C", "S", "SD", "CS", "CSS")
DIVISOR = 64
FLOW_UNIT_PX = 20.0
NORMALISED_LIMIT = 4.0  # normalised images (ImageNet's or CLIP's statistics) lie within -3..3, and 0..1 does too


class FlowNet2(nn.Module):
    """Optical flow between two batches of frames.

    Args:
        variant: one of VARIANTS; the weights are random, see `load_flownet2`.

    Raises:
        SettingsError: there is no such variant.
    """

    _network: nn.Module

    def __init__(self, variant: str) -> None:
        super().__init__()
        if variant not in VARIANTS:
            expected = f"a FlowNet2 variant among {', '.join(VARIANTS)}"
            raise SettingsError(expected, repr(variant), "Choose one of these.")
        self.variant = variant
        if variant in ("C", "S", "SD"):
            network = {"C": FlowNetC, "S": FlowNetS, "SD": FlowNetSD}[variant]()
            # In the official checkpoints the parameters of a network that stands alone have no prefix: its layers are
            # registered here, and the network itself is kept out of the module tree.
            for name, layer in network.named_children():
                self.add_module(name, layer)
            object.__setattr__(self, "_network", network)
            return
        self.flownetc = FlowNetC()
        self.flownets_1 = FlowNetS(12)
        if variant != "CS":
            self.flownets_2 = FlowNetS(12)
        if variant == "2":
            self.flownets_d = FlowNetSD()
            self.flownetfusion = FlowNetFusion()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow from `first` to `second`.

        Args:
            first, second: (B, 3, H, W) RGB in 0..255, uint8 or floating, any H and W.

        Returns:
            (B, 2, H, W) float32, (dx, dy) in pixels.

        Raises:
            DataError: another shape, or values that look normalised.
        """
        check_pair(first, second)
        _check_range(first, second)
        first, second, inside = pad_pair(*_normalise(first, second), DIVISOR)
        return self._flow(first, second)[inside]

    def _flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow in pixels of normalised images whose sides are multiples of 64."""
        if self.variant == "C":
            return _full_size(self._network(first, second))
        if self.variant in ("S", "SD"):
            return _full_size(self._network(torch.cat((first, second), dim=1)))
        flow = _full_size(self.flownetc(first, second))
        flow = _full_size(self.flownets_1(_to_refine(first, second, flow)))
        if self.variant == "CS":
            return flow
        flow = _full_size(self.flownets_2(_to_refine(first, second, flow)), mode="nearest")
        if self.variant == "CSS":
            return flow
        # Not a slip: the reference divides SD's output by 20 here, where all others are multiplied.
        small = self.flownets_d(torch.cat((first, second), dim=1)).float() / FLOW_UNIT_PX
        return self.flownetfusion(_to_fuse(first, second, flow, _upsample(small, mode="nearest"))).float()


def load_flownet2(path: Path | str, variant: str) -> FlowNet2:
    """FlowNet2 with the weights of an official `.pth.tar` checkpoint, loaded strictly, in eval mode on the CPU.

    Args:
        path: an archive `{"state_dict": ...}`; only tensors and plain values are unpickled.
        variant: one of VARIANTS.

    Raises:
        SettingsError: there is no such variant.
        WeightsError: the file is missing, damaged, no such archive, or holds another network or another variant.
    """
    # Without memory at first: initialising 160 M parameters takes longer than reading them.
    with torch.device("meta"):
        model = FlowNet2(variant)
    state = _read_state(Path(path), variant)
    if _shapes(state) != _shapes(model.state_dict()):
        raise _wrong_network(path, variant, state)
    model.load_state_dict({name: tensor.float().contiguous() for name, tensor in state.items()}, assign=True)
    return model.eval()


def _normalise(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean per channel over both images of a pair, divide by 255."""
    first, second = first.float(), second.float()
    mean = (first.mean(dim=(2, 3), keepdim=True) + second.mean(dim=(2, 3), keepdim=True)) / 2
    return (first - mean) / 255, (second - mean) / 255


def _upsample(flow: Tensor, mode: str) -> Tensor:
    return F.interpolate(flow, scale_factor=4, mode=mode, align_corners=False if mode == "bilinear" else None)


def _full_size(quarter: Tensor, mode: str = "bilinear") -> Tensor:
    """A network's output, at quarter size and in units of 20 pixels, as flow in pixels."""
    return _upsample(quarter.float() * FLOW_UNIT_PX, mode)


def _to_refine(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """(B, 12, H, W) for S: images, second image warped, flow / 20, how far the warped image is from the first."""
    warped = warp(second, flow)
    return torch.cat((first, second, warped, flow / FLOW_UNIT_PX, channel_norm(first - warped)), dim=1)


def _to_fuse(first: Tensor, second: Tensor, flow: Tensor, small: Tensor) -> Tensor:
    """(B, 11, H, W) for Fusion: first image, both flows, their norms, how far each warps from the first image."""
    flows = (small, flow)
    misses = (channel_norm(first - warp(second, each)) for each in flows)
    return torch.cat((first, *flows, *map(channel_norm, flows), *misses), dim=1)


def _check_range(first: Tensor, second: Tensor) -> None:
    """Refuse frames that were scaled to 0..1 or normalised: the networks would return a wrong flow without a word.

    Black frames are as small; decoded ones hold whole numbers, by which they are told apart.
    """
    for frames in (first, second):
        small = frames.is_floating_point() and frames.abs().max() <= NORMALISED_LIMIT
        if small and (frames != frames.round()).any():
            got = f"values in {frames.min().item():.3g}..{frames.max().item():.3g}"
            raise DataError("RGB frames in 0..255", got, "Pass the decoded frames, uint8 or float.")


def _read_state(path: Path, variant: str) -> dict[str, Tensor]:
    remedy = f"Put the official FlowNet2{'' if variant == '2' else '-' + variant}_checkpoint.pth.tar there."
    expected = f'a FlowNet2 checkpoint {{"state_dict": ...}} of variant {variant}'
    archive = read_archive(path, expected, remedy)
    state: Any = archive.get("state_dict") if isinstance(archive, dict) else None
    if not is_state_dict(state):
        raise WeightsError(expected, f"{path} ({describe_content(archive)})", remedy)
    return state


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _wrong_network(path: Path | str, variant: str, state: dict[str, Tensor]) -> WeightsError:
    """Names the variant that the checkpoint holds, or the first parameter that does not fit."""
    found = _shapes(state)
    with torch.device("meta"):
        shapes = {other: _shapes(FlowNet2(other).state_dict()) for other in VARIANTS}
    expected = f"a checkpoint of FlowNet2 variant {variant}"
    for other in VARIANTS:
        if shapes[other] == found:
            return WeightsError(expected, f"{path} of variant {other}", f'Load it as "{other}" or give another file.')
    name, *more = sorted(name for name in {*found, *shapes[variant]} if found.get(name) != shapes[variant].get(name))
    shape, wanted = (tuple(each[name]) if name in each else "none" for each in (found, shapes[variant]))
    got = f"{path}, where {1 + len(more)} parameters differ ({name}: {shape} instead of {wanted})"
    return WeightsError(expected, got, "Replace it by the official checkpoint.")
