"""How faithful the explanations of a trained method are, family by family of the diagnostic data set.

Each clip of `val` is explained once: in the first episode of its family in which it is a query, for the class that the
method answers. Its object is known from its drawing. `make bench ONLY=faithfulness` makes the table that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from tmal_core.analysis.deletion import Input
from tmal_core.analysis.faithfulness import ANEW, Explained, measure_clip, summed_up
from tmal_core.analysis.faithfulness_bars import JUDGED_ON
from tmal_core.analysis.inspection import Question
from tmal_core.analysis.object_share import patch_coverage
from tmal_core.analysis.target import Target, batch_of
from tmal_core.analysis.weights_anew import Which, in_random_order
from tmal_core.config import in_project
from tmal_core.data.clips import ClipReader, stacked
from tmal_core.data.diagnostic.objects import object_masks_of
from tmal_core.data.episodes import EpisodeSampler
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.experiment import DIAGNOSTIC, Experiment
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.text import SplitText
from tmal_core.runtime.processes import Pool
from tmal_core.runtime.run_folders import commit
from tmal_core.runtime.seeding import generator
from tmal_core.runtime.tables import load_csv

KEPT = in_project("data/faithfulness.csv")
"""The table of 200 clips of each family."""
INPUTS: dict[str, tuple[Input, ...]] = {
    "appearance": ("frames",),
    "order": ("frames",),
    "speed": ("frames", "flow"),
    "camera": ("frames", "flow"),
    "motion": ("flow",),
    "semantic": ("frames",),
}
"""Family -> whose maps are measured: of what can tell its classes apart."""
SPLIT = "val"
_AT_ONCE = 5  # episodes that a worker takes


def faithfulness(
    experiment: Experiment,
    num_clips: int,
    families: Sequence[str] = tuple(INPUTS),
    processes: int = 1,
    progress: bool = True,
) -> pd.DataFrame:
    """The table of `summed_up`, with the method, the hash of its settings and the commit.

    Args:
        experiment: a trained method on the diagnostic data set. One that reads no flow has no maps of it, and a
            family of which only those are measured is left out.
        num_clips: of each family.
        processes: that work at once, with one thread each; 1 is this one, with the threads that it has.

    Raises:
        EpisodeError: a family is not there, or has fewer clips.
        DataError: the videos were not drawn, so that nobody knows where their objects are.
    """
    families = [family for family in families if family not in INPUTS or _inputs(experiment, family)]
    jobs = [(family, part) for family in families for part in _asked(experiment, family, num_clips)]
    found = []
    with tqdm(total=num_clips * len(families), desc="explaining", unit="clip", disable=not progress) as bar:
        for table in _results(experiment, jobs, processes):
            found.append(table)
            bar.update(table["clip"].nunique())
    e, origin = experiment.settings.evaluation, commit()
    table = summed_up(pd.concat(found, ignore_index=True), e.resampling_seed, e.bootstrap, e.confidence)
    version = f"{(origin['commit'] or 'none')[:12]}{', with changes' if origin['dirty'] else ''}"
    return table.assign(method=experiment.name, settings=experiment.hash, commit=version)


def judged_families(experiment: Experiment) -> list[str]:
    """The families on which maps of a method can be judged: none where nobody knows where the objects are."""
    drawn = experiment.settings.data.families if experiment.settings.data.name == DIAGNOSTIC else ()
    reads = {"frames": True, "flow": experiment.settings.model.reads_motion}
    return [family for what, family in JUDGED_ON.items() if reads[what] and family in drawn]


def kept_table() -> pd.DataFrame | None:
    """The table that is kept; None where there is none yet."""
    if not KEPT.is_file():
        return None
    # As text first: a hash of digits with an e among them would be read as a number.
    table, numbers = load_csv(KEPT, str), ["mean", "low", "high", "p_value", "clips"]
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers})


Job = tuple[str, dict[int, list[int]]]
"""A family, and which queries of which of its episodes."""


class Explainer:
    """A method on its split: what the clips of some episodes are measured with, made when it is first asked for."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    @cached_property
    def catalog(self) -> Catalog:
        """Of the split."""
        return self.experiment.split(SPLIT)

    @cached_property
    def reader(self) -> ClipReader:
        """Of its clips."""
        return self.experiment.reader(self.catalog)

    @cached_property
    def samplers(self) -> dict[str, EpisodeSampler]:
        """By family."""
        return self.experiment.samplers(SPLIT)

    @cached_property
    def models(self) -> dict[Which | None, FewShotModel]:
        """As it was trained (None), and with weights in random order: one order for all clips."""
        found: dict[Which | None, FewShotModel] = {None: self.experiment.model}
        for which in ANEW:
            found[which] = in_random_order(self.experiment.model, which, generator(0, "weights anew", which))
        return found

    @cached_property
    def text(self) -> SplitText | None:
        """Of the classes' names."""
        return self.experiment.text(self.catalog)

    def measured(self, job: Job) -> pd.DataFrame:
        """Rows of `measure_clip` with `family`, `input`, `clip` and `unit`."""
        family, asked = job
        sampler, tables = self.samplers[family], []
        for number, places in asked.items():
            question = Question.of(sampler[number])
            targets = self.targets(question)
            for row in question.query[places].tolist():
                record, explained = self.catalog.table.iloc[row], self.explained(targets, row)
                facts = {"family": family, "clip": row, "unit": record["group"] or record["class_name"]}
                for what in _inputs(self.experiment, family):
                    rng = generator(0, "faithfulness", str(record["video"]), what)
                    tables.append(measure_clip(explained, what, rng).assign(input=what, **facts))
        return pd.concat(tables, ignore_index=True)

    def targets(self, question: Question) -> dict[Which | None, Target]:
        """By weights, of the question's first class."""
        way, shot = question.support.shape
        labels = torch.arange(way).repeat_interleave(shot)
        text: Tensor | None = None if self.text is None else self.text.of_videos(question.support[:, 0])
        support = stacked([self.reader.evaluate(int(row)) for row in question.support.ravel()])
        return {which: Target.of_clips(model, support, labels, text, 0) for which, model in self.models.items()}

    def explained(self, targets: dict[Which | None, Target], row: int) -> Explained:
        """A query of the question, for the class that the method answers."""
        clip, trained = self.reader.evaluate(row), targets[None]
        with torch.no_grad():
            label = int(trained.logits(*batch_of(trained.model, clip)).argmax())
        of_answer = {which: target.of_label(label) for which, target in targets.items()}
        masks = object_masks_of(self.catalog, row)[self.reader.test_positions(row)]
        coverage = patch_coverage(masks, self.reader.transform, trained.grid)
        anew = {which: target for which, target in of_answer.items() if which is not None}
        return Explained(of_answer[None], clip, coverage, anew)


