"""RAFT (Teed & Deng 2020), torchvision's models, on frames of any size with local weights.

torchvision's networks want values in -1..1, sides that are multiples of 8, and at least 128 pixels a side (their
correlation pyramid halves the 1/8 feature map three times). Frames are padded as in the reference's evaluation on
Sintel, and the flow is cropped back.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torchvision.models import optical_flow

from tmal_core.errors import WeightsError
from tmal_core.flow.frame_pairs import pad_pair
from tmal_core.runtime.tensor_files import describe_content, is_state_dict, read_archive
from tmal_core.runtime.weights_files import entry_of

MODELS = {"raft_small": optical_flow.raft_small, "raft_large": optical_flow.raft_large}
STRIDE = 8
MIN_SIDE = 128


class RAFT(nn.Module):
    """torchvision's RAFT behind `(B, 3, H, W) in 0..255, any size -> flow in pixels`.

    Args:
        name: "raft_small" or "raft_large"; random weights, see `load_raft`.
        num_updates: recurrent updates; 12 as in torchvision's default.
    """

    def __init__(self, name: str, num_updates: int = 12) -> None:
        super().__init__()
        self.raft = MODELS[name](weights=None)
        self.num_updates = num_updates

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..255 twice to (B, 2, H, W) pixels."""
        first, second, inside = pad_pair(first / 127.5 - 1, second / 127.5 - 1, STRIDE, MIN_SIDE)
        return self.raft(first, second, num_flow_updates=self.num_updates)[-1][inside]


def load_raft(name: str, path: Path) -> RAFT:
    """RAFT with the weights of a torchvision `.pth` file, loaded strictly.

    Raises:
        WeightsError: the file is missing, damaged, no such archive, or holds another network.
    """
    expected, remedy = f"weights of {name}", f"Replace it by {entry_of(name).file}."
    state = read_archive(Path(path), expected, remedy)
    if not is_state_dict(state):
        raise WeightsError(expected, f"{path} ({describe_content(state)})", remedy)
    model = RAFT(name)
    try:
        model.raft.load_state_dict(state)
    except RuntimeError as error:
        # A title, then every parameter that does not fit: the first ones say enough.
        differing = [line.strip() for line in str(error).splitlines()[1:]]
        raise WeightsError(expected, f"{path} of another network ({differing[0][:200]})", remedy) from error
    return model
