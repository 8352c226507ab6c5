"""Clips whose frames say which one they are: ten black or white blocks on top spell the frame's index in binary."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BLOCKS = 10


def coded_frame(index: int, width: int = 80, height: int = 80) -> np.ndarray:
    """A coloured moving pattern (H, W, 3) uint8 RGB; the bar code of `index` fills its upper third."""
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    waves = [np.sin((x * a + y * b) / 9 + index * c) for a, b, c in ((1, 0.5, 0.3), (-0.7, 1, 0.2), (0.4, -1, 0.5))]
    frame = (128 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)
    block = width // BLOCKS
    for bit in range(BLOCKS):
        frame[: height // 3, bit * block : (bit + 1) * block] = 255 * ((index >> bit) & 1)
    return frame


def spelled_index(frame: np.ndarray) -> int:
    """The index that the bar code of one frame (H, W, 3) spells."""
    block, margin = frame.shape[1] // BLOCKS, frame.shape[1] // BLOCKS // 4
    rows = frame[2 : frame.shape[0] // 3 - 2]
    bits = [rows[:, bit * block + margin : (bit + 1) * block - margin].mean() > 128 for bit in range(BLOCKS)]
    return sum(1 << bit for bit, white in enumerate(bits) if white)


@contextmanager
def priority_kept() -> Iterator[None]:
    """SVT-AV1 gives the process of a superuser real-time priority: all else on the machine would wait for the tests."""
    if not hasattr(os, "sched_getscheduler"):  # Linux alone has it
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    os.sched_setscheduler(0, *before)


def write_clip(
    path: Path,
    *,
    frames: Sequence[np.ndarray] | int = 48,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int = 24,
    times_ms: Sequence[int] | None = None,
    codec_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encodes frames (a number: that many coded frames of 80x80), at constant rate or at the given times.

    To the same bytes each time: without x264's macroblock tree, whose result is not always the same, without random ids
    of Matroska, and (cpu-used below zero) with a VP8 whose search does not depend on the time it takes.
    """
    frames = [coded_frame(index) for index in range(frames)] if isinstance(frames, int) else frames
    defaults = {"crf": "16", "preset": "veryfast", "x264-params": "mbtree=0"} if codec == "libx264" else {}
    with priority_kept(), av.open(str(path), "w", options={"fflags": "bitexact"} | (options or {})) as container:
        stream = container.add_stream(codec, rate=fps, options=defaults | (codec_options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        if times_ms is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("decord") is None:
        for item in items:
            if "decord" in item.nodeid:
                item.add_marker(pytest.mark.skip("decord is not installed"))


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    return write_clip


@pytest.fixture(scope="session")
def make_frame() -> Callable[..., np.ndarray]:
    return coded_frame


@pytest.fixture(scope="session")
def spelled() -> Callable[[np.ndarray], list[int]]:
    """The indices that a clip (T, H, W, 3) spells."""
    return lambda clip: [spelled_index(frame) for frame in clip]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole clips by name; all of 48 coded frames, unless the name says otherwise."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    irregular_ms = np.cumsum(rng.integers(5, 200, 48)).tolist()
    mpeg4 = {"bf": "2", "g": "12", "qscale": "2"}
    realtime = {"b": "2M", "cpu-used": "-8", "deadline": "realtime", "g": "30"}
    altref = {"b": "200k", "cpu-used": "4", "deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "20", "g": "48"}
    odd = [coded_frame(index, 81, 67) for index in range(48)]
    return {
        "b_frames": write_clip(folder / "b_frames.mp4", codec_options={"bf": "3", "g": "12"}),
        "open_gop": write_clip(folder / "open_gop.mkv", codec_options={"bf": "3", "g": "10", "x264opts": "open-gop=1"}),
        "gop_250": write_clip(folder / "gop_250.mp4", frames=300, codec_options={"g": "250"}),
        "intra": write_clip(folder / "intra.mp4", codec_options={"g": "1"}),
        "fragments": write_clip(folder / "fragments.mp4", options={"movflags": "frag_keyframe+empty_moov"}),
        "refresh": write_clip(folder / "refresh.mkv", codec_options={"g": "12", "intra-refresh": "1"}),
        "vp8": write_clip(folder / "vp8.webm", codec="libvpx", codec_options=realtime),
        "vp8_altref": write_clip(folder / "vp8_altref.webm", codec="libvpx", codec_options=altref),
        "vp9": write_clip(folder / "vp9.webm", codec="libvpx-vp9", codec_options=realtime),
        "vp9_altref": write_clip(folder / "vp9_altref.webm", codec="libvpx-vp9", codec_options=altref),
        "av1": write_clip(
            folder / "av1.mp4", codec="libsvtav1", codec_options={"preset": "12", "svtav1-params": "lp=1"}
        ),
        "avi": write_clip(folder / "clip.avi", codec="mpeg4", codec_options=mpeg4),
        "mpeg4_mp4": write_clip(folder / "mpeg4.mp4", codec="mpeg4", codec_options=mpeg4),
        "ts": write_clip(folder / "clip.ts", codec_options={"bf": "2", "g": "12"}),
        "variable": write_clip(folder / "vfr.mp4", times_ms=irregular_ms, codec_options={"bf": "2", "g": "12"}),
        "variable_mkv": write_clip(folder / "vfr.mkv", times_ms=irregular_ms, codec_options={"bf": "2", "g": "12"}),
        "late": write_clip(folder / "late.mp4", times_ms=[5000 + 40 * i for i in range(48)], fps=25),
        "odd": write_clip(folder / "odd.mp4", frames=odd, pixels="yuv444p"),
        "odd_avi": write_clip(folder / "odd.avi", frames=odd, codec="mpeg4", codec_options=mpeg4),
        "one": write_clip(folder / "one.mp4", frames=1),
    }
