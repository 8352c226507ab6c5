"""What of a video file really decodes: one exact pass over the whole file with PyAV (FFmpeg).

A position is the index of a frame in presentation order, counted over the frames that decode. Containers announce
frame counts and time stamps that the file does not keep (cut downloads, AVI with B-frames, edit lists), so a position
is never computed from a time: the survey decodes every frame once and writes down the time stamp each one really has.

A frame decodes when the decoder delivers it without flagging it as corrupt. Everything runs on one thread: for small
frames FFmpeg's own threads cost more than the decoding (48 frames of 80x80: 2.7 ms on one thread, 20 ms with PyAV's
defaults and their conversion), and a data loader has its workers.

Letters: F frames that decode, H, W pixels after rotation.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from tmal_core.data.video import opening
from tmal_core.data.video.opening import REMEDY, open_video
from tmal_core.data.video.upright import FrameConverter, Orientation
from tmal_core.errors import DataError

# Containers whose time stamps are those of the frames; AVI and MPEG streams carry decoding order or nothing.
_TIMED = {"mov", "mp4", "matroska", "webm"}
_MOST_HEADERS = 100  # bytes between two packets of Matroska or FLV; 30 are the most that were seen
_LONGEST_HOLE = 10_000  # frames; more is a broken time stamp
# What a decoder is told beside a packet and needs for all later ones: a seek would pass it over.
_FOR_LATER = (
    "palette",
    "new_extradata",
    "param_change",
)
_NOT_SEEKABLE = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
_TRIAL = 8  # frames behind a key frame: enough for what a wrong one leaves in them to be seen


@dataclass(frozen=True)
class VideoInfo:
    """What decodes of one file."""

    num_frames: int
    fps: float  # the mean rate; 0.0 where the file has none
    height: int  # in px after rotation
    width: int
    duration_s: float  # from the first to the end of the last frame
    codec: str
    lost_frames: int  # that the file announces or holds and that do not decode


@dataclass(frozen=True)
class Survey:
    """What decodes of one file, and what is needed to seek."""

    info: VideoInfo
    ticks: np.ndarray  # (F,) int64, sorted: time stamps in the stream's time base; empty where seeking is not exact
    key_ticks: np.ndarray  # those of the key frames: the decoder says so too, whatever the container marks
    closed: bool  # every key frame is a picture of its own, and nothing that follows it in the file is shown before it
    stream: int  # index in the container
    orientation: Orientation  # of the first frame; holds for all of them
    trial: tuple[int, str] | None = None  # a position behind the last key frame, and the digest of its image

    def tried(self, image: np.ndarray | None) -> Survey:
        """What holds after a seek to the trial's position gave this image: where it is another one, nobody seeks."""
        if self.trial is None or (image is not None and digest(image) == self.trial[1]):
            return replace(self, trial=None)
        return replace(self, trial=None, ticks=_NOT_SEEKABLE[0], key_ticks=_NOT_SEEKABLE[1])


@dataclass
class _Tally:
    """What one pass over a file met beside the frames it delivered."""

    num_packets: int = 0  # packets that should each show one frame
    last_dts: int = -1  # in AVI, the number of the last chunk
    reason: str = ""  # FFmpeg's words for the last thing that went wrong
    damaged: bool = False  # something was not as it was written
    ticks: set[int] = field(default_factory=set)  # of these packets
    key_ticks: list[int] = field(default_factory=list)  # as the container marks them
    intra_ticks: list[int] = field(default_factory=list)  # of frames that the decoder calls key frames
    closed: bool = True
    skippable: bool = True  # nothing that later packets need came beside a packet

    def add(self, packet: av.Packet, shown: bool) -> None:
        self.num_packets += shown
        self.last_dts = self.last_dts if packet.dts is None else packet.dts
        if shown and packet.pts is not None:
            self.ticks.add(packet.pts)
        self.damaged = self.damaged or packet.is_corrupt
        for data in packet.iter_sidedata():
            self.skippable = self.skippable and data.data_type not in _FOR_LATER
        if packet.pts is None:
            return
        if packet.is_keyframe:
            self.key_ticks.append(packet.pts)
        elif self.key_ticks and packet.pts < self.key_ticks[-1]:
            self.closed = False


