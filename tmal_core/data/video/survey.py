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
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from tmal_core.errors import DataError

REMEDY = "Remove it from the list or replace the file."
MAX_PIXELS = 8192 * 8192  # of the largest frame that is decoded: 8K has half of it, a damaged header easily more

# Demuxers that turn text, playlists or stills into "video": a file list with such an entry is wrong.
_NOT_VIDEO = {"tty", "concat", "concatf", "hls", "dash", "image2", "image2pipe", "bin", "xbin", "idf", "adf"}
# Containers whose time stamps are those of the frames; AVI and MPEG streams carry decoding order or nothing.
_TIMED = {"mov", "mp4", "matroska", "webm"}


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
    key_ticks: np.ndarray  # those of the key frames
    closed: bool  # every key frame is a picture of its own, and nothing that follows it in the file is shown before it


@dataclass
class _Tally:
    """What one pass over a file met beside the frames it delivered."""

    num_packets: int = 0  # packets that should each show one frame
    last_dts: int = -1  # in AVI, the number of the last chunk
    reason: str = ""  # FFmpeg's words for the last thing that went wrong
    key_ticks: list[int] = field(default_factory=list)
    closed: bool = True

    def add(self, packet: av.Packet, shown: bool) -> None:
        self.num_packets += shown
        self.last_dts = self.last_dts if packet.dts is None else packet.dts
        if packet.pts is None:
            return
        if packet.is_keyframe:
            self.key_ticks.append(packet.pts)
        elif self.key_ticks and packet.pts < self.key_ticks[-1]:
            self.closed = False


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The opened file and its first moving video stream, set to one thread; closed on leaving.

    Raises:
        DataError: the path is missing, a folder, unreadable, empty, holds no video stream, or frames over MAX_PIXELS.
    """
    expected, limit = "a video with at least one frame", {"max_pixels": str(MAX_PIXELS)}
    if fault := _fault(path):
        raise DataError(expected, f"{path} ({fault})", REMEDY)
    try:
        # The prefix keeps FFmpeg from reading "clip:1.mp4" as a protocol.
        container = av.open(f"file:{path}", options=limit, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise DataError(expected, f"{path} ({error.strerror or error})", REMEDY) from None
    with container:
        name = container.format.name
        if name in _NOT_VIDEO or name.endswith("_pipe"):
            raise DataError(expected, f"{path} (not a video, FFmpeg reads it as {name})", REMEDY)
        # Cover art of a sound file is a video stream of one frame.
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            kind = "audio only" if container.streams.audio else "no video stream"
            raise DataError(expected, f"{path} ({kind})", REMEDY)
        stream = streams[0]
        if stream.codec_context is None:
            raise DataError(expected, f"{path} (no decoder for its codec)", REMEDY)
        height, width = stream.codec_context.height, stream.codec_context.width
        if height * width > MAX_PIXELS:
            got = f"{path} ({width} x {height})"
            raise DataError(f"frames of at most {MAX_PIXELS:,} pixels", got, REMEDY)
        stream.codec_context.options = limit  # frames may be larger than their container says
        stream.codec_context.thread_count = 1
        yield container, stream


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
            yield from (frame for frame in stream.decode(packet) if not frame.is_corrupt)
        except av.EOFError:
            pass
        except av.FFmpegError as error:
            tally.reason = error.strerror or str(error)
        if packet is None:
            return


class FrameConverter:
    """Frames as upright uint8 RGB (height, width, 3); frames of another size than the file's first are scaled to it.

    Colours go through FFmpeg's default conversion: the matrix and range the frame names, BT.601 limited where it names
    none. A mirrored display matrix and non-square pixels are left as they are.
    """

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        turns = _quarter_turns(frame)
        width, height = (self._height, self._width) if turns % 2 else (self._width, self._height)
        image = self._reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
        return np.rot90(image, turns) if turns else image


def _quarter_turns(frame: av.VideoFrame) -> int:
    """How often the frame is to be turned by 90 degrees counter-clockwise to stand upright, 0..3."""
    return round(frame.rotation / 90) % 4


def _upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """(height, width) in px after rotation."""
    return (frame.width, frame.height) if _quarter_turns(frame) % 2 else (frame.height, frame.width)


def survey_video(path: Path, wanted: Container[int] = ()) -> tuple[Survey, dict[int, np.ndarray]]:
    """Decodes the whole file once; gives its survey and the images (H, W, 3) at the wanted positions on the way.

    Raises:
        DataError: nothing decodes (the message names file and reason).
    """
    tally = _Tally()
    images: dict[int, np.ndarray] = {}
    ticks: list[int | None] = []
    with open_video(path) as (container, stream):
        first = None
        for position, frame in enumerate(decodable_frames(container, stream, tally)):
            if first is None:
                first, convert = frame, FrameConverter(*_upright_size(frame))
            ticks.append(frame.pts)
            tail = frame.duration
            if frame.key_frame and frame.pict_type != PictureType.I:  # a gradual refresh
                tally.closed = False
            if position in wanted:
                images[position] = convert(frame)
        if first is None:
            reason = tally.reason or "no frame in its video stream"
            if reason == os.strerror(errno.EINVAL):
                reason = f"{reason}, which frames over {MAX_PIXELS:,} pixels give too"
            raise DataError("a video with at least one frame", f"{path} ({reason})", REMEDY)
        info = _info(path, container, stream, tally, first, ticks, tail)
        timed = not _TIMED.isdisjoint(container.format.name.split(","))
    order = keys = np.empty(0, dtype=np.int64)
    if timed and info.lost_frames == 0 and tally.key_ticks and None not in ticks:
        order, keys = np.array(ticks, dtype=np.int64), np.unique(np.array(tally.key_ticks, dtype=np.int64))
        if (np.diff(order) <= 0).any() or keys[0] > order[0]:
            order = keys = np.empty(0, dtype=np.int64)
    return Survey(info, order, keys, tally.closed), images


def _info(
    path: Path, container, stream, tally: _Tally, first: av.VideoFrame, ticks: list[int | None], tail: int
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
        missing = stream.frames - (tally.last_dts + 1) if _is_cut_avi(path) else 0
        announced = tally.num_packets + max(missing, 0)
    elif not stream.frames and begin is not None and end is not None:
        announced = num_frames + _missing_at_end(stream, end * tick_s + last_s, fps)
    lost = max(announced, tally.num_packets) - num_frames
    return VideoInfo(num_frames, fps, *_upright_size(first), span_s + last_s, stream.codec.canonical_name, max(lost, 0))


def _missing_at_end(stream, end_s: float, fps: float) -> int:
    """Frames between the last one and the end that Matroska's DURATION tag ("00:00:02.000000000") announces."""
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        gap_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds) - end_s
    except ValueError:
        return 0
    return max(round(gap_s * fps), 0)