def _inputs(experiment: Experiment, family: str) -> list[Input]:
    """Of a family what the method reads."""
    reads_motion = experiment.settings.model.reads_motion
    return [what for what in INPUTS[family] if what == "frames" or reads_motion]


def _asked(experiment: Experiment, family: str, num_clips: int) -> Iterator[dict[int, list[int]]]:
    """Places of queries by number of their episode, some episodes at a time: as many different clips as asked for."""
    samplers = experiment.samplers(SPLIT)
    if family not in samplers:
        raise EpisodeError(f"a family among {', '.join(samplers)}", repr(family), "Choose one of them.")
    table = experiment.split(SPLIT).table
    queries = int(((table["family"] == family) & (table["role"] != "support")).sum())
    if num_clips > queries:
        remedy = f"Ask for fewer, or draw more: data.clips_{SPLIT}."
        raise EpisodeError(f"{num_clips} clips of '{family}' in '{SPLIT}' that are queries", str(queries), remedy)
    seen: set[int] = set()
    part: dict[int, list[int]] = {}
    for number in count():
        rows = samplers[family][number].query.ravel().tolist()
        new = [place for place, row in enumerate(rows) if row not in seen][: num_clips - len(seen)]
        seen |= {rows[place] for place in new}
        if new:
            part[number] = new
        if len(part) == _AT_ONCE or (part and len(seen) == num_clips):
            yield part
            part = {}
        if len(seen) == num_clips:
            return


def _results(experiment: Experiment, jobs: Sequence[Job], processes: int) -> Iterator[pd.DataFrame]:
    if processes <= 1:
        yield from map(Explainer(experiment).measured, jobs)
        return
    with Pool(processes, initializer=_begin, initargs=(experiment,)) as pool:
        yield from pool.map(_measured, jobs)


_explainer: Explainer | None = None
"""Of a worker."""


def _begin(experiment: Experiment) -> None:
    global _explainer
    torch.set_num_threads(1)
    _explainer = Explainer(experiment.changed({"compute.num_threads": 1}))


def _measured(job: Job) -> pd.DataFrame:
    assert _explainer is not None
    return _explainer.measured(job)
