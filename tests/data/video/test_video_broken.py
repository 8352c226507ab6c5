"""Damaged files: frames that decode are used, what is lost is counted, and nothing at all is a clear error."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tmal_core.data.video import decoding as video
from tmal_core.data.video import decord_reader, opening
from tmal_core.data.video import survey as video_survey
from tmal_core.errors import DataError


def cut(source: Path, target: Path, kept: float) -> Path:
    """The first part of a file, as a broken download leaves it."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * kept)])
    return target


@pytest.fixture(scope="module")
def faststart(tmp_path_factory, make_clip) -> Path:
    """An mp4 with its index in front, so that a cut leaves it readable."""
    path = tmp_path_factory.mktemp("faststart") / "clip.mp4"
    return make_clip(path, options={"movflags": "faststart"}, codec_options={"g": "12", "bf": "2"})


def test_cut_mp4(tmp_path, faststart, spelled, capfd):
    path = cut(faststart, tmp_path / "cut.mp4", 0.6)
    info = video.probe(path)
    assert 10 < info.num_frames < 40
    assert info.num_frames + info.lost_frames == 48
    assert spelled(video.read_clip(path)) == list(range(info.num_frames))
    assert not video_survey.survey_video(path)[0].ticks.size, "a damaged file is counted through, not sought in"
    positions = [info.num_frames - 1, 0]
    for _ in ("first", "later"):
        assert spelled(video.read_frames(path, positions)) == positions
    assert capfd.readouterr() == ("", "")


def test_wanted_frame_missing(tmp_path, faststart):
    path = cut(faststart, tmp_path / "cut.mp4", 0.6)
    info = video.probe(path)
    message = (
        rf"frame at position 47, got .*cut\.mp4 \({info.num_frames} frames decode, {info.lost_frames} are lost: "
        rf"positions 0 to {info.num_frames - 1}\)"
    )
    for _ in ("first", "later"):
        with pytest.raises(DataError, match=message):
            video.read_frames(path, [0, 47])
        video._surveys.clear()
    with pytest.raises(DataError, match=r"position 48, got .*clip\.mp4 \(48 frames decode: positions 0 to 47\)"):
        video.read_frames(faststart, [48])


def test_frames_after_a_vp8_frame_that_only_copies_a_reference(assets):
    """The file is a damaged one: its third frame is referred to by none, and makes another reference the golden one."""
    path = assets / "vp8_golden_copied.webm"
    clip = video.read_clip(path)
    assert len(clip) == 12
    for position in range(12):
        assert np.array_equal(video.read_frames(path, [position])[0], clip[position]), position


def test_negative_position(faststart):
    with pytest.raises(DataError, match=r"frame positions from 0 in .*clip\.mp4, got -1"):
        video.read_frames(faststart, [3, -1])


@pytest.mark.parametrize(("name", "kept"), [("avi", 0.8), ("ts", 0.6), ("fragments", 0.6), ("vp8", 0.6), ("vp9", 0.6)])
def test_cut_elsewhere(tmp_path, clips, spelled, name, kept):
    path = cut(clips[name], tmp_path / clips[name].name, kept)
    info = video.probe(path)
    assert 10 < info.num_frames < 46
    shown = spelled(video.read_clip(path))
    # The last whole packet may hold a later frame than those between, which are lost.
    assert shown[:-1] == list(range(info.num_frames - 1))
    assert info.num_frames - 1 <= shown[-1] <= info.num_frames + 2
    last = info.num_frames - 1
    assert spelled(video.read_frames(path, [last])) == shown[-1:]
    # A stream has no beginning and no end: what is missing in between is all that can be known.
    assert info.lost_frames == (shown[-1] - last if name == "ts" else 48 - info.num_frames)


