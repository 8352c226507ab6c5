"""The episode inspector: choose an episode, see its clips move, every distance, and what a method predicts.

Features come from the bank, so an episode takes milliseconds; clips are decoded when they are first shown and kept.
What a user can ask wrongly (a way larger than the split, a broken video) is said in one line above the episode.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import lru_cache

import ipywidgets as widgets
import numpy as np

from tmal_core.analysis.inspection import EpisodeResult, evaluate_episode
from tmal_core.config import EpisodeSettings
from tmal_core.data.clips import ClipReader
from tmal_core.data.episodes import EpisodeSampler, episode_types
from tmal_core.errors import EpisodeError, TmalError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import METHODS
from tmal_core.viz.animation import animated_webp, data_uri
from tmal_core.viz.episode_plots import model_pictures
from tmal_core.viz.widgets.inspector_page import episode_page

WHOLE, MODEL = "whole clip", "what the model reads"
MAX_FRAMES = 48  # of a whole clip; longer ones are shown at their speed with frames left out
MODEL_FPS = 4.0
MAX_PICTURES = 512
SEARCHED = 1000
"""Episodes that `next mistake` looks through."""
ROOT = "tmal-inspector"
"""CSS class of the inspector's own node."""
QUIET = f"""<style onload="
const root = this.closest('.{ROOT}');
const mark = () => root.querySelectorAll('select, input, button').forEach(
    control => control.setAttribute('data-lm-suppress-shortcuts', ''));
new MutationObserver(mark).observe(root, {{childList: true, subtree: true}});
mark();
"></style>"""
# JupyterLab takes a key (m: Markdown, d d: delete) for the notebook unless the very node with the focus carries this
# attribute. ipywidgets cannot set it and leaves scripts out; the handler of a style sheet runs wherever it is shown.


