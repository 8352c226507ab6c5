"""The four networks FlowNet2 is stacked from: C, S, SD and Fusion (FlowNet, sections 3-4; FlowNet 2.0, figures 2, 5).

All are one shape: an encoder that halves the size, and a decoder that predicts flow at its coarsest level and refines
it level by level. C, S and SD predict at a quarter of the size, in units of 20 pixels; Fusion at full size in pixels.
Sides are multiples of 64.

Names of modules are those of the official checkpoints. Where the code deviates from the papers it follows their
weights: the images are not concatenated again in the last decoder step, and S has no bias in `upsampled_flow*`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmal_core.flow.correlation_layer import correlation

SLOPE = 0.1


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    return nn.Sequential(conv, nn.LeakyReLU(SLOPE, inplace=True))


def _deconv(inputs: int, outputs: int) -> nn.Sequential:
    deconv = nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1)
    return nn.Sequential(deconv, nn.LeakyReLU(SLOPE, inplace=True))


class _Network(nn.Module):
    """The decoder: `predict_flowN`, `upsampled_flowN_to_M`, `deconvN` and, in SD and Fusion, `inter_convN`.

    Args:
        encoder: channels of the encoder's feature per level; level N is 2^N times smaller than the images.
        deconv: channels of the deconvolution that arrives at each level but the coarsest.
        smooth: flow is predicted from a convolution (`inter_convN`) of the level's features, not from these.
        flow_bias: whether `upsampled_flow*` has a bias.
    """

    def __init__(self, encoder: dict[int, int], deconv: dict[int, int], smooth: bool, flow_bias: bool) -> None:
        super().__init__()
        self.smooth = smooth
        self.levels = sorted(deconv, reverse=True)
        coarsest = max(encoder)
        width = encoder[coarsest]
        setattr(self, f"predict_flow{coarsest}", nn.Conv2d(width, 2, 3, padding=1))
        for level in self.levels:
            setattr(self, f"deconv{level}", _deconv(width, deconv[level]))
            upsampled = nn.ConvTranspose2d(2, 2, kernel_size=4, stride=2, padding=1, bias=flow_bias)
            setattr(self, f"upsampled_flow{level + 1}_to_{level}", upsampled)
            width = encoder[level] + deconv[level] + 2
            if smooth:
                setattr(self, f"inter_conv{level}", nn.Sequential(nn.Conv2d(width, deconv[level], 3, padding=1)))
            setattr(self, f"predict_flow{level}", nn.Conv2d(deconv[level] if smooth else width, 2, 3, padding=1))

    def decode(self, encoded: dict[int, Tensor]) -> Tensor:
        """Flow at the finest level, from the encoder's features by level."""
        coarsest = max(encoded)
        features = encoded[coarsest]
        flow = self.get_submodule(f"predict_flow{coarsest}")(features)
        for level in self.levels:
            from_below = self.get_submodule(f"deconv{level}")(features)
            flow_from_below = self.get_submodule(f"upsampled_flow{level + 1}_to_{level}")(flow)
            features = torch.cat((encoded[level], from_below, flow_from_below), dim=1)
            smoothed = self.get_submodule(f"inter_conv{level}")(features) if self.smooth else features
            flow = self.get_submodule(f"predict_flow{level}")(smoothed)
        return flow