def _is_cut_avi(path: Path) -> bool:
    """Whether the file is shorter than its first RIFF chunk says."""
    with path.open("rb") as file:
        return path.stat().st_size < int.from_bytes(file.read(8)[4:], "little") + 8


def _has_endless_info(path: Path) -> bool:
    """Whether the texts in an AVI header announce more bytes than the file has.

    FFmpeg believes it, and sets aside and fills up to 2 GB for one of them: 5 s for a file of 10 KB.
    """
    with path.open("rb") as file:
        start = file.read(1 << 16)
    size, kind = start.find(b"INFO") - 4, start.find(b"INFO") - 8
    if not start.startswith(b"RIFF") or kind < 0 or start[kind:size] != b"LIST":
        return False
    return int.from_bytes(start[size : size + 4], "little") > path.stat().st_size


def _fault(path: Path) -> str:
    """Why a path is not opened; "" where it may be: opening a pipe would wait for somebody to write into it."""
    try:
        if path.is_dir():
            return "a folder"
        if path.is_symlink() and not path.exists():
            return "a link that leads nowhere"
        if not path.exists():
            return "no such file"
        if not path.is_file():
            return "not a regular file"
        if path.stat().st_size == 0:
            return "empty file"
        return "a damaged AVI header" if _has_endless_info(path) else ""
    except OSError as refusal:  # a folder on the way may not be entered, the file not be read
        return refusal.strerror or str(refusal)
