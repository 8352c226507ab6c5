"""Files that a folder of somebody's own videos may hold: right at the first read and at all later ones, or refused.

What is drawn in them and what is right is described in `tests/assets/README.md`.
"""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import av
import numpy as np
import pytest

from tmal_core.data.video import decoding as video
from tmal_core.data.video import opening, pyav_reader
from tmal_core.data.video import survey as video_survey
from tmal_core.errors import DataError

_CASES = Path(__file__).parents[2] / "assets" / "video_cases"
_EXPECTED = json.loads((_CASES / "expected.json").read_text())
READ = [name for name, case in _EXPECTED["files"].items() if case["positions"]]


@pytest.fixture(autouse=True)
def _forget_surveys():
    video._surveys.clear()


def quadrants(frame: np.ndarray) -> np.ndarray:
    """(4, 3): mean RGB of upper left, upper right, lower left and lower right."""
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    halves = (frame[:height], frame[height:])
    return np.array([part.mean((0, 1)) for half in halves for part in (half[:, :width], half[:, width:])])


def test_every_file_is_tested():
    files = {path.name for path in _CASES.iterdir()} - {"expected.json"}
    assert files == {*READ, "damaged_middle.mkv", "strip_1x8192.mkv"}


@pytest.mark.parametrize("name", READ)
def test_each_position_at_first_and_later(name):
    """Together at first (the file is decoded through), then by seeking: together, some of them, and each alone."""
    case, path = _EXPECTED["files"][name], _CASES / name
    positions = [int(position) for position in case["positions"]]
    chosen = [positions, positions, positions[2:], *([position] for position in positions)]
    for asked in chosen:
        for position, frame in zip(asked, video.read_frames(path, asked), strict=True):
            wrong = np.abs(quadrants(frame) - case["positions"][str(position)]["quadrants_rgb"]).max()
            assert wrong <= case.get("tolerance", _EXPECTED["tolerance"]), (asked, position)
    info = video.probe(path)
    found = (info.num_frames, info.width, info.height, info.lost_frames)
    assert found == tuple(case[key] for key in ("frames", "width", "height", "lost_frames"))
    assert np.array_equal(video.read_clip(path)[positions], video.read_frames(path, positions))


@pytest.mark.parametrize("name", READ)
def test_decord_is_refused_where_it_is_wrong(name):
    case, path = _EXPECTED["files"][name], _CASES / name
    try:
        frame = video.read_frames(path, [5], "decord")[0]
    except DataError as refusal:
        assert refusal.expected == "a file that decord reads exactly"
    else:
        wrong = np.abs(quadrants(frame) - case["positions"]["5"]["quadrants_rgb"]).max()
        assert wrong <= case.get("tolerance", _EXPECTED["tolerance"])


def test_decord_is_refused_when_it_gives_another_picture():
    with pytest.raises(DataError, match=r"mirrored\.mp4 \(decord gives another picture at position 5\)\. Use decoder"):
        video.read_frames(_CASES / "mirrored.mp4", [5], "decord")


def test_a_strip_is_refused_for_its_shape():
    """Its short side would become 256 pixels, and the long one two million."""
    words = r"frames at most 64 times as long as wide, got .*strip_1x8192\.mkv \(8192 x 1 pixels, more than 64 times"
    with pytest.raises(DataError, match=words):
        video.probe(_CASES / "strip_1x8192.mkv")


def test_lost_and_read_add_up():
    info = video.probe(_CASES / "damaged_middle.mkv")
    assert (info.num_frames, info.lost_frames, info.fps) == (18, 6, 12.0)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mkv", "libx264", "yuv420p"),
        ("a.mkv", "mjpeg", "yuvj420p"),
        ("a.flv", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
    ],
)
def test_wherever_the_damage_lies_lost_and_read_add_up(tmp_path, make_clip, name, codec, pixels):
    path = make_clip(tmp_path / name, frames=24, codec=codec, pixels=pixels, codec_options={"g": "12"})
    data, rng = path.read_bytes(), random.Random(1)
    # Between the head and the tail of each: without its index an mp4 holds nothing.
    for place in rng.sample(range(len(data) // 5, len(data) * 4 // 5), 20):
        damaged = tmp_path / f"damaged_{name}"
        damaged.write_bytes(data[:place] + rng.randbytes(200) + data[place + 200 :])
        video._surveys.clear()
        info = video.probe(damaged)
        assert info.num_frames + info.lost_frames == 24, place


@pytest.mark.parametrize("name", ["pause.mkv", "pause.flv", "pause.mp4", "pause.avi"])
def test_a_recorder_that_took_no_frame_lost_none(tmp_path, make_clip, spelled, name):
    """At a constant rate otherwise, and nothing in the file is broken."""
    times_ms = [40 * index + 400 * (index >= 12) for index in range(24)]
    path = make_clip(tmp_path / name, frames=24, times_ms=times_ms, fps=25, codec_options={"g": "8"})
    assert (video.probe(path).num_frames, video.probe(path).lost_frames) == (24, 0)
    assert spelled(video.read_frames(path, [11, 12, 23])) == [11, 12, 23]


def _without_key_table(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b"stss") == 1
    path.write_bytes(data.replace(b"stss", b"free"))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"g": "12", "bf": "3"}),
        ("libx264", {"g": "250", "x264opts": "scenecut=100:min-keyint=24"}),
        ("libx264", {"g": "10", "bf": "3", "x264opts": "open-gop=1"}),
        ("libx264", {"g": "12", "intra-refresh": "1"}),
        ("mpeg4", {"g": "12", "bf": "2", "qscale": "2"}),
        ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_every_frame_marked_as_key_frame(tmp_path, make_clip, spelled, codec, options):
    path = make_clip(tmp_path / "clip.mp4", codec=codec, codec_options=options)
    _without_key_table(path)
    clip = video.read_clip(path)
    assert spelled(clip) == list(range(48))
    for asked in ([5], [17], [46], [3, 30], [29, 47]):
        assert np.array_equal(video.read_frames(path, asked), clip[asked]), asked