def test_damaged_in_the_middle(tmp_path, faststart, spelled, capfd):
    """Bytes overwritten: what the decoder flags is dropped and counted, and all reads agree on the rest."""
    data = bytearray(faststart.read_bytes())
    with av.open(str(faststart)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    # From the length in front of a frame on: damage within its coefficients alone may pass for other ones.
    for index in range(places[24], places[24] + 300):
        data[index] ^= 0x5A
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    info = video.probe(path)
    assert info.lost_frames > 0
    assert info.num_frames + info.lost_frames == 48
    clip = video.read_clip(path)
    assert len(clip) == info.num_frames
    assert spelled(clip[:12]) == list(range(12))
    assert spelled(clip[-6:]) == list(range(42, 48))
    for position in (0, 20, info.num_frames - 1):
        assert np.array_equal(video.read_frames(path, [position])[0], clip[position])
    assert capfd.readouterr() == ("", "")


def _sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _sound_with_cover(path: Path) -> None:
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = container.add_stream("aac", rate=16000)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
        container.mux(cover.encode())


def _picture(path: Path) -> None:
    still = path.with_suffix(".png")
    av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24").save(str(still))
    still.rename(path)


def _endless_text(path: Path) -> None:
    """An AVI header whose texts are said to be 4 GB long; FFmpeg sets half of it aside."""
    path.write_bytes(b"RIFF\0\1\0\0AVI LIST\xf0\xff\xff\xffINFOISFT\xe0\xff\xff\x7fLavf" + bytes(200))


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.mp4", lambda path: None, "no such file"),
    "folder": ("a.mp4", lambda path: path.mkdir(), "a folder"),
    "empty": ("a.mp4", lambda path: path.touch(), "empty file"),
    "text": ("a.mp4", lambda path: path.write_text("not a video\n" * 99), "Invalid data found"),
    "text_that_ffmpeg_draws": ("a.txt", lambda path: path.write_text("not a video\n" * 99), "FFmpeg reads it as tty"),
    "zeros": ("a.avi", lambda path: path.write_bytes(bytes(5000)), "Invalid data found"),
    "playlist": (
        "a.ffconcat",
        lambda path: path.write_text("ffconcat version 1.0\nfile b.mp4\n"),
        "FFmpeg reads it as concat|No such file",
    ),
    "link_to_itself": ("a.mp4", lambda path: path.symlink_to(path), "a link that leads nowhere"),
    "links_in_a_circle": (
        "a.mp4",
        lambda path: (path.symlink_to("b.mp4"), path.with_name("b.mp4").symlink_to("a.mp4")),
        "a link that leads nowhere",
    ),
    "link_to_nothing": ("a.mp4", lambda path: path.symlink_to("b.mp4"), "a link that leads nowhere"),
    "link_to_a_folder": ("a.mp4", lambda path: path.symlink_to(path.parent), "a folder"),
    "pipe": ("a.mp4", os.mkfifo, "not a regular file"),
    "endless_text_in_avi": ("a.avi", _endless_text, "a damaged AVI header"),
    "picture": ("a.mp4", _picture, "FFmpeg reads it as png_pipe"),
    "sound": ("a.mp4", _sound, "audio only"),
    "sound_with_cover": ("a.mp4", _sound_with_cover, "audio only"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_no_frame_at_all(tmp_path, kind, decoder, capfd):
    name, make, reason = BROKEN[kind]
    path = tmp_path / name
    make(path)
    expected = rf"^expected a video with at least one frame, got {path} \(.*({reason}).*\)\. Remove it"
    for read in (video.probe, video.read_clip, lambda *both: video.read_frames(both[0], [0], both[1])):
        with pytest.raises(DataError, match=expected):
            read(path, decoder)
    assert capfd.readouterr() == ("", "")


def test_index_missing(tmp_path, clips):
    """Without faststart the index comes last: a cut leaves nothing to read."""
    path = cut(clips["b_frames"], tmp_path / "a.mp4", 0.7)
    with pytest.raises(DataError, match=r"a\.mp4 \(Invalid data found"):
        video.probe(path)


def test_index_without_frames(tmp_path, faststart):
    data = faststart.read_bytes()
    path = tmp_path / "a.mp4"
    path.write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(DataError, match=r"a\.mp4 \(.+\)"):
        video.probe(path)


def test_no_permission(tmp_path, make_clip, monkeypatch):
    """As FFmpeg reports it; root, who runs many a container, may read everything."""

    def refuse(name: str, **_: object) -> None:
        raise av.error.PermissionError(13, "Permission denied", name)

    path = make_clip(tmp_path / "a.mp4", frames=1)
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(DataError, match=r"a\.mp4 \(Permission denied\)"):
        video.probe(path)


def test_no_permission_for_a_folder_on_the_way(tmp_path, make_clip, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", frames=1)

    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DataError, match=r"a\.mp4 \(Permission denied\)"):
        video.probe(path)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("avi", "a.mp4"), ("b_frames", "a.avi"), ("vp8", "a.mp4"), ("odd_avi", "a.webm"), ("vp9", "a.txt"), ("ts", "a")],
)
def test_a_wrong_extension_changes_nothing(tmp_path, clips, spelled, name, wrong):
    """The content says what a file is."""
    path = tmp_path / wrong
    shutil.copy(clips[name], path)
    assert dataclasses.astuple(video.probe(path)) == dataclasses.astuple(video.probe(clips[name]))
    for _ in ("first", "later"):
        assert spelled(video.read_frames(path, [40, 3])) == [40, 3]


