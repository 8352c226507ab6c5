"""Clips as points before and after training, in a notebook: a point plays its clip, a cell of the confusion matrix
opens the episodes behind it.

The page and the exported file are drawn by the same scripts (`page/features.js`).
"""

from __future__ import annotations

from pathlib import Path

from tmal_core.errors import EpisodeError
from tmal_core.viz.widgets import feature_export
from tmal_core.viz.widgets.clip_sheets import ClipSheet, clip_sheet
from tmal_core.viz.widgets.episode_inspector import EpisodeInspector
from tmal_core.viz.widgets.feature_state import FeatureState
from tmal_core.viz.widgets.feature_view import features_view
from tmal_core.viz.widgets.page_widget import PageWidget


class FeatureMap(PageWidget):
    """An interactive view of features by class.

    Args:
        state: what is shown; it may be changed from Python too, followed by `refresh`.
        folder: where "save as picture" and "save as page" put their files.
        inspector: of the same split; it shows the episodes that are opened here.
    """

    _esm = feature_export.script(live=True)
    _css = feature_export.style()
    ASKED = frozenset({"choose", "episode", "clips", "export"})

    def __init__(
        self, state: FeatureState, folder: str | Path = ".", inspector: EpisodeInspector | None = None
    ) -> None:
        super().__init__()
        self.state, self.folder, self.inspector = state, Path(folder), inspector
        self.refresh()

    def refresh(self) -> None:
        """Show the state as it is now."""
        self.view = features_view(self.state, self.inspector is not None)

    def picture(self) -> bytes:
        """Points before and after, and the confusion, on paper."""
        return feature_export.picture(self.state)

    def _choose(self, changes: dict[str, str]) -> None:
        self.state.choose(**changes)
        self.send({"error": ""})
        self.refresh()

    def _episode(self, number: int, query: int) -> None:
        """Open an episode in the inspector, as the method answers it whose confusion is shown.

        Raises:
            EpisodeError: the inspector has gone to another run or split.
        """
        assert self.inspector is not None  # the page offers it only then
        if self.inspector.state.answers is not self.state.answers:
            expected = f"an inspector of the same run and of {self.state.answers.split}"
            remedy = "Go back to them in the inspector."
            raise EpisodeError(expected, f"one of {self.inspector.state.answers.split}", remedy)
        drawn = vars(self.state.drawn(self.state.choice))
        self.inspector.state.choose(**drawn, method=self.state.choice.after, number=number, query=query)
        self.inspector.refresh()
        self.send({"error": "", "opened": f"episode {number}, query {query + 1} is open in the inspector"})

    def _made_sheet(self, row: int) -> ClipSheet:
        return clip_sheet(self.state.answers.reader(self.state.before), row)

    def _export(self, kind: str) -> None:
        choice = self.state.choice
        path = self.folder / f"features-{choice.after}-{choice.episode_type}.{kind}"
        {"png": feature_export.save_picture, "html": feature_export.save_page}[kind](self.state, path)
        self.send({"saved": str(path)})
