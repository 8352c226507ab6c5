"""Whole files: every frame is the one asked for, proven by what it spells."""

from __future__ import annotations

import dataclasses
import importlib.util
import multiprocessing
import os
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tmal_core.data.video import decoding as video
from tmal_core.data.video import pyav_reader
from tmal_core.data.video import survey as video_survey
from tmal_core.errors import DataError, SettingsError

H264 = [
    "b_frames",
    "open_gop",
    "gop_250",
    "intra",
    "fragments",
    "refresh",
    "variable",
    "variable_mkv",
    "late",
    "odd",
    "one",
]
NAMES = [*H264, "vp8", "vp8_altref", "vp9", "vp9_altref", "av1", "mpeg4_mp4", "avi", "odd_avi", "ts"]
SEEKABLE = set(NAMES) - {"avi", "odd_avi", "ts"}
DECORD = SEEKABLE - {"open_gop", "refresh", "mpeg4_mp4", "av1"}


def frames_of(name: str) -> int:
    return {"gop_250": 300, "one": 1}.get(name, 48)


@pytest.fixture(autouse=True)
def _forget_surveys():
    video._surveys.clear()


def by_rate(path: Path, position: int) -> np.ndarray:
    """The reader that everybody writes first: the frame shown at position / fps."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        wanted_s = position / float(stream.average_rate)
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= wanted_s - 1e-3:
                break
        return frame.to_ndarray(format="rgb24")


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux has policies of scheduling")
def test_encoding_leaves_the_priority_of_the_process(clips):
    assert clips["av1"].exists() and os.sched_getscheduler(0) not in (os.SCHED_FIFO, os.SCHED_RR)


def test_every_clip_of_the_fixture_is_tested(clips):
    assert set(clips) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_all_frames_in_order(clips, spelled, name):
    clip = video.read_clip(clips[name])
    info = video.probe(clips[name])
    assert spelled(clip) == list(range(frames_of(name)))
    assert clip.dtype == np.uint8
    assert clip.shape == (info.num_frames, info.height, info.width, 3)
    assert info.lost_frames == 0


@pytest.mark.parametrize("name", NAMES)
def test_single_positions_first_and_later(clips, name):
    """The first call decodes the file through, later ones seek: same bytes, wherever the position lies."""
    clip = video.read_clip(clips[name])
    for position in range(0, len(clip), 5 if len(clip) < 100 else 37):
        assert np.array_equal(video.read_frames(clips[name], [position])[0], clip[position]), position
    last = len(clip) - 1
    video._surveys.clear()
    for _ in ("first", "later"):
        assert np.array_equal(video.read_frames(clips[name], [last])[0], clip[last])


@pytest.mark.parametrize("name", NAMES)
def test_positions_unsorted_and_repeated(clips, spelled, name):
    positions = np.random.default_rng(1).integers(0, frames_of(name), 8)
    for _ in ("first", "later"):
        assert spelled(video.read_frames(clips[name], positions)) == positions.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_seeking_is_used_where_time_stamps_are_exact(clips, name):
    """A reader that always decoded through would be right too, but slow."""
    survey, _ = video_survey.survey_video(clips[name])
    assert (survey.ticks.size > 0) == (name in SEEKABLE)
    if survey.ticks.size:
        positions = sorted({0, frames_of(name) // 2, frames_of(name) - 1})
        assert list(pyav_reader._by_time_stamp(clips[name], survey, positions)) == positions


def test_a_seek_that_misses_ends_in_counting(clips, spelled):
    """A survey of another file sends the reader to the wrong place; it notices and counts instead."""
    survey, _ = video_survey.survey_video(clips["b_frames"])
    off = dataclasses.replace(survey, ticks=survey.ticks + 1)
    assert pyav_reader._by_time_stamp(clips["b_frames"], off, [7, 30]) == {}
    images = pyav_reader.read_positions(clips["b_frames"], off, [7, 30])
    assert spelled([images[7], images[30]]) == [7, 30]


@pytest.mark.parametrize("name", ["variable", "variable_mkv", "late"])
def test_a_reader_that_trusts_the_rate_is_wrong_here(clips, spelled, name):
    """The clips tell exact readers from naive ones."""
    assert spelled([by_rate(clips[name], position) for position in (10, 20, 30)]) != [10, 20, 30]


def test_rate_and_duration(clips):
    assert video.probe(clips["b_frames"]) == video.VideoInfo(48, 24.0, 80, 80, 2.0, "h264", 0)
    assert video.probe(clips["one"]) == video.VideoInfo(1, 24.0, 80, 80, 1 / 24, "h264", 0)
    vp9 = video.probe(clips["vp9"])
    assert (vp9.codec, vp9.fps, round(vp9.duration_s, 2)) == ("vp9", 24.0, 2.0)
    avi = video.probe(clips["odd_avi"])
    assert (avi.codec, avi.fps, avi.duration_s, avi.height, avi.width) == ("mpeg4", 24.0, 2.0, 67, 81)
    irregular = video.probe(clips["variable"])
    assert irregular.fps == pytest.approx(47 / (irregular.duration_s - 0.1), rel=0.03)


def test_frames_before_time_zero_are_hidden_by_an_edit_list(tmp_path, make_clip, spelled):
    """Negative time stamps become an edit list: players do not show these frames, and they are not lost."""
    times_ms = [40 * (index - 6) for index in range(48)]
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    path = make_clip(tmp_path / "edit.mp4", times_ms=times_ms, fps=25, options=options, codec_options={"g": "12"})
    assert spelled(video.read_clip(path)) == list(range(6, 48))
    assert spelled(video.read_frames(path, [41, 0, 20])) == [47, 6, 26]
    assert video.probe(path).num_frames == 42
    assert video.probe(path).lost_frames == 0
    if importlib.util.find_spec("decord"):
        with pytest.raises(DataError, match="decord counts 48 frames, 42 decode"):
            video.read_frames(path, [41, 0, 20], "decord")


def remux(source: Path, target: Path, change: Callable[[int, av.Packet], av.Packet]) -> None:
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            changed = change(index, packet)
            changed.stream = stream
            new.mux(changed)


def test_time_stamps_that_repeat_are_not_trusted(tmp_path, clips, spelled):
    def repeat(index: int, packet: av.Packet) -> av.Packet:
        if index == 20:
            packet.pts = packet.dts = packet.pts - packet.duration
        return packet

    path = tmp_path / "repeated.mkv"
    remux(clips["intra"], path, repeat)
    assert not video_survey.survey_video(path)[0].ticks.size
    for _ in ("first", "later"):
        assert spelled(video.read_frames(path, [19, 20, 21])) == [19, 20, 21]


def test_frames_never_shown_are_not_lost(tmp_path, clips):
    """VP8 may hold frames that others refer to and nobody sees."""
    path = tmp_path / "hidden.webm"

    def hide(index: int, packet: av.Packet) -> av.Packet:
        data = bytearray(memoryview(packet))
        if index == 20:
            data[0] &= ~0x10
        changed = av.Packet(bytes(data))
        changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
        changed.is_keyframe = packet.is_keyframe
        return changed

    remux(clips["vp8"], path, hide)
    info = video.probe(path)
    assert (info.num_frames, info.lost_frames) == (47, 0)


def test_avi_that_repeats_frames(tmp_path, make_clip, spelled):
    """AVI fills gaps with empty packets, which end the decoding of those who pass them on; they show nothing new."""
    times_ms = [40, 80, 120, 400, 440, 480, 900]
    path = make_clip(tmp_path / "gaps.avi", frames=7, times_ms=times_ms, codec="mpeg4", codec_options={"qscale": "2"})
    assert spelled(video.read_clip(path)) == list(range(7))
    assert video.probe(path).lost_frames == 0


# What a display matrix (a, b, c, d) asks for, and how a frame is stored that it makes upright.
MATRICES: dict[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]] = {
    (1, 0, 0, 1): lambda frame: frame,
    (0, 1, -1, 0): lambda frame: np.rot90(frame, 1),
    (-1, 0, 0, -1): lambda frame: np.rot90(frame, 2),
    (0, -1, 1, 0): lambda frame: np.rot90(frame, 3),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda frame: frame.swapaxes(0, 1),
    (0, -1, -1, 0): lambda frame: np.rot90(frame.swapaxes(0, 1), 2),
}
ROTATIONS = list(MATRICES)[:4]


@pytest.mark.parametrize(("matrix", "decoder"), [*((m, "pyav") for m in MATRICES), *((m, "decord") for m in ROTATIONS)])
def test_display_matrix(tmp_path, make_clip, make_frame, spelled, matrix, decoder):
    """A phone stores turned or mirrored frames and a matrix in the track header; what comes out stands upright."""
    upright = [make_frame(index, 96, 64) for index in range(8)]
    frames = [np.ascontiguousarray(MATRICES[matrix](frame)) for frame in upright]
    path = make_clip(tmp_path / "turned.mp4", frames=frames, codec_options={"g": "3"})
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    clip = video.read_clip(path, decoder)
    assert clip.shape == (8, 64, 96, 3)
    assert spelled(clip) == list(range(8))
    assert np.abs(clip.astype(int) - np.stack(upright)).mean() < 8
    assert np.array_equal(video.read_frames(path, [5, 2], decoder), clip[[5, 2]])
    assert (video.probe(path).height, video.probe(path).width) == (64, 96)


@pytest.mark.parametrize(
    "tags",
    [{}, {"colorspace": "bt709"}, {"colorspace": "bt2020nc"}, {"color_range": "pc"}, {"colorspace": "smpte170m"}],
)
def test_colours_are_those_of_ffmpeg(tmp_path, make_clip, tags):
    """The reference is FFmpeg's own filter chain."""
    path = make_clip(tmp_path / "colours.mp4", frames=2, codec_options=tags)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        graph = av.filter.Graph()
        chain = (graph.add_buffer(template=stream), graph.add("format", "rgb24"), graph.add("buffersink"))
        graph.link_nodes(*chain).configure()
        graph.push(frame)
        expected = graph.pull().to_ndarray()
    assert np.array_equal(video.read_frames(path, [0])[0], expected)


