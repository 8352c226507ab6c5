"""Which runs can be looked at, and one of them opened on a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tmal_core.errors import RunError
from tmal_core.experiment import Experiment
from tmal_core.models.methods import METHODS
from tmal_core.runtime.run_folders import Run
from tmal_core.training.loop import BEST
from tmal_core.viz.widgets.inspector_state import InspectorState

FROZEN = ("otam", "protonet", "zero_shot")
"""Methods that need no training, the most telling first."""


class RunChoice:
    """Runs below a folder that have trained weights, and their states.

    Args:
        root: the folder, usually `runs/`.
        frozen: methods without training that are looked at beside the trained ones.
        overrides: dotted settings for all of them, for another device or data folder.
    """

    def __init__(
        self, root: Path, frozen: Sequence[str] = FROZEN[:1], overrides: Mapping[str, Any] | None = None
    ) -> None:
        self.root, self.frozen, self.overrides = Path(root), tuple(frozen), dict(overrides or {})

    def runs(self) -> list[str]:
        """Their names, the one that was touched last first."""
        found: list[tuple[str, str]] = []
        for file in self.root.rglob("run.json"):
            with suppress(RunError):  # of another version, or broken
                if trained(file.parent):
                    found.append(
                        (Run.open(file.parent).record.get("updated", ""), str(file.parent.relative_to(self.root)))
                    )
        return [name for _, name in sorted(found, reverse=True)]

    def splits(self, run: str) -> list[str]:
        """Splits of its data, `val` first: looks at `test` are counted."""
        table = self._experiment(run).catalog.table
        known = set(table["split"])
        return [split for split in ("val", "test", "train") if split in known]

    def open(self, run: str, split: str = "val", episode_type: str | None = None) -> InspectorState:
        """A run on a split.

        Raises:
            RunError: no such run, or one without trained weights.
            TmalError: its data or weights are not what they were.
        """
        folder = self.root / run
        names = trained(folder) if (folder / "run.json").is_file() else []
        if not names:
            known = ", ".join(self.runs()) or "none: `make suite` makes one"
            raise RunError(f"a run with trained weights in {self.root} ({known})", repr(run), "Choose one of them.")
        return InspectorState(self._experiment(run).of_methods([*self.frozen, *names]), split, episode_type)

    def _experiment(self, run: str) -> Experiment:
        return Experiment.of_run(self.root / run, self.overrides)


def trained(folder: Path) -> list[str]:
    """Methods whose trained weights lie in a run folder, in the order of the tables."""
    return [name for name in METHODS if (folder / "checkpoints" / name / BEST).is_file()]
