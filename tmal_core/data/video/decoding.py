"""Reading video: exact frames by position, and what of a file decodes.

`decoder`:
  - "pyav": the exact reader, any container and codec of FFmpeg;
  - "decord": whole mp4, webm and mkv files with closed key frames, refused with an error anywhere else and where its
    number of frames or their size is wrong;
  - "auto": the exact reader. decord counts right in three of the test clips (mkv with open GOPs, mkv with gradual
    refresh, MPEG-4 with B-frames in mp4) and still gives other frames than asked for. Nor is it faster: of its CPU time
    the exact reader takes 0.1 to 0.8 for 80x80 and 0.4 to 0.9 for 320x240 (PyAV 18.1, decord 0.6, one thread each, file
    opened in each call, 8 or 32 of 48 and 8 of 300 frames; h264 at key frame intervals 1, 12, 250 and VP8).

The first call on a file decodes it once from end to end and remembers what decodes (a survey, about 3 KB; the newest
16,384 per process); later calls seek, and the fractions above are theirs: 8 of 300 frames of 320x240, all of them key
frames, take 260 ms of CPU at first and 12 ms later. Files are open within a call only.
"""

from __future__ import annotations

import importlib.util
import operator
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tmal_core.data.video import decord_reader, pyav_reader
from tmal_core.data.video.opening import REMEDY
from tmal_core.data.video.survey import Survey, VideoInfo, survey_video
from tmal_core.errors import DataError, SettingsError

__all__ = ["DECODERS", "VideoInfo", "probe", "read_clip", "read_frames"]

DECODERS = ("auto", "decord", "pyav")

_MAX_SURVEYS = 16_384
_surveys: OrderedDict[tuple[str, int, int], Survey] = OrderedDict()


def probe(path: str | Path, decoder: str = "auto") -> VideoInfo:
    """What of a file decodes: number of frames, fps, size after rotation, duration, codec, frames lost.

    Raises:
        DataError: no frame decodes, or `decoder="decord"` and decord does not read the file exactly.

    >>> from tmal_core.data.diagnostic.generation import write_clip
    >>> file = getfixture("tmp_path") / "clip.mp4"
    >>> write_clip(file, np.zeros((5, 64, 48, 3), np.uint8), fps=24)
    >>> info = probe(file)
    >>> info.num_frames, info.fps, (info.height, info.width), info.codec, info.lost_frames
    (5, 24.0, (64, 48), 'h264', 0)
    """
    survey, _ = _read(Path(path), decoder, ())
    return survey.info


def read_frames(path: str | Path, positions: Sequence[int] | np.ndarray, decoder: str = "auto") -> np.ndarray:
    """The frames at the given positions as uint8 RGB (T, H, W, 3), upright.

    Args:
        positions: T indices into the frames that decode, in presentation order, from 0; in any order, may repeat.

    Raises:
        DataError: no frame decodes, a position is negative or past the last frame that decodes, or the frames are more
            than memory holds.

    >>> from tmal_core.data.diagnostic.generation import write_clip
    >>> file = getfixture("tmp_path") / "clip.mp4"
    >>> write_clip(file, np.zeros((5, 64, 48, 3), np.uint8))
    >>> read_frames(file, [4, 0, 4]).shape
    (3, 64, 48, 3)
    """
    try:
        asked = [operator.index(position) for position in positions]
    except TypeError:
        raise DataError("whole numbers as frame positions", f"{positions!r}", "Round them first.") from None
    if asked and min(asked) < 0:
        raise DataError(f"frame positions from 0 in {path}", f"{min(asked)}", "Positions do not count from the end.")
    with _enough_memory(path):
        survey, images = _read(Path(path), decoder, sorted(set(asked)))
        return _stack(survey, images, asked)


def read_clip(path: str | Path, decoder: str = "auto") -> np.ndarray:
    """All frames that decode as uint8 RGB (F, H, W, 3), upright.

    Raises:
        DataError: no frame decodes, or the frames are more than memory holds.

    >>> from tmal_core.data.diagnostic.generation import write_clip
    >>> file = getfixture("tmp_path") / "clip.mp4"
    >>> write_clip(file, np.zeros((5, 64, 48, 3), np.uint8))
    >>> read_clip(file).shape
    (5, 64, 48, 3)
    """
    with _enough_memory(path):
        survey, images = _read(Path(path), decoder, None)
        return _stack(survey, images, range(survey.info.num_frames))


def _read(path: Path, decoder: str, positions: Sequence[int] | None) -> tuple[Survey, dict[int, np.ndarray]]:
    """The survey of a file and its images at the sorted positions (None: at all of them)."""
    if decoder not in DECODERS:
        raise SettingsError(f"a decoder among {', '.join(DECODERS)}", repr(decoder), "Set data.decoder to one of them.")
    if decoder == "decord" and importlib.util.find_spec("decord") is None:
        remedy = "Set data.decoder to auto: it is exact for every file. decord has wheels for x86_64 only."
        raise SettingsError("the library decord, for data.decoder: decord", "none installed", remedy)
    key, images = _identity(path), None
    survey = _surveys.get(key)
    if survey is None:
        wanted = () if decoder == "decord" else range(sys.maxsize) if positions is None else set(positions)
        survey, images = survey_video(path, wanted)
        _surveys[key] = survey
        if len(_surveys) > _MAX_SURVEYS:
            _surveys.popitem(last=False)
    num_frames = survey.info.num_frames
    positions = range(num_frames) if positions is None else positions
    if positions and positions[-1] >= num_frames:
        lost = f", {survey.info.lost_frames} are lost" if survey.info.lost_frames else ""
        got = f"{path} ({num_frames} frames decode{lost}: positions 0 to {num_frames - 1})"
        raise DataError(f"a video with a frame at position {positions[-1]}", got, "Build the catalogue anew.")
    if decoder == "decord":
        return survey, decord_reader.read_positions(path, survey, positions)
    if images is None and positions:
        survey = _surveys[key] = pyav_reader.tried(path, survey)
        images = pyav_reader.read_positions(path, survey, positions)
    return survey, images or {}


def _identity(path: Path) -> tuple[str, int, int]:
    """A file as it is now: a replaced or rewritten one gets a new survey."""
    try:
        stat = path.stat()
    except OSError:
        return str(path), -1, -1  # opening it will say what is wrong
    return str(path), stat.st_size, stat.st_mtime_ns


@contextmanager
def _enough_memory(path: str | Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise DataError("frames that fit into memory", f"those of {path}", "Read fewer of them at once.") from None


def _stack(survey: Survey, images: dict[int, np.ndarray], positions: Sequence[int]) -> np.ndarray:
    """The images at the positions as one array; an image stays missing only if the file changed in between."""
    info = survey.info
    frames = np.empty((len(positions), info.height, info.width, 3), dtype=np.uint8)
    for index, position in enumerate(positions):
        if position not in images:
            raise DataError(f"the frame at position {position}", "a file that changed while it was read", REMEDY)
        frames[index] = images[position]
    return frames
