"""What became of the videos of an extraction: counts, and `flow_report.csv` with one row per broken or remade video.

Shards write a report each, `flow_report.<rank>of<shards>.csv`; the one that ends last joins them. A report of the whole
table takes the place of theirs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tmal_core.runtime.tables import load_csv, save_csv

REPORT_NAME = "flow_report.csv"


@dataclass(frozen=True)
class Outcome:
    """What became of one video."""

    video: str
    status: str
    """"kept" (was there), "made" (was missing), "remade" (was stale or damaged) or "broken" (no flow)."""
    reason: str = ""


@dataclass(frozen=True)
class ExtractReport:
    """What became of all videos of this shard, in the order of the table."""

    outcomes: list[Outcome]
    path: Path
    """The CSV file with one row per broken or remade video; only its header when all is well."""

    @property
    def counts(self) -> Counter[str]:
        """Number of videos by status."""
        return Counter(outcome.status for outcome in self.outcomes)

    @property
    def broken(self) -> list[Outcome]:
        """Videos without flow."""
        return [outcome for outcome in self.outcomes if outcome.status == "broken"]

    def __str__(self) -> str:
        counts = ", ".join(f"{self.counts[status]} {status}" for status in ("made", "kept", "remade", "broken"))
        return f"flow of {len(self.outcomes)} videos: {counts}" + (f"; see {self.path}" if self.broken else "")


def shard_path(root: Path, rank: int, world_size: int) -> Path:
    """Where a shard's report lies."""
    return root / (REPORT_NAME if world_size == 1 else f"flow_report.{rank}of{world_size}.csv")


def write_report(report: ExtractReport) -> None:
    """Write the file of a report."""
    rows = [vars(outcome) for outcome in report.outcomes if outcome.status in ("broken", "remade")]
    save_csv(pd.DataFrame(rows, columns=["video", "status", "reason"]), report.path)


def join_reports(root: Path, world_size: int) -> None:
    """The reports of all shards as one file, once all are there; reports of other divisions are removed."""
    shards = [shard_path(root, rank, world_size) for rank in range(world_size)]
    for other in root.glob("flow_report.*of*.csv"):
        if other not in shards:
            other.unlink(missing_ok=True)
    if world_size > 1 and all(shard.is_file() for shard in shards):
        save_csv(pd.concat([load_csv(shard, dtype=str) for shard in shards]), root / REPORT_NAME)
