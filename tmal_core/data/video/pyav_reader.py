"""Exact frames with PyAV: seek where the survey and one trial prove it exact, else decode through and count.

With a survey of the file a wanted position has a known time stamp. The reader seeks to the key frame before it, decodes
on, and takes a frame only if its time stamp is the wanted one. Where time stamps cannot be trusted (AVI, MPEG streams,
a damaged file), or a seek does not deliver what it should, the file is decoded from its start and frames are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import av
import numpy as np

from tmal_core.data.video.opening import open_video
from tmal_core.data.video.survey import Survey, decodable_frames
from tmal_core.data.video.upright import FrameConverter


def read_positions(path: Path, survey: Survey, positions: Sequence[int]) -> dict[int, np.ndarray]:
    """Images (H, W, 3) uint8 RGB by position; some are missing only if the file changed since its survey.

    Args:
        positions: sorted, each once, all below `survey.info.num_frames`.
    """
    if not positions:
        return {}
    if survey.ticks.size:
        images = _by_time_stamp(path, survey, positions)
        if len(images) == len(positions):
            return images
    return _by_counting(path, survey, positions)


def tried(path: Path, survey: Survey) -> Survey:
    """The survey after one seek was compared with counting, to the last bit."""
    if survey.trial is None:
        return survey
    position, _ = survey.trial
    return survey.tried(_by_time_stamp(path, survey, [position]).get(position))


def _by_counting(path: Path, survey: Survey, positions: Sequence[int]) -> dict[int, np.ndarray]:
    wanted, convert = set(positions), FrameConverter(survey.info.height, survey.info.width, survey.orientation)
    images: dict[int, np.ndarray] = {}
    with open_video(path, survey.stream) as (container, stream):
        for position, frame in enumerate(decodable_frames(container, stream)):
            if position in wanted:
                images[position] = convert(frame)
                if len(images) == len(wanted):
                    break
    return images


def _by_time_stamp(path: Path, survey: Survey, positions: Sequence[int]) -> dict[int, np.ndarray]:
    """Images by position; fewer than asked for if a seek did not lead to a wanted frame."""
    wanted = {int(survey.ticks[position]): position for position in positions}
    keys = survey.key_ticks[np.searchsorted(survey.key_ticks, list(wanted), side="right") - 1]
    convert = FrameConverter(survey.info.height, survey.info.width, survey.orientation)
    images: dict[int, np.ndarray] = {}
    with open_video(path, survey.stream) as (container, stream):
        # A VP8 frame that nothing refers to may still copy one reference to another, which is lost when it is skipped.
        skipping: Literal["DEFAULT", "NONREF"] = "DEFAULT" if stream.codec.name in ("vp8", "libvpx") else "NONREF"
        packets = container.demux(stream)
        newest_key = keys[0] if keys[0] == survey.key_ticks[0] else None  # a file starts at its first key frame
        try:
            for (tick, position), key in zip(wanted.items(), keys.tolist(), strict=True):
                if newest_key is None or key > newest_key:
                    container.seek(key, stream=stream)
                    packets = container.demux(stream)
                    newest_key = key
                while position not in images:
                    packet = next(packets, None)
                    if packet is None:
                        return images
                    if packet.is_keyframe and packet.pts is not None:
                        newest_key = max(newest_key, packet.pts)
                    # Exact: only frames that nothing refers to are skipped, and none that is wanted.
                    stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else skipping
                    for frame in stream.decode(packet if packet.size else None):
                        if frame.pts in wanted and not frame.is_corrupt:
                            # A seek may lead further back than asked, to what only the container calls a key frame.
                            images.setdefault(wanted[frame.pts], convert(frame))
                        elif frame.pts is not None and frame.pts > tick and position not in images:
                            return images
        except av.FFmpegError:
            pass  # fewer images than asked for: the caller decodes through
    return images