def decodable_frames(container, stream, tally: _Tally | None = None) -> Iterator[av.VideoFrame]:
    """All frames that decode, in presentation order, from where the container stands.

    Reading stops at the first place where the container itself breaks; a packet that does not decode is passed over.
    """
    tally = _Tally() if tally is None else tally
    packets = container.demux(stream)
    hidden_frames = stream.codec.name in ("vp8", "libvpx")
    packet: av.Packet | None
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            tally.reason, packet = error.strerror or str(error), None
        if packet is not None:
            if not packet.size:  # the last one; passed on in between, it would end the decoding
                continue
            # VP8 keeps frames that are only referred to in packets of their own: bit 4 of the first byte is "shown".
            hidden = hidden_frames and not memoryview(packet)[0] & 0x10
            tally.add(packet, shown=not packet.is_discard and not hidden)
        try:
            for frame in stream.decode(packet):
                if frame.is_corrupt:
                    tally.damaged = True
                else:
                    yield frame
        except av.EOFError:
            pass
        except av.FFmpegError as error:
            tally.reason, tally.damaged = error.strerror or str(error), True
        if packet is None:
            return


def survey_video(path: Path, wanted: Container[int] = ()) -> tuple[Survey, dict[int, np.ndarray]]:
    """Decodes the whole file once; gives its survey and the images (H, W, 3) at the wanted positions on the way.

    Raises:
        DataError: nothing decodes (the message names file and reason).
    """
    tally = _Tally()
    images: dict[int, np.ndarray] = {}
    ticks: list[int | None] = []
    with open_video(path) as (container, stream):
        first = newest_key = trial = None
        for position, frame in enumerate(decodable_frames(container, stream, tally)):
            if first is None:
                first, orientation = frame, Orientation.of(frame)
                height, width = _upright_size(path, first, orientation)
                convert = FrameConverter(height, width, orientation)
            ticks.append(frame.pts)
            tail = frame.duration
            if frame.key_frame and frame.pict_type == PictureType.I:
                tally.intra_ticks += [] if frame.pts is None else [frame.pts]
                newest_key = position or None  # no seek leads to the first frame
            elif frame.key_frame:  # a gradual refresh
                tally.closed = False
            if newest_key is not None and position - newest_key <= _TRIAL:
                trial = position, frame
            if position in wanted:
                images[position] = convert(frame)
        if first is None:
            reason = tally.reason or "no frame in its video stream"
            if reason == os.strerror(errno.EINVAL):
                reason = f"{reason}, which frames over {opening.MAX_PIXELS:,} pixels give too"
            raise DataError("a video with at least one frame", f"{path} ({reason})", REMEDY)
        info = _info(path, container, stream, tally, (height, width), ticks, tail)
        order, keys = _seekable(container, tally, ticks) if info.lost_frames == 0 else _NOT_SEEKABLE
        sample = (trial[0], digest(convert(trial[1]))) if trial and order.size else None
        return Survey(info, order, keys, tally.closed, stream.index, orientation, sample), images