def test_ten_thousand_frames(tmp_path, make_clip, make_frame, spelled):
    """The bar code spells the position modulo 1,024."""
    frames = [make_frame(index) for index in range(1024)]
    options = {"preset": "ultrafast", "crf": "30", "g": "250"}
    path = make_clip(tmp_path / "long.mp4", frames=[frames[i % 1024] for i in range(10_000)], codec_options=options)
    positions = [0, 9_999, 5_000, 1_023, 1_024]
    for _ in ("first", "later"):
        assert spelled(video.read_frames(path, positions)) == [position % 1024 for position in positions]
    info = video.probe(path)
    assert (info.num_frames, info.lost_frames) == (10_000, 0)
    assert info.duration_s == pytest.approx(10_000 / 24)


def test_a_frame_of_8k(tmp_path, make_clip, make_frame, spelled):
    frame = make_frame(5, 768, 432).repeat(10, axis=0).repeat(10, axis=1)
    path = make_clip(tmp_path / "8k.mp4", frames=[frame], codec_options={"preset": "ultrafast", "crf": "40"})
    info = video.probe(path)
    assert (info.num_frames, info.height, info.width) == (1, 4320, 7680)
    frames = video.read_frames(path, [0])
    assert frames.shape == (1, 4320, 7680, 3)
    assert spelled(frames) == [5]


@pytest.mark.parametrize("name", ["b_frames", "avi", "vp8"])
def test_frames_that_are_too_large_are_refused(clips, monkeypatch, name):
    """Before they are decoded: a damaged header announces frames that take seconds and gigabytes."""
    video._surveys.clear()
    monkeypatch.setattr(opening, "MAX_PIXELS", 80 * 80 - 1)
    words = rf"frames of at most 6,399 pixels, got {clips[name]} \(80 x 80\)|which frames over 6,399 pixels give too"
    with pytest.raises(DataError, match=words):
        video.read_clip(clips[name])


def test_frames_that_are_larger_than_their_container_says(tmp_path, clips):
    """VP8 keeps a size in each key frame: 14 bits each for width and height."""
    data = bytearray(clips["vp8"].read_bytes())
    place = data.index(b"\x9d\x01\x2a") + 3
    assert data[place : place + 4] == bytes([80, 0, 80, 0])
    data[place : place + 4] = b"\xff\x3f\xff\x3f"
    path = tmp_path / "huge.webm"
    path.write_bytes(data)
    try:
        info = video.probe(path)
    except DataError:
        return
    assert info.height * info.width <= opening.MAX_PIXELS
    assert info.lost_frames > 0


def test_more_frames_than_memory_holds(clips, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", refuse)
    for read in (video.read_clip, lambda path: video.read_frames(path, [0])):
        with pytest.raises(DataError, match=r"expected frames that fit into memory, got those of .*b_frames\.mp4"):
            read(clips["b_frames"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("avi", "decord is trusted with whole mp4, webm and mkv files only"),
        ("ts", "decord is trusted with whole mp4, webm and mkv files only"),
        ("open_gop", "decord gives wrong frames where key frames are not closed"),
        ("refresh", "decord gives wrong frames where key frames are not closed"),
        ("mpeg4_mp4", "decord gives wrong frames where key frames are not closed"),
        ("av1", "decord: .+"),
    ],
)
def test_decord_refused_where_it_is_wrong(clips, name, reason):
    with pytest.raises(DataError, match=rf"expected a file that decord reads exactly, got {clips[name]} \({reason}\)"):
        video.read_frames(clips[name], [5], "decord")


def test_decord_refused_on_a_cut_file(tmp_path, faststart):
    path = cut(faststart, tmp_path / "cut.mp4", 0.6)
    with pytest.raises(DataError, match=r"\(\d+ of its frames are lost\)\. Use decoder 'auto' or 'pyav'"):
        video.probe(path, "decord")


def test_decord_refused_when_its_size_is_wrong(clips):
    """decord turns frames by itself; if it ever did not, the size would tell."""
    survey, _ = video_survey.survey_video(clips["b_frames"])
    turned = dataclasses.replace(survey, info=dataclasses.replace(survey.info, height=90))
    with pytest.raises(DataError, match=r"decord gives \(80, 80, 3\), the file has \(90, 80, 3\)"):
        decord_reader.read_positions(clips["b_frames"], turned, [0])


def test_a_file_that_changes_while_it_is_read(tmp_path, faststart):
    path = tmp_path / "a.mp4"
    path.write_bytes(faststart.read_bytes())
    survey, images = video_survey.survey_video(path, {0})
    with pytest.raises(DataError, match=r"frame at position 1, got a file that changed"):
        video._stack(survey, images, [0, 1])
