"""`make bench`: run the benchmarks named on the command line, or all; one JSON line per figure, kept under `runs/`.

A benchmark is a module `bench_<name>.py` with `rows()`, an iterator of dicts with `name`, `value`, `unit`, `bar` and
`limit`. Figures are ratios measured in one run, so that other load on the machine weighs on both sides.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from datetime import datetime
from pathlib import Path

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
    with (folder / "bench.jsonl").open("w", encoding="utf-8") as file:
        for name in names or known:
            spec = importlib.util.spec_from_file_location(f"bench_{name}", known[name])
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            for row in module.rows():
                line = json.dumps({"benchmark": name, "machine": platform.processor() or platform.machine(), **row})
                print(line, flush=True)
                file.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
