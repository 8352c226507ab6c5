"""Mutated video files: whatever the bytes say, frames that agree with each other or an error of the project's own.

The files are read in a process of their own, so that a crash or a hang of a decoder is a failed test and not the end of
all tests. It may take 4 GB of memory: a damaged header asks for more.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

QUICK, THOROUGH = 40, 500
HANG_S = 200.0
"""Wall time after which reading counts as hanging; on a busy machine it is several times the CPU time."""
MAX_CPU_S = 10.0

READER = """
import importlib.util, json, os, resource, sys, time, traceback
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
import numpy as np
from tmal_core.data.video import decoding as video
from tmal_core.errors import TmalError

DECODERS = ["auto", *(["decord"] if importlib.util.find_spec("decord") else [])]

def read(path, decoder):
    try:
        info = video.probe(path, decoder)
        clip = video.read_clip(path, decoder)
        assert clip.shape == (info.num_frames, info.height, info.width, 3) and clip.dtype == np.uint8
        ends = [info.num_frames - 1, 0]
        frames = video.read_frames(path, ends, decoder)
        # decord seeks to wrong frames in damaged files that count right; it is not the default for that.
        assert decoder == "decord" or np.array_equal(frames, clip[ends]), "frames are not those of the clip"
        return "read"
    except TmalError as error:
        assert path in str(error), "the message does not name the file"
        return "refused"

print("ready", flush=True)
for line in sys.stdin:
    path, outcomes, before = line.strip(), [], time.process_time()
    if path.startswith("!"):
        exec(path[1:])
    for decoder in DECODERS:
        try:
            outcomes.append(read(path, decoder))
        except BaseException:
            outcomes.append(traceback.format_exc())
    print(json.dumps([outcomes, time.process_time() - before]), flush=True)
"""

LENGTHS = {"short": 40, "long": 200}
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Reader:
    """The process that reads; ended and started anew when it crashes or hangs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def read(self, path: Path | str) -> tuple[list[str], float]:
        """What came of the file with each decoder, and CPU seconds."""
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            # Libraries that start a thread per core would fill the address space of a large machine with stacks.
            one = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen([sys.executable, "-c", READER], text=True, env=one, **pipes)
            assert self._line() == "ready\n"
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        line = self._line()
        if line:
            outcomes, cpu_s = json.loads(line)
            return outcomes, cpu_s
        code = self._process.wait() if line == "" else "hang"
        self.end()
        return [f"the process ended: {code}"], 0.0

    def _line(self) -> str | None:
        """The next line; empty if the process ended, None if it says nothing."""
        ready, _, _ = select.select([self._process.stdout], [], [], HANG_S)
        return self._process.stdout.readline() if ready else None

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.end()


@pytest.fixture(scope="module")
def originals(tmp_path_factory, make_clip) -> dict[str, bytes]:
    """Small whole clips of 12 frames by file name."""
    folder = tmp_path_factory.mktemp("originals")
    realtime = {"b": "2M", "cpu-used": "-8", "deadline": "realtime"}
    made = [
        make_clip(folder / "h264.mp4", frames=12, codec_options={"g": "6", "bf": "2"}),
        make_clip(folder / "faststart.mp4", frames=12, options={"movflags": "faststart"}),
        make_clip(folder / "fragments.mp4", frames=12, options={"movflags": "frag_keyframe+empty_moov"}),
        make_clip(folder / "h264.mkv", frames=12),
        make_clip(folder / "mpeg4.avi", frames=12, codec="mpeg4", codec_options={"bf": "2", "g": "6", "qscale": "2"}),
        make_clip(folder / "vp8.webm", frames=12, codec="libvpx", codec_options=realtime),
        make_clip(folder / "vp9.webm", frames=12, codec="libvpx-vp9", codec_options=realtime),
    ]
    return {path.name: path.read_bytes() for path in made}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes, most of them where headers and indices are: at the beginning and the end."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        size = len(changed)
        low, high = ((0, min(size, 800)), (max(0, size - 1500), size), (0, size))[rng.integers(3)]
        place = int(rng.integers(low, high)) if high > low else 0
        length = int(rng.integers(1, LENGTHS["long"]))
        match rng.choice(["bytes", "bit", "cut", "overwrite", "remove", "repeat", "number", "insert"]):
            case "bytes":
                for where in rng.integers(0, size, rng.integers(1, 30)) if size else ():
                    changed[where] = rng.integers(256)
            case "bit":
                changed[place : place + 1] = bytes(byte ^ 1 << rng.integers(8) for byte in changed[place : place + 1])
            case "cut":
                del changed[max(place, 1) :]
            case "overwrite":
                changed[place : place + length] = rng.bytes(min(length, size - place))
            case "remove":
                del changed[place : place + length]
            case "repeat":
                changed[place:place] = changed[place : place + length]
            case "number":
                number = int(rng.choice(EXTREMES))
                changed[place : place + 4] = number.to_bytes(4, "big" if rng.integers(2) else "little")
            case "insert":
                changed[place:place] = rng.bytes(int(rng.integers(1, LENGTHS["short"])))
    return bytes(changed)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [QUICK, pytest.param(THOROUGH, marks=pytest.mark.slow)])
def test_mutated_files(reader, originals, tmp_path, number):
    counts: Counter[str] = Counter()
    slowest_s = 0.0
    for index in range(number):
        rng = np.random.default_rng((number, index))
        name = sorted(originals)[index % len(originals)]
        path = tmp_path / f"{index}-{name}"
        path.write_bytes(mutated(originals[name], rng))
        outcomes, cpu_s = reader.read(path)
        assert set(outcomes) <= {"read", "refused"}, "\n".join([f"{path} ({number=}, {index=})", *outcomes])
        counts.update([outcomes[0]])
        slowest_s = max(slowest_s, cpu_s)
        path.unlink()
    assert slowest_s < MAX_CPU_S
    assert min(counts["read"], counts["refused"]) > number / 8, f"the mutations are too mild or too harsh: {counts}"
    print(f"{number} files: {dict(counts)}, the slowest took {slowest_s:.2f} s of CPU")


def test_whole_files_are_read(reader, originals, tmp_path):
    """Else "refused" would say nothing about mutations."""
    for name, data in originals.items():
        (tmp_path / name).write_bytes(data)
        outcomes, _ = reader.read(tmp_path / name)
        assert outcomes in (
            ["read"],
            ["read", "refused" if name.endswith("avi") else "read"],
        )


def test_the_reader_notices_a_crash_and_a_hang(reader, tmp_path, monkeypatch):
    """The test of the test; afterwards it reads again."""
    (tmp_path / "empty.mp4").touch()
    assert reader.read("!os.abort()")[0] == ["the process ended: -6"]
    assert set(reader.read(tmp_path / "empty.mp4")[0]) == {"refused"}
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "HANG_S", 0.2)
        assert reader.read("!time.sleep(99)")[0] == ["the process ended: hang"]
    assert set(reader.read(tmp_path / "empty.mp4")[0]) == {"refused"}
