"""The tests again and again, each time with one thing changed that must not matter: `make test-matrix`.

`ROWS="threads-4 busy"` runs some rows alone. A switch can only take away what a processor has, so the table names it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import torch

from tmal_core.runtime.devices import machine_name

ROOT = Path(__file__).parent.parent
ROWS: dict[str, dict[str, str]] = {
    "onednn-avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "onednn-avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "aten-default": {"ATEN_CPU_CAPABILITY": "default"},
    "aten-avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "threads-1": {"TMAL_TEST_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "threads-4": {"TMAL_TEST_THREADS": "4", "OMP_NUM_THREADS": "4"},
    "order-1": {"TMAL_TEST_ORDER": "1"},
    "order-2": {"TMAL_TEST_ORDER": "2"},
    "order-3": {"TMAL_TEST_ORDER": "3"},
    "busy": {},
}
ENDLESS = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


def main(arguments: list[str]) -> int:
    """Run the rows among the arguments, all if there are none; the other arguments are pytest's."""
    rows = [row for row in ROWS if row in arguments] or list(ROWS)
    others = [argument for argument in arguments if argument not in ROWS]
    folder = ROOT / "runs" / "test-matrix"
    folder.mkdir(parents=True, exist_ok=True)
    processor = f"{machine_name('cpu').rpartition(',')[0]} ({torch.backends.cpu.get_cpu_capability()})"
    lines = ["| row | processor | passed | failed | skipped | seconds |", "|---|---|---|---|---|---|"]
    print(*lines, sep="\n", flush=True)
    failed = 0
    for row in rows:
        began = time.monotonic()
        status, counts = _run(row, folder / row, others)
        failed = failed or status
        lines.append(f"| {row} | {processor} | {counts} | {time.monotonic() - began:.0f} |")
        print(lines[-1], flush=True)
        (folder / "matrix.md").write_text("\n".join(lines) + "\n")
    return failed


def _run(row: str, place: Path, others: list[str]) -> tuple[int, str]:
    """Exit status of the tests, and how many passed, failed and were skipped; what they said is in `place`.txt."""
    report = place.with_suffix(".xml")
    report.unlink(missing_ok=True)
    command = ["make", "test", "ARGS=" + shlex.join([f"--junitxml={report}", *others])]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")}
    with ExitStack() as busy, place.with_suffix(".txt").open("w") as said:
        for _ in range((os.cpu_count() or 1) if row == "busy" else 0):
            busy.callback(subprocess.Popen([sys.executable, "-c", ENDLESS]).kill)
        status = subprocess.run(command, cwd=ROOT, env=environment | ROWS[row], stdout=said, stderr=said).returncode
    if not report.exists():
        return status, f"tests ended with exit status {status} | | "
    found = ElementTree.parse(report).getroot().find("testsuite").attrib
    total, skipped = int(found["tests"]), int(found["skipped"])
    failed = int(found["failures"]) + int(found["errors"])
    return status, f"{total - failed - skipped} | {failed} | {skipped}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
