"""The episode inspector in a notebook: what a page asks goes to the state, what came out goes back as a view.

    page (page/*.js)  ── choose, suppose, search, ... ──►  state
                      ◄── view, news, pictures ───────

The page and the exported file are drawn by the same scripts. Whatever cannot be had is said in one line above the last
episode, which stays.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from tmal_core.analysis.what_if import WhatIf
from tmal_core.errors import TmalError
from tmal_core.viz.widgets import inspector_export
from tmal_core.viz.widgets.clip_sheets import ClipSheet, clip_sheet, large_frame
from tmal_core.viz.widgets.inspector_state import InspectorState
from tmal_core.viz.widgets.inspector_view import table, view
from tmal_core.viz.widgets.page_widget import PageWidget
from tmal_core.viz.widgets.run_choice import RunChoice

FOUND = 60
"""Clips that a search by class or file shows."""


class EpisodeInspector(PageWidget):
    """An interactive view of the episodes of one split.

    Args:
        state: what is shown; it may be changed from Python too, followed by `refresh`.
        folder: where "save as picture" and "save as page" put their files.
        runs: what else can be opened from the page; without it the page stays with this state.
        run: the name in `runs` of the run that is shown.
    """

    _esm = inspector_export.script(live=True)
    _css = inspector_export.style()
    ASKED = frozenset(
        {"open", "choose", "suppose", "rename", "undo", "search", "stop"}
        | {"table", "find", "ask", "file", "clips", "frame", "export"}
    )

    def __init__(
        self, state: InspectorState, folder: str | Path = ".", runs: RunChoice | None = None, run: str = ""
    ) -> None:
        super().__init__()
        self.state, self.folder, self.runs, self.run = state, Path(folder), runs, run
        self._splits = [] if runs is None else runs.splits(run)  # read once a run: it takes the whole catalogue
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.refresh()

    def refresh(self) -> None:
        """Show the state as it is now."""
        shown = view(self.state)
        if self.runs is not None:
            shown["options"] |= {"run": self.runs.runs(), "split": self._splits}
        self.view = {**shown, "run": self.run}

    def picture(self) -> bytes:
        """The episode on paper."""
        return inspector_export.picture(self.state)

    def _shown(self) -> None:
        self.send({"error": "", "searching": False})
        self.refresh()

    def _open(self, run: str | None = None, split: str | None = None) -> None:
        """Another run or split, with the episode type that was looked at where there is one."""
        assert self.runs is not None  # the page offers it only then
        run, kind = run or self.run, self.state.choice.episode_type
        opened = self.runs.open(run, split or self.state.answers.split)
        if kind in opened.answers.episode_types:
            opened.choose(episode_type=kind)
        self.state, self.run, self._splits = opened, run, self.runs.splits(run)
        self._sheet.cache_clear()
        self._shown()

    def _choose(self, changes: dict[str, Any]) -> None:
        self.state.choose(**changes)
        self._shown()

    def _suppose(self, changes: dict[str, Any]) -> None:
        self.state.suppose(**changes)
        self._shown()

    def _rename(self, label: int, name: str) -> None:
        names = {**self.state.what_if.names, label: name.strip()}
        old = self.state.question.classes
        self.state.suppose(names={at: new for at, new in names.items() if new and new != old[at]})
        self._shown()

    def _undo(self) -> None:
        self.state.suppose(**vars(WhatIf()))
        self._shown()

    def _ask(self, support: dict[str, list[int]], query: list[int]) -> None:
        self.state.ask(support, query)
        self._shown()

    def _table(self) -> None:
        self.send({"table": table(self.state)})

    def _find(self, text: str) -> None:
        rows = self.state.answers.catalog.table
        wanted = text.strip().lower()
        named = rows["class_name"].str.lower().str.contains(wanted, regex=False)
        found = rows[named | rows["video"].str.lower().str.contains(wanted, regex=False)].head(FOUND)
        columns = zip(found.index.tolist(), found["video"], found["class_name"], strict=True)
        self.send({"found": [{"row": row, "video": video, "class_name": name} for row, video, name in columns]})

    def _file(self, path: str) -> None:
        row = self.state.answers.add(Path(path).expanduser())
        video = str(self.state.answers.catalog.table["video"].iat[row])
        self.send({"error": "", "file": {"row": row, "video": video, "class_name": "a file from disk"}})

    def _frame(self, row: int, number: int, **asked: int) -> None:
        reader = self.state.answers.reader(self.state.choice.method)
        self.send({**asked, "kinds": ["frame"]}, [large_frame(reader, row, number)])

    def _made_sheet(self, row: int) -> ClipSheet:
        answers = self.state.answers
        return clip_sheet(answers.reader(self.state.choice.method), row, answers.flow())

    def _search(self, kind: Any) -> None:
        """In steps where an event loop runs, so that "stop" and whatever else comes is heard between them."""
        self._stopped = False
        going = self._searching(kind)
        with suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            task = loop.create_task(going)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        asyncio.run(going)  # without a loop nobody could interrupt it

    async def _searching(self, kind: Any) -> None:
        start = self.state.choice
        try:
            for number in self.state.search(kind):
                await asyncio.sleep(0)
                if self._stopped or self.state.choice != start:
                    self.send({"searching": False})
                    return
                if number is not None:
                    self._choose({"number": number})
                    return
        except TmalError as error:
            self.send({"error": error.in_one_line, "searching": False})
            return
        self.send({"searching": False, "error": f"No {kind} answer in the next episodes."})

    def _stop(self) -> None:
        self._stopped = True

    def _export(self, kind: str) -> None:
        if kind == "code":
            self.send({"code": inspector_export.code(self.state)})
            return
        choice = self.state.choice
        asked = "chosen" if self.state.by_hand is not None else f"{choice.episode_type}-{choice.number}"
        path = self.folder / f"inspector-{choice.method}-{asked}.{kind}"
        make = {"png": inspector_export.save_picture, "html": inspector_export.save_page}[kind]
        make(self.state, path)
        self.send({"saved": str(path)})
