"""The episode inspector: choose an episode, see its clips move, every distance, and what a method answers.

Features come from the bank, so an answer takes milliseconds; clips are decoded when they are first shown and kept.
What a user can ask wrongly (a way larger than the split, a broken video) is said in one line above the episode.
"""

from __future__ import annotations

import html
from collections import OrderedDict
from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np

from tmal_core.analysis.inspection import EpisodeResult, evaluate_episode
from tmal_core.config import EpisodeSettings
from tmal_core.data.clips import ClipReader
from tmal_core.data.episodes import EpisodeSampler, protocols
from tmal_core.data.sets.catalog import Catalog
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
        protocol: which protocol to show first; the first one by default.
        seed: of the episodes, where it starts.

    Attributes:
        answer: what is shown now; None while an error is shown.
        controls: the widgets by name: method, protocol, way, shot, seed, episode, show.

    Raises:
        EpisodeError: no model, a model without a bank, a bank of other videos, or an unknown protocol.
    """

    def __init__(
        self,
        reader: ClipReader,
        start: EpisodeSettings,
        models: Mapping[str, FewShotModel],
        banks: Mapping[str, Bank],
        protocol: str | None = None,
        seed: int = 0,
    ) -> None:
        catalog = reader.catalog
        self._protocols = {found.name: found for found in protocols(catalog)}
        _check(catalog, models, banks, protocol, list(self._protocols))
        self.catalog, self.models, self.banks = catalog, dict(models), dict(banks)
        self._start, self._seed = start, seed
        self.answer: EpisodeResult | None = None
        self._reader = reader
        self._pictures: OrderedDict[tuple[int, str], str] = OrderedDict()
        self._sampler: tuple[tuple[object, ...], EpisodeSampler] | None = None
        self.controls = self._controls(protocol)
        self._note = widgets.HTML()
        self._page = widgets.HTML()
        for control in self.controls.values():
            control.observe(self._refresh, names="value")
        super().__init__([*self._rows(), self._note, self._page, widgets.HTML(QUIET)])
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
        """Go to the next episode with a wrong answer, or say that there is none among the next `SEARCHED`."""
        if self.answer is None:
            return
        start = self.controls["episode"].value + 1
        for number in range(start, start + SEARCHED):
            if not self._answer(number).correct.all():
                self.controls["episode"].value = number
                return
        self._note.value = f"No mistake in episodes {start} to {start + SEARCHED - 1}."

    def _controls(self, protocol: str | None) -> dict[str, widgets.ValueWidget]:
        titles = [(METHODS[name].title if name in METHODS else name, name) for name in self.models]
        e = self._start
        names = list(self._protocols)
        number = {"layout": widgets.Layout(width="150px"), "style": {"description_width": "60px"}, "max": 10**9}
        wide = {"layout": widgets.Layout(width="300px"), "style": {"description_width": "70px"}}
        return {
            "method": widgets.Dropdown(options=titles, description="method", **wide),
            "protocol": widgets.Dropdown(options=names, value=protocol or names[0], description="protocol", **wide),
            "way": widgets.BoundedIntText(e.way, min=2, description="way", **number),
            "shot": widgets.BoundedIntText(e.shot, min=1, description="shot", **number),
            "seed": widgets.BoundedIntText(self._seed, min=0, description="seed", **number),
            "episode": widgets.BoundedIntText(0, min=0, description="episode", **number),
            "show": widgets.ToggleButtons(options=[WHOLE, MODEL], style={"button_width": "170px"}),
        }

    def _rows(self) -> list[widgets.HBox]:
        c = self.controls
        mistake = widgets.Button(description="next mistake", icon="step-forward")
        mistake.on_click(lambda _: self.next_mistake())
        return [
            widgets.HBox([c["method"], c["protocol"]]),
            widgets.HBox([c["way"], c["shot"], c["seed"], c["episode"], mistake]),
            c["show"],
        ]

    def _refresh(self, _change: object = None) -> None:
        try:
            self.answer = self._answer(self.controls["episode"].value)
            page = episode_page(self.answer, self.catalog, self._picture)
            self._note.value = self._summary(self.answer)
        except TmalError as error:
            self.answer, page = None, ""
            self._note.value = f'<span style="color:#c8553d">{_escaped(error)}</span>'
        self._page.value = page

    def _answer(self, number: int) -> EpisodeResult:
        method = self.controls["method"].value
        return evaluate_episode(self.models[method], self.banks[method], self._sampler_now()[number])

    def _sampler_now(self) -> EpisodeSampler:
        """The sampler of the controls; kept, since making one walks over the whole catalogue."""
        c = self.controls
        key = tuple(c[name].value for name in ("protocol", "way", "shot", "seed"))
        if self._sampler is None or self._sampler[0] != key:
            name, way, shot, seed = key
            queries = self._start.queries_eval
            self._sampler = key, EpisodeSampler(self.catalog, self._protocols[name], way, shot, queries, seed)
        return self._sampler[1]

    def _summary(self, answer: EpisodeResult) -> str:
        way, asked = len(answer.episode.classes), self.controls["way"].value
        right, total = int(answer.correct.sum()), len(answer.correct)
        less = f" (classes of a group, so {way}-way)" if way < asked else ""
        return f"{right} of {total} right, chance is {100 / way:.0f} %{less}."

    def _picture(self, row: int) -> str:
        """Address of the moving picture of a row, from the cache or made now."""
        key = row, self.controls["show"].value
        if key not in self._pictures:
            self._pictures[key] = data_uri(self._animate(*key))
            if len(self._pictures) > MAX_PICTURES:
                self._pictures.popitem(last=False)
        self._pictures.move_to_end(key)
        return self._pictures[key]

    def _animate(self, row: int, show: str) -> bytes:
        if show == MODEL:
            return animated_webp(model_pictures(self._reader, [row])[0], MODEL_FPS)
        num_frames = int(self.catalog.table["num_frames"].iat[row])
        positions = np.unique(np.linspace(0, num_frames - 1, min(num_frames, MAX_FRAMES)).round().astype(int))
        fps = float(self.catalog.table["fps"].iat[row]) * len(positions) / num_frames
        return animated_webp(self._reader.frames(row, positions), fps)


def _check(
    catalog: Catalog,
    models: Mapping[str, FewShotModel],
    banks: Mapping[str, Bank],
    protocol: str | None,
    known: list[str],
) -> None:
    if not models or set(models) != set(banks):
        got = f"models {sorted(models)} and banks {sorted(banks)}"
        raise EpisodeError("a bank for each of at least one model", got, "Pass both under the same names.")
    for name, bank in banks.items():
        if bank.num_videos != len(catalog):
            got = f"{bank.num_videos} for '{name}'"
            raise EpisodeError(f"a bank of the split's {len(catalog)} videos", got, "Use the bank of this split.")
    if protocol is not None and protocol not in known:
        raise EpisodeError(f"a protocol among {', '.join(known)}", repr(protocol), "Choose one of them.")


def _escaped(error: TmalError) -> str:
    """One line of HTML."""
    return html.escape(" ".join(str(error).split()))