class EpisodeInspector(widgets.VBox):
    """An interactive view of the episodes of one split.

    Args:
        reader: of the split's clips.
        start: where the episode's way, shot and queries start.
        models: method name -> model.
        banks: method name -> bank of the catalogue's rows.
        episode_type: which one to show first; the first one by default.
        seed: of the episodes, where it starts.

    Attributes:
        result: what is shown now; None while an error is shown.
        controls: the widgets by name: method, episode_type, way, shot, seed, episode, show.

    Raises:
        EpisodeError: no model, a model without a bank, a bank of other videos, or an unknown episode type.
    """

    def __init__(
        self,
        reader: ClipReader,
        start: EpisodeSettings,
        models: Mapping[str, FewShotModel],
        banks: Mapping[str, Bank],
        episode_type: str | None = None,
        seed: int = 0,
    ) -> None:
        self.catalog, self.models, self.banks = reader.catalog, dict(models), dict(banks)
        self._reader, self._queries = reader, start.queries_eval
        self._episode_types = {found.name: found for found in episode_types(self.catalog)}
        self._check(episode_type)
        self.result: EpisodeResult | None = None
        self._picture = lru_cache(MAX_PICTURES)(self._animated)
        self._sampler = lru_cache(1)(self._made_sampler)  # making one walks over the whole catalogue
        self._note, self._page = widgets.HTML(), widgets.HTML()
        self.controls = c = self._controls(start, episode_type, seed)
        for control in c.values():
            control.observe(self._refresh, names="value")
        mistake = widgets.Button(description="next mistake", icon="step-forward")
        mistake.on_click(lambda _: self.next_mistake())
        above = widgets.HBox([c["method"], c["episode_type"]])
        numbers = widgets.HBox([c["way"], c["shot"], c["seed"], c["episode"], mistake])
        super().__init__([above, numbers, c["show"], self._note, self._page, widgets.HTML(QUIET)])
        self.add_class(ROOT)
        self._refresh()

    @property
    def message(self) -> str:
        """The line above the episode."""
        return self._note.value

    @property
    def page(self) -> str:
        """The episode as HTML; empty while an error is shown."""
        return self._page.value

    def next_mistake(self) -> None:
        """Go to the next episode with a mistake, or say that there is none among the next `SEARCHED`."""
        if self.result is None:
            return
        start = self.controls["episode"].value + 1
        for number in range(start, start + SEARCHED):
            if not self._evaluate(number).correct.all():
                self.controls["episode"].value = number
                return
        self._note.value = f"No mistake in episodes {start} to {start + SEARCHED - 1}."

    def _controls(self, e: EpisodeSettings, episode_type: str | None, seed: int) -> dict[str, widgets.ValueWidget]:
        titles = [(METHODS[name].title if name in METHODS else name, name) for name in self.models]
        names = list(self._episode_types)
        number = {"layout": widgets.Layout(width="150px"), "style": {"description_width": "60px"}, "max": 10**9}
        wide = {"layout": widgets.Layout(width="300px"), "style": {"description_width": "70px"}}
        return {
            "method": widgets.Dropdown(options=titles, description="method", **wide),
            "episode_type": widgets.Dropdown(
                options=names, value=episode_type or names[0], description="episode type", **wide
            ),
            "way": widgets.BoundedIntText(e.way, min=2, description="way", **number),
            "shot": widgets.BoundedIntText(e.shot, min=1, description="shot", **number),
            "seed": widgets.BoundedIntText(seed, min=0, description="seed", **number),
            "episode": widgets.BoundedIntText(0, min=0, description="episode", **number),
            "show": widgets.ToggleButtons(options=[WHOLE, MODEL], style={"button_width": "170px"}),
        }

    def _refresh(self, _change: object = None) -> None:
        show, asked = self.controls["show"].value, self.controls["way"].value
        try:
            self.result = found = self._evaluate(self.controls["episode"].value)
            self._page.value = episode_page(found, self.catalog, lambda row: self._picture(row, show))
            way = len(found.question.classes)
            less = f" (classes of a group, so {way}-way)" if way < asked else ""
            right = f"{int(found.correct.sum())} of {len(found.correct)} right"
            self._note.value = f"{right}, chance is {100 / way:.0f} %{less}."
        except TmalError as error:
            self.result, self._page.value = None, ""
            line = html.escape(" ".join(str(error).split()))
            self._note.value = f'<span style="color:#c8553d">{line}</span>'

    def _evaluate(self, number: int) -> EpisodeResult:
        method, *key = (self.controls[name].value for name in ("method", "episode_type", "way", "shot", "seed"))
        return evaluate_episode(self.models[method], self.banks[method], self._sampler(*key)[number])

    def _made_sampler(self, episode_type: str, way: int, shot: int, seed: int) -> EpisodeSampler:
        return EpisodeSampler(self.catalog, self._episode_types[episode_type], way, shot, self._queries, seed)

    def _animated(self, row: int, show: str) -> str:
        """Address of the moving picture of a row."""
        if show == MODEL:
            return data_uri(animated_webp(model_pictures(self._reader, [row])[0], MODEL_FPS))
        num_frames = int(self.catalog.table["num_frames"].iat[row])
        positions = np.unique(np.linspace(0, num_frames - 1, min(num_frames, MAX_FRAMES)).round().astype(int))
        fps = float(self.catalog.table["fps"].iat[row]) * len(positions) / num_frames
        return data_uri(animated_webp(self._reader.frames(row, positions), fps))

    def _check(self, episode_type: str | None) -> None:
        if not self.models or set(self.models) != set(self.banks):
            got = f"models {sorted(self.models)} and banks {sorted(self.banks)}"
            raise EpisodeError("a bank for each of at least one model", got, "Pass both under the same names.")
        videos = len(self.catalog)
        for name, bank in self.banks.items():
            if bank.num_videos != videos:
                got = f"{bank.num_videos} for '{name}'"
                raise EpisodeError(f"a bank of the split's {videos} videos", got, "Use the bank of this split.")
        if episode_type is not None and episode_type not in self._episode_types:
            known = ", ".join(self._episode_types)
            raise EpisodeError(f"an episode type among {known}", repr(episode_type), "Choose one of them.")