def test_sizes_that_change_within_a_file_come_out_as_the_first(tmp_path, make_clip, make_frame, spelled):
    parts = [make_clip(tmp_path / f"{size}.h264", frames=[make_frame(size, size, size)] * 3) for size in (96, 64)]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = video.read_clip(path)
    assert clip.shape == (6, 96, 96, 3)
    assert spelled(clip) == [96] * 3 + [64] * 3
    assert np.array_equal(video.read_frames(path, [4])[0], clip[4])


@pytest.mark.parametrize("name", sorted(DECORD))
def test_decord_agrees(clips, spelled, name):
    positions = np.random.default_rng(2).integers(0, frames_of(name), 8)
    assert spelled(video.read_frames(clips[name], positions, "decord")) == positions.tolist()
    assert video.probe(clips[name], "decord") == video.probe(clips[name], "pyav")


def test_decord_reads_whole_clips(clips, spelled):
    assert spelled(video.read_clip(clips["b_frames"], "decord")) == list(range(48))


@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_no_positions(clips, decoder):
    assert video.read_frames(clips["one"], [], decoder).shape == (0, 80, 80, 3)


def test_a_rewritten_file_is_read_anew(tmp_path, make_clip, spelled):
    path = make_clip(tmp_path / "a.mp4", frames=5)
    assert video.probe(path).num_frames == 5
    make_clip(path, frames=9)
    assert spelled(video.read_clip(path)) == list(range(9))


