"""A side network for TMAL: what TS-FSAR's says of each frame, added to the frame features of the tower.

    stages of the tower, of CLIP or with flow and text in them ─► side network ─► class token ─► raised, added

TS-FSAR compares its side network's tokens beside CLIP's features; here there is one feature of a frame, and all that
TMAL does with it, so the tower's is corrected. At the start the correction is zero. Gradients reach what joins inside
the tower, which TS-FSAR does not have.

Letters: n clips, T frames, P patches, W width of the tower, D of the side network, d joint width.
"""

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.errors import SettingsError
from tmal_core.models.open_clip_access import joint_width
from tmal_core.models.side_network import HEAD_WIDTH, SideNetwork


class SideFrames(nn.Module):
    """Tokens of all stages of a tower to what is added to its frame features.

    Every second block from the middle on attends over time, as TS-FSAR's 6, 8 and 10 of twelve. The blocks start from
    the tower's, shrunk.

    Args:
        visual: an image tower of CLIP's own ViT blocks.
        width: D, a multiple of 64 up to W.

    Raises:
        SettingsError: a width that the tower cannot have.
    """

    def __init__(self, visual: Any, width: int) -> None:
        super().__init__()
        clip_width, depth = visual.conv1.out_channels, len(visual.transformer.resblocks)
        if width % HEAD_WIDTH or width > clip_width:
            expected = f"a model.side_width that is a multiple of {HEAD_WIDTH}, up to the tower's {clip_width}"
            raise SettingsError(expected, str(width), "Change it; 0 is no side network.")
        self.side = SideNetwork(clip_width, depth, width, num_frames=1, temporal_blocks=range(depth // 2, depth, 2))
        self.side.start_from(visual)
        self.norm, self.raised = nn.LayerNorm(width), nn.Linear(width, joint_width(visual), bias=False)
        nn.init.zeros_(self.raised.weight)

    def forward(
        self, stages: Iterable[Float[Tensor, "frames l w"]], num_frames: int, low_memory: bool = False
    ) -> Float[Tensor, "frames d"]:
        """Tokens that enter the first block and that leave each, of clips of T frames."""
        return self.raised(self.norm(self.side(stages, low_memory, num_frames)[:, 0]))
