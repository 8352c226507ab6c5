"""What several methods answer on one split: one question at a time, or many episodes at once, from their banks.

Letters: E episodes, N way, q queries in an episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tmal_core.analysis.inspection import Asked, Question, banked
from tmal_core.analysis.what_if import WhatIf, ask_again
from tmal_core.data.clips import ClipReader, FlowSource, stacked
from tmal_core.data.episodes import EpisodeSampler, episode_types
from tmal_core.errors import EpisodeError
from tmal_core.evaluation.feature_bank import Bank, encode_clips
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.experiment import Experiment
from tmal_core.flow.reader import FlowReader
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.text import class_text
from tmal_core.viz.widgets.loose_files import LooseFiles


@dataclass(frozen=True)
class Drawn:
    """Which stream of episodes."""

    episode_type: str
    way: int
    shot: int
    seed: int


class SplitAnswers:
    """Methods of one run on one split; what each needs (weights, bank, decoded clips) is made when it is first asked.

    Args:
        methods: experiments by method name.
        split: opening `test` is a look, and counted.

    Raises:
        EpisodeError: no method.
    """

    def __init__(self, methods: Mapping[str, Experiment], split: str) -> None:
        if not methods:
            raise EpisodeError("at least one method", "none", "Name the methods to look at.")
        self.methods, self.split = dict(methods), split
        first = next(iter(self.methods.values()))
        self.settings, self._drawn_from = first.settings, first.split(split)
        self.catalog = self._drawn_from
        self.episode_types = {found.name: found for found in episode_types(self.catalog)}
        self._files = LooseFiles(self.settings, any(one.settings.model.reads_flow for one in self.methods.values()))
        self.sampler = lru_cache(2)(self._made_sampler)  # making one walks over the whole catalogue
        self.reader, self.bank = lru_cache(None)(self._made_reader), lru_cache(None)(self._first_view)

    def model(self, method: str) -> FewShotModel:
        """A method's; EpisodeError if there is no such method, WeightsError if it was not trained."""
        if method not in self.methods:
            got, remedy = repr(method), "Choose one of them."
            raise EpisodeError(f"a method among {', '.join(self.methods)}", got, remedy)
        return self.methods[method].model

    def ask(self, method: str, question: Question) -> Asked:
        """A question put to a method."""
        model = self.model(method)
        return Asked(model, question, banked(self.bank(method), question))

    def ask_again(self, method: str, question: Question, what_if: WhatIf) -> Asked:
        """The same under what is changed."""
        if what_if.is_nothing:
            return self.ask(method, question)
        parts = self.model(method), self.bank(method), self.reader(method)
        return ask_again(*parts, question, what_if, lambda names: self._text(method, names))

    def logits(self, method: str, drawn: Drawn, numbers: np.ndarray) -> np.ndarray:
        """(E, q, N) of episodes, with the learned scale."""
        sampler, model = self.sampler(drawn), self.model(method)
        _, support, query = sampler.draw(numbers)
        found = evaluate(model, self.bank(method), Episodes(sampler.episode_type.name, support, query)).logits
        scaled = model.head.scores_text or model.head.by_episode
        return found if scaled else found * float(model.head.log_scale.detach().exp())

    def right(self, method: str, drawn: Drawn, numbers: np.ndarray) -> np.ndarray:
        """(E, q) bool."""
        answers, way = self.logits(method, drawn, numbers).argmax(2), self.sampler(drawn).way
        return answers == np.arange(way).repeat(answers.shape[1] // way)

    def margins(self, method: str, drawn: Drawn, numbers: np.ndarray) -> np.ndarray:
        """(E, q), how much more probable the best class is than the next."""
        best = torch.from_numpy(self.logits(method, drawn, numbers)).softmax(2).topk(2, dim=2).values
        return (best[..., 0] - best[..., 1]).numpy()

    def add(self, path: Path) -> int:
        """Take in a file that is of no class, for queries alone: its row in `catalog` from now on.

        Raises:
            DataError: the file is not there, or no video that can be read.
        """
        known = self.catalog.table["path"].to_numpy(str) == str(path.resolve())
        if known.any():
            return int(known.argmax())
        self.catalog = self._files.add(path, self.catalog)
        self.reader.cache_clear()
        self.bank.cache_clear()
        return len(self.catalog) - 1

    def flow(self) -> FlowSource | None:
        """Reads the stored flow, whoever reads it; None where there is none."""
        store = next(iter(self.methods.values())).flow_store
        if not store.root.is_dir():
            return None
        return self._files.with_their_flow(FlowReader(self._drawn_from, store, self.settings.flow.estimator))

    def _text(self, method: str, names: Sequence[str]) -> Tensor:
        clip = self.model(method).encoder.clip
        return class_text(clip, self.methods[method].settings.model, list(names)).cpu()

    def _first_view(self, method: str) -> Bank:
        """What `ClipReader.evaluate` shows, and what was taken in behind it."""
        bank: Any = self.methods[method].bank(self.split)
        query = bank.query[: bank.num_videos]
        support = query if bank.support is bank.query else bank.support[: bank.num_videos]
        if len(self.catalog) > len(query):
            reader, more = self.reader(method), range(len(query), len(self.catalog))
            tokens = [one for one, _ in encode_clips(self.model(method), stacked([reader.evaluate(r) for r in more]))]
            query, support = torch.cat([query, *tokens]), torch.cat([support, *tokens])
        return replace(bank, query=query, support=support, views=1)

    def _made_reader(self, method: str) -> ClipReader:
        reader = self.methods[method].reader(self._drawn_from, cache=True)
        return reader if self.catalog is self._drawn_from else reader.of(self.catalog, self._files.with_their_flow)

    def _made_sampler(self, drawn: Drawn) -> EpisodeSampler:
        if drawn.episode_type not in self.episode_types:
            known, got = ", ".join(self.episode_types), repr(drawn.episode_type)
            raise EpisodeError(f"an episode type among {known}", got, "Choose one of them.")
        kind = self.episode_types[drawn.episode_type]
        return EpisodeSampler(
            self._drawn_from, kind, drawn.way, drawn.shot, self.settings.episodes.queries_eval, drawn.seed
        )