def test_surveys_are_bounded(clips, monkeypatch):
    monkeypatch.setattr(video, "_MAX_SURVEYS", 2)
    for name in ("one", "intra", "odd"):
        video.probe(clips[name])
    assert [Path(path).stem for path, _, _ in video._surveys] == ["intra", "odd"]


def _spelled_in_worker(arguments: tuple[Path, int, str]) -> int:
    path, position, decoder = arguments
    return int(video.read_frames(path, [position], decoder)[0, 2, 4, 0])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_forked_workers_read_what_the_parent_read(clips, decoder):
    """An open reader that crosses a fork hangs; nothing here stays open."""
    expected = [int(video.read_frames(clips["b_frames"], [i], decoder)[0, 2, 4, 0]) for i in range(12)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        work = pool.map_async(_spelled_in_worker, [(clips["b_frames"], i, decoder) for i in range(12)])
        assert work.get(timeout=200) == expected


def test_names_that_look_like_a_protocol(tmp_path, make_clip, spelled, monkeypatch):
    make_clip(tmp_path / "plain.mp4", frames=3).rename(tmp_path / "data:1.mp4")
    monkeypatch.chdir(tmp_path)
    assert spelled(video.read_clip("data:1.mp4")) == [0, 1, 2]


def test_without_the_library_it_is_not_tried(clips, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"expected the library decord, for data\.decoder: decord, got none installed\. Set data\.decoder to auto"
    with pytest.raises(SettingsError, match=message):
        video.read_frames(clips["one"], [0], "decord")
    assert len(video.read_frames(clips["one"], [0])) == 1


def test_unknown_decoder(clips):
    with pytest.raises(SettingsError, match="expected a decoder among auto, decord, pyav, got 'opencv'"):
        video.read_frames(clips["one"], [0], "opencv")


@pytest.mark.parametrize("positions", [[0.5], ["1"], [None], np.array([1.0])])
def test_positions_are_whole_numbers(clips, positions):
    with pytest.raises(DataError, match="expected whole numbers as frame positions"):
        video.read_frames(clips["b_frames"], positions)
