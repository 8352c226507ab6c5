"""Opening a video file: what is refused before anything is decoded, and which of its streams is the video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av

from tmal_core.errors import DataError

REMEDY = "Remove it from the list or replace the file."
MAX_PIXELS = 8192 * 8192  # of the largest frame that is decoded: 8K has half of it, a damaged header easily more
MAX_ASPECT = 64  # long over short side: the short one becomes 256 pixels, and the long one grows with it

# Demuxers that turn text, playlists or stills into "video": a file list with such an entry is wrong.
_NOT_VIDEO = {"tty", "concat", "concatf", "hls", "dash", "image2", "image2pipe", "bin", "xbin", "idf", "adf"}
_STILL = av.stream.Disposition.attached_pic | av.stream.Disposition.still_image | av.stream.Disposition.timed_thumbnails


@contextmanager
def open_video(
    path: Path, index: int | None = None
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The opened file and its video stream, set to one thread; closed on leaving.

    Args:
        index: of the stream, as an earlier opening chose it; None chooses the default one with more than a still.

    Raises:
        DataError: the path is missing, a folder, unreadable, empty, holds no video stream, or frames over MAX_PIXELS.
    """
    expected = "a video with at least one frame"
    if fault := _fault(path):
        raise DataError(expected, f"{path} ({fault})", REMEDY)
    try:
        container = opened(path)
    except (av.FFmpegError, OSError) as error:
        raise DataError(expected, f"{path} ({error.strerror or error})", REMEDY) from None
    with container:
        name = container.format.name
        if name in _NOT_VIDEO or name.endswith("_pipe"):
            raise DataError(expected, f"{path} (not a video, FFmpeg reads it as {name})", REMEDY)
        # Cover art of a sound file is a video stream of one frame.
        streams = [s for s in container.streams.video if not s.disposition & _STILL]
        if not streams:
            kind = "audio only" if container.streams.audio else "no video stream"
            raise DataError(expected, f"{path} ({kind})", REMEDY)
        if index is None:
            index = streams[0].index if len(streams) == 1 else _moving(path, [s.index for s in streams])
        stream = next(s for s in streams if s.index == index)
        if stream.codec_context is None:
            raise DataError(expected, f"{path} (no decoder for its codec)", REMEDY)
        height, width = stream.codec_context.height, stream.codec_context.width
        if height * width > MAX_PIXELS:
            got = f"{path} ({width} x {height})"
            raise DataError(f"frames of at most {MAX_PIXELS:,} pixels", got, REMEDY)
        stream.codec_context.options = _limit()  # frames may be larger than their container says
        stream.codec_context.thread_count = 1
        yield container, stream


def opened(path: Path) -> av.container.InputContainer:
    """The file as a container; FFmpeg's errors, its own and OSError, are passed on."""
    # The prefix keeps FFmpeg from reading "clip:1.mp4" as a protocol.
    return av.open(f"file:{path}", options=_limit(), metadata_errors="ignore")


def _limit() -> dict[str, str]:
    return {"max_pixels": str(MAX_PIXELS)}


def _moving(path: Path, indices: list[int]) -> int:
    """The stream that is the video: of those with two packets or more the default one, else the first.

    In a container of its own: seeking back would not lead every format to its start.
    """
    packets: Counter[int] = Counter()
    with opened(path) as container, suppress(av.FFmpegError):
        streams = {index: container.streams[index] for index in indices}
        for packet in container.demux(list(streams.values())):
            packets[packet.stream_index] += packet.size > 0
            if all(packets[index] > 1 for index in indices):
                break
    default = av.stream.Disposition.default
    return max(indices, key=lambda i: (packets[i] > 1, bool(streams[i].disposition & default), -i))


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
