"""`make bench`: run the benchmarks named on the command line, or all; one JSON line per figure, kept under `runs/`.

A benchmark is a module `bench_<name>.py` with `rows()`, an iterator of dicts with `name`, `value`, `unit`, `bar` and
`limit`; one that draws has `rows(folder)`, the folder for its pictures. Figures are ratios measured in one run, so that
other load on the machine weighs on both sides. torch is set up as it is for a user's command. `bench.md` beside
`bench.jsonl` has the same as a table.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType

import torch

from tmal_core.runtime.devices import keep_freed_memory, machine_name

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """Run benchmarks; 1 when one of the names is unknown."""
    known = {file.stem.removeprefix("bench_"): file for file in sorted(HERE.glob("bench_*.py"))}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"expected benchmarks among {', '.join(known)}, got {', '.join(unknown)}", file=sys.stderr)
        return 1
    folder = HERE.parent.parent / "runs" / f"bench-{datetime.now():%Y-%m-%d-%H%M%S}"
    folder.mkdir(parents=True)
    keep_freed_memory()
    machine = machine_name(*(["cuda"] if torch.cuda.is_available() else []))
    lines = []
    with (folder / "bench.jsonl").open("w", encoding="utf-8") as file:
        for name in names or known:
            start = time.perf_counter()
            for row in _rows(_load(name, known[name]), folder):
                line = json.dumps({"benchmark": name, "machine": machine, **row})
                print(line, flush=True)
                file.write(line + "\n")
                lines.append(_table_line(row))
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    head = f"{machine}\n\n| what | measured | bar |\n|---|---|---|\n"
    (folder / "bench.md").write_text(head + "".join(lines), encoding="utf-8")
    return 0


def _table_line(row: dict) -> str:
    """A figure as a line of a Markdown table."""
    value = "not measured" if row["value"] is None else f"{row['value']:,.3g} {row['unit']}".rstrip()
    bar = "" if row["bar"] is None else f"{row['bar']} {row['limit']:g} {row['unit']}".rstrip()
    return f"| {row['name']} | {value} | {bar} |\n"


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _rows(module: ModuleType, folder: Path) -> Iterator[dict]:
    draws = "folder" in inspect.signature(module.rows).parameters
    return module.rows(folder) if draws else module.rows()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