def test_a_seek_that_disagrees_with_counting_ends_seeking(clips, spelled):
    survey, _ = video_survey.survey_video(clips["b_frames"])
    assert pyav_reader.tried(clips["b_frames"], survey).ticks.size
    position, _ = survey.trial
    other = dataclasses.replace(survey, trial=(position, "of another image"))
    assert not pyav_reader.tried(clips["b_frames"], other).ticks.size
    path = clips["b_frames"]
    video._surveys[video._identity(path)] = other
    assert spelled(video.read_frames(path, [40])) == [40]
    assert not video._surveys[video._identity(path)].ticks.size, "remembered"


def test_no_seek_is_tried_before_one_is_needed(clips, monkeypatch):
    monkeypatch.setattr(pyav_reader, "tried", lambda *_: pytest.fail("a seek was tried"))
    video.probe(clips["b_frames"])
    video._surveys.clear()
    video.read_frames(clips["b_frames"], [7])


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("flip", ["", ":flip=horizontal", ":flip=vertical"])
def test_orientation_in_the_stream_holds_for_all_frames(tmp_path, make_clip, make_frame, degrees, flip):
    """Beside the first picture only; FFmpeg's own matrix is the reference."""
    frames = [make_frame(index, 96, 64) for index in range(36)]
    plain, path = make_clip(tmp_path / "plain.mp4", frames=frames, codec_options={"g": "12"}), tmp_path / "turned.mp4"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        words = f"h264_metadata=display_orientation=insert:rotate={degrees}{flip}"
        change = av.bitstream.BitStreamFilterContext(words, old.streams.video[0])
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            for changed in [packet] if number else change.filter(packet):
                changed.stream = stream
                new.mux(changed)
    stored, shown = video.read_clip(plain), video.read_clip(path)
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
    a, b, _, c, d = np.frombuffer(bytes(first.side_data["DISPLAYMATRIX"]), np.int32)[:5] / 65536
    assert abs(a * d - b * c) == pytest.approx(1)
    assert np.array_equal(shown, _turned(stored, np.round([[a, b], [c, d]]).astype(int)))
    assert np.array_equal(video.read_frames(path, [30, 4]), shown[[30, 4]])


def _turned(clip: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Pixel by pixel: (x, y) goes to (x, y) @ matrix, moved so that none is negative."""
    height, width = clip.shape[1:3]
    y, x = np.mgrid[:height, :width]
    places = np.stack([x, y], axis=-1) @ matrix
    places -= places.min((0, 1))
    out = np.zeros((len(clip), *(places.max((0, 1)) + 1)[::-1], 3), np.uint8)
    out[:, places[..., 1], places[..., 0]] = clip
    return out


def _with_still(path: Path, still: Path, clip: Path, order: str) -> None:
    with av.open(str(still)) as one, av.open(str(clip)) as many, av.open(str(path), "w") as new:
        sources = {"still": one, "clip": many}
        streams = {name: new.add_stream_from_template(sources[name].streams.video[0]) for name in order.split()}
        for name, source in sources.items():
            streams[name].disposition = av.stream.Disposition(0)
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = streams[name]
                    new.mux(packet)


@pytest.mark.parametrize("order", ["still clip", "clip still"])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_the_stream_with_more_than_a_still(tmp_path, clips, spelled, order, name):
    path = tmp_path / name
    _with_still(path, clips["one"], clips["b_frames"], order)
    assert video.probe(path).num_frames == 48
    assert spelled(video.read_frames(path, [47, 5])) == [47, 5]


def test_two_streams_of_one_frame_each(tmp_path, clips, spelled):
    path = tmp_path / "stills.mkv"
    _with_still(path, clips["one"], clips["one"], "still clip")
    assert video.probe(path).num_frames == 1
    with opening.open_video(path) as (_, stream):
        assert stream.index == 0
