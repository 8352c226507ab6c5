"""`make bench BASE=<commit>`: this tree's speed against that of another commit, by turns in one run.

Each round measures both (`speed.py`) in processes of their own, with the package and the benchmarks of each commit. The
figure is the ratio of medians, this tree's time over the other's: 1.05 is five percent slower.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from subjects import textured_frames, write_video

from tmal_core.runtime.devices import machine_name

ROOT = Path(__file__).parent.parent.parent
ROUNDS, FILES = 5, 10


def main(base: str) -> int:
    """Measure and print a table; the status of git, if it knows no such commit."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory()))
        tree = place / "base"
        done = subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, base], cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
        stack.callback(subprocess.run, ["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
        write_h264(place / "clips")
        found: dict[Path, list[dict[str, float]]] = {tree: [], ROOT: []}
        for number in range(ROUNDS):
            for which, times in found.items():
                times.append(speed_of(which, place / "clips"))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print(f"{machine_name('cpu')}\n\n| what | {base}, seconds | here, seconds | here / {base} |\n|---|---|---|---|")
    for name in found[ROOT][0]:
        theirs, ours = (statistics.median(times[name] for times in found[which]) for which in (tree, ROOT))
        print(f"| {name} | {theirs:.3f} | {ours:.3f} | {ours / theirs:.3f} |")
    return 0


def speed_of(tree: Path, clips: Path) -> dict[str, float]:
    """What `speed.py` says of the package and the benchmarks of a tree."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(tree / "tests" / "benchmarks")])}
    command = [sys.executable, "-P", Path(__file__).parent / "speed.py", clips]
    done = subprocess.run(command, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_h264(folder: Path) -> None:
    """Clips of 90 frames, a key frame every 12."""
    for number in range(FILES):
        path = folder / f"c{number % 5}" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, textured_frames(number), "libx264", {"g": "12", "crf": "23"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