def digest(image: np.ndarray) -> str:
    """Of the pixels (H, W, 3)."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def _upright_size(path: Path, frame: av.VideoFrame, orientation: Orientation) -> tuple[int, int]:
    """(height, width) in px."""
    if max(frame.height, frame.width) > opening.MAX_ASPECT * min(frame.height, frame.width):
        shape, limit = f"{frame.width} x {frame.height} pixels", f"{opening.MAX_ASPECT} times as long as wide"
        raise DataError(f"frames at most {limit}", f"{path} ({shape}, more than {limit})", REMEDY)
    return orientation.size(frame.height, frame.width)


def _seekable(container, tally: _Tally, ticks: list[int | None]) -> tuple[np.ndarray, np.ndarray]:
    """Time stamps of the frames and of the key frames; empty where seeking would not be exact.

    A key frame is one that the container marks and the decoder calls intra: Sorenson H.263 and WMV in Matroska, and mp4
    without a table of key frames, mark every frame. The first mark is where the file begins, and nothing seeks to it.
    """
    if _TIMED.isdisjoint(container.format.name.split(",")) or not tally.key_ticks or None in ticks:
        return _NOT_SEEKABLE
    order, intra = np.array(ticks, dtype=np.int64), set(tally.intra_ticks)
    begin, *marked = sorted(set(tally.key_ticks))
    if (np.diff(order) <= 0).any() or begin > order[0] or not tally.skippable:
        return _NOT_SEEKABLE
    keys = [begin, *(tick for tick in marked if tick in intra)]
    tally.closed = tally.closed and all(tick in intra for tick in (begin, *marked) if tick >= order[0])
    return order, np.array(keys, dtype=np.int64)


def _info(
    path: Path, container, stream, tally: _Tally, size: tuple[int, int], ticks: list[int | None], tail: int
) -> VideoInfo:
    """The figures of a file from its frames (`tail`: ticks the last one lasts); the container only fills the gaps."""
    num_frames, begin, end = len(ticks), ticks[0], ticks[-1]
    tick_s = float(stream.time_base or 0)
    span_s = 0.0 if begin is None or end is None else (end - begin) * tick_s
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    measured = (num_frames - 1) / span_s if span_s > 0 else rate
    # The container's rate is the rounder number, but some announce a field rate or the rate of a lost part.
    fps = rate if rate and abs(measured / rate - 1) < 0.02 else measured
    last_s = (tail or 0) * tick_s or (1 / fps if fps else 0.0)
    if not span_s:  # one frame, or no time stamps
        span_s = (num_frames - 1) / fps if fps else 0.0

    announced = stream.frames
    if "mp4" in container.format.name:  # its index knows fragments and edit lists, the announced number does not
        announced = sum(not entry.is_discard for entry in stream.index_entries)
    elif container.format.name == "avi":  # it announces chunks, and empty ones ("show the last frame again") too
        counts_frames = tally.last_dts + 1 == tally.num_packets
        missing = stream.frames - (tally.last_dts + 1) if counts_frames or _is_cut_avi(path) else 0
        announced = tally.num_packets + max(missing, 0)
    elif not stream.frames and begin is not None and end is not None:
        held = tally.ticks.union(tick for tick in ticks if tick is not None)
        gap_s = _end_s(container, stream) - max(held) * tick_s - last_s
        holes = _holes(held, rate * tick_s)
        broken = tally.damaged or len(held) > num_frames or gap_s > 1.5 * tick_s  # both ends are rounded to ticks
        if holes and not (broken or _skips_bytes(path)):
            holes = 0  # a recorder that took no frame there
        announced, held_s = len(held) + holes, (max(held) - min(held)) * tick_s
        if rate and held_s and abs((announced - 1) / held_s / rate - 1) < 0.02:
            fps = rate
        if gap_s > 1.5 * tick_s:
            announced += round(gap_s * fps) if held_s else 1  # the rate of a single frame is not known
    lost = max(announced, tally.num_packets) - num_frames
    return VideoInfo(num_frames, fps, *size, span_s + last_s, stream.codec.canonical_name, max(lost, 0))


def _end_s(container, stream) -> float:
    """Where the header says that the video ends; 0 where it does not say.

    Matroska has a tag for each stream ("00:00:02.000000000"); ASF and FLV have one duration for all of them.
    """
    if container.format.name in ("asf", "flv") and len(container.streams) == 1:
        return (container.duration or 0) / av.time_base
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0


def _holes(ticks: set[int], frames_per_tick: float) -> int:
    """Frames missing between time stamps of a constant rate; 0 where the rate varies or ticks are too coarse for it."""
    steps = np.diff(np.array(sorted(ticks), dtype=np.int64)) * frames_per_tick
    whole = np.rint(steps)
    if not steps.size or not 0 < frames_per_tick < 0.5 or np.median(whole) != 1 or whole.max() > _LONGEST_HOLE:
        return 0
    return int((whole - 1).sum()) if (whole >= 1).all() and (np.abs(steps - whole) <= frames_per_tick).all() else 0


def _skips_bytes(path: Path) -> bool:
    """Whether FFmpeg passed over a broken part: more than headers lies between two packets, or what cannot be does.

    Packet follows on packet in Matroska and FLV alone. MPEG streams tell nothing; they are taken for unbroken rates.
    """
    with opening.opened(path) as container:
        if container.format.name not in ("matroska,webm", "flv"):
            return container.format.name in ("mpegts", "mpeg")
        places = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
        gaps = ((later or 0) - (place or 0) - size for (place, size), (later, _) in pairwise(places))
        second_video = container.format.name == "flv" and len(container.streams.video) > 1
        return second_video or max(gaps, default=0) > _MOST_HEADERS


def _is_cut_avi(path: Path) -> bool:
    """Whether the file is shorter than its first RIFF chunk says."""
    with path.open("rb") as file:
        return path.stat().st_size < int.from_bytes(file.read(8)[4:], "little") + 8