class _Pyramid(_Network):
    """What C, S and SD share: levels 3 to 6 of the encoder, the decoder down to level 2."""

    def __init__(self, third: int, smooth: bool, flow_bias: bool) -> None:
        deconv = {5: 512, 4: 256, 3: 128, 2: 64}
        super().__init__({6: 1024, 5: 512, 4: 512, 3: 256, 2: 128}, deconv, smooth, flow_bias)
        self.conv3_1 = _conv(third, 256)
        self.conv4, self.conv4_1 = _conv(256, 512, stride=2), _conv(512, 512)
        self.conv5, self.conv5_1 = _conv(512, 512, stride=2), _conv(512, 512)
        self.conv6, self.conv6_1 = _conv(512, 1024, stride=2), _conv(1024, 1024)

    def finish(self, second_level: Tensor, third_level: Tensor) -> Tensor:
        """Flow from the finest feature the decoder uses and the input of `conv3_1`."""
        encoded = {2: second_level, 3: self.conv3_1(third_level)}
        for level in (4, 5, 6):
            conv, conv_1 = self.get_submodule(f"conv{level}"), self.get_submodule(f"conv{level}_1")
            encoded[level] = conv_1(conv(encoded[level - 1]))
        return self.decode(encoded)


class FlowNetC(_Pyramid):
    """Both images apart through three convolutions, then their correlation."""

    def __init__(self) -> None:
        super().__init__(third=32 + 441, smooth=False, flow_bias=True)
        self.conv1, self.conv2, self.conv3 = _conv(3, 64, 7, 2), _conv(64, 128, 5, 2), _conv(128, 256, 5, 2)
        self.conv_redir = _conv(256, 32, kernel=1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, 3, H, W) twice, zero-mean, to flow / 20 (B, 2, H/4, W/4)."""
        first_2 = self.conv2(self.conv1(first))
        first_3 = self.conv3(first_2)
        second_3 = self.conv3(self.conv2(self.conv1(second)))
        matches = F.leaky_relu(correlation(first_3, second_3), SLOPE)
        return self.finish(first_2, torch.cat((self.conv_redir(first_3), matches), dim=1))


class FlowNetS(_Pyramid):
    """All inputs stacked: both images alone (6 channels), or with an estimate to refine (12 channels)."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__(third=256, smooth=False, flow_bias=False)
        self.conv1, self.conv2, self.conv3 = _conv(channels, 64, 7, 2), _conv(64, 128, 5, 2), _conv(128, 256, 5, 2)

    def forward(self, stacked: Tensor) -> Tensor:
        """(B, channels, H, W) to flow / 20 (B, 2, H/4, W/4)."""
        second_level = self.conv2(self.conv1(stacked))
        return self.finish(second_level, self.conv3(second_level))


class FlowNetSD(_Pyramid):
    """S for small displacements: 3x3 kernels only, no stride in the first layer, flow from smoothed features."""

    def __init__(self) -> None:
        super().__init__(third=256, smooth=True, flow_bias=True)
        self.conv0 = _conv(6, 64)
        self.conv1, self.conv1_1 = _conv(64, 64, stride=2), _conv(64, 128)
        self.conv2, self.conv2_1 = _conv(128, 128, stride=2), _conv(128, 128)
        self.conv3 = _conv(128, 256, stride=2)

    def forward(self, stacked: Tensor) -> Tensor:
        """(B, 6, H, W) to flow / 20 (B, 2, H/4, W/4)."""
        second_level = self.conv2_1(self.conv2(self.conv1_1(self.conv1(self.conv0(stacked)))))
        return self.finish(second_level, self.conv3(second_level))


class FlowNetFusion(_Network):
    """Chooses between two estimates, at full size."""

    def __init__(self) -> None:
        super().__init__({2: 128, 1: 128, 0: 64}, {1: 32, 0: 16}, smooth=True, flow_bias=True)
        self.conv0 = _conv(11, 64)
        self.conv1, self.conv1_1 = _conv(64, 64, stride=2), _conv(64, 128)
        self.conv2, self.conv2_1 = _conv(128, 128, stride=2), _conv(128, 128)

    def forward(self, stacked: Tensor) -> Tensor:
        """(B, 11, H, W) to flow in pixels (B, 2, H, W)."""
        level_0 = self.conv0(stacked)
        level_1 = self.conv1_1(self.conv1(level_0))
        return self.decode({0: level_0, 1: level_1, 2: self.conv2_1(self.conv2(level_1))})
