"""`tmal train`: train one method on the training split, choose its best checkpoint on `val`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from tmal_core.data.episodes import MIXED
from tmal_core.errors import SettingsError
from tmal_core.evaluation.feature_bank import encode
from tmal_core.evaluation.scoring import evaluate
from tmal_core.evaluation.statistics import above_chance_pct
from tmal_core.experiment import Experiment, measured, require_used
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.text import class_text
from tmal_core.runtime.run_folders import Run
from tmal_core.runtime.seeding import seed_everything
from tmal_core.training.loop import Progress, Validate, Validated, train_model


def train_method(
    experiment: Experiment, run: Run, progress: bool = True, on_validation: Callable[[], None] = lambda: None
) -> tuple[FewShotModel, Progress]:
    """Train the experiment's method; goes on where a stopped training of the same settings left off.

    Args:
        run: takes the metrics; its folder is the experiment's.
        on_validation: called after every validation, when the run's metrics have its line.

    Returns:
        The model with its best weights, and how training went.

    Raises:
        SettingsError: the method has nothing to train, or a switch was set that it does not read.
    """
    name, s = experiment.name, experiment.settings
    if not experiment.method.trained:
        raise SettingsError("a method that is trained", f"{name}, which is not", "Evaluate it as it is.")
    require_used([experiment])
    experiment.device  # noqa: B018 - threads and the memory allocator are set before anything is made
    seed_everything(s.seed)
    model = experiment.build()
    measured(experiment, model)
    episodes = experiment.training_episodes()
    text = class_text(model.encoder.clip, s.model, episodes.class_names) if model.reads_text else None

    def log(**values: Any) -> None:
        run.log_metrics(kind="train", method=name, **values)
        on_validation()

    what = model, episodes, _validation(experiment, model), s.training, s.seed
    where = experiment.checkpoints, experiment.origin
    state = train_model(*what, *where, class_text=text, compute=s.compute, log=log, progress=progress)
    if model.head.in_std:
        run.update_summary(**{f"{name}.frame_std": model.head.frame_std})
    run.update_summary(**{f"{name}.val_pct": state.best_pct, f"{name}.train_seconds": round(state.seconds, 1)})
    return model, state


def training_history(run: Run, methods: list[str]) -> pd.DataFrame:
    """How the training of these methods has gone so far: a row per method and validation, in this order.

    Where training was stopped and resumed, or repeated, the last line of an episode counts.
    """
    lines = [line for line in run.metrics() if line["kind"] == "train" and line["method"] in methods]
    if not lines:
        return pd.DataFrame(columns=["method", "episode"])
    table = pd.DataFrame(lines).drop(columns=["time", "kind"]).drop_duplicates(["method", "episode"], keep="last")
    places = {"method": methods.index, "episode": int}
    return table.sort_values(["method", "episode"], key=lambda c: c.map(places[c.name]), ignore_index=True)


def _validation(experiment: Experiment, model: FewShotModel) -> Validate:
    """Accuracy by episode type on `val`, on the same episodes every time.

    A checkpoint is chosen by the mean over episode types, where one that the model cannot be told from chance at counts
    as chance: its ups and downs are luck, and would choose for all.
    """
    s, catalog = experiment.settings, experiment.split("val")
    reader, text = experiment.reader(catalog, cache=s.data.cache), experiment.text(catalog, model)
    drawn = experiment.episodes("val", s.training.val_episodes, s.seed)

    def validate(model: FewShotModel) -> Validated:
        bank = encode(model, reader, text, s.evaluation, s.compute, progress=False)
        outcomes = {name: evaluate(model, bank, episodes) for name, episodes in drawn.items() if name != MIXED}
        score_pct = sum(map(above_chance_pct, outcomes.values())) / len(outcomes)
        return Validated(score_pct, {name: outcome.accuracy_pct for name, outcome in outcomes.items()})

    return validate
