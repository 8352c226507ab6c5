"""`tmal train`: train one method on the training split, choose its best checkpoint on `val`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tmal_core.data.episodes import MIXED
from tmal_core.errors import SettingsError
from tmal_core.evaluation.feature_bank import encode
from tmal_core.evaluation.scoring import evaluate
from tmal_core.evaluation.statistics import above_chance_pct, accuracy_interval, mean_interval
from tmal_core.experiment import Experiment, measured, require_used
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.text import class_text
from tmal_core.runtime.held_work import held, read_work
from tmal_core.runtime.run_folders import PROCESSES, Run
from tmal_core.runtime.seeding import seed_everything
from tmal_core.training.checkpoint import Origin
from tmal_core.training.loop import Progress, Validate, Validated, train_model


def train_method(
    experiment: Experiment,
    run: Run,
    progress: bool = True,
    on_validation: Callable[[], None] = lambda: None,
    tell: Callable[..., None] = lambda **_: None,
) -> tuple[FewShotModel, Progress]:
    """Train the experiment's method; goes on where a stopped training of the same settings left off.

    Meanwhile the run folder names this process (`work_file`).

    Args:
        run: takes the metrics; its folder is the experiment's.
        on_validation: called after every validation, when the run's metrics have its line.
        tell: takes how training stands, every few seconds (`Pace`).

    Returns:
        The model with its best weights, and how training went.

    Raises:
        SettingsError: the method has nothing to train, or a switch was set that it does not read.
        RunError: another process trains it in this folder.
        KeyboardInterrupt: of Ctrl-C; where training stood is saved.
    """
    require_trainable(experiment)
    with held(work_file(run.path, experiment.name)):
        return _train(experiment, run, progress, on_validation, tell)


def require_trainable(experiment: Experiment) -> None:
    """Refuse, by a SettingsError, a method that has nothing to train, and switches that it does not read."""
    if not experiment.method.trained:
        remedy = "Evaluate it as it is."
        raise SettingsError("a method that is trained", f"{experiment.name}, which is not", remedy)
    require_used([experiment])


def work_file(run_dir: Path, method_name: str) -> Path:
    """File of a run folder that says which process trains a method, and how that ended (`held_work`)."""
    return run_dir / PROCESSES / f"train-{method_name}.json"


def origin_with_classes(experiment: Experiment) -> Origin:
    """What the weights come from, with the names of the classes that they learn from (train) and are chosen on (val):
    whoever tests them on another data set wants to know which of its classes are not new."""
    table = experiment.catalog.table
    classes = {s: sorted(table.loc[table["split"] == s, "class_name"].unique().tolist()) for s in ("train", "val")}
    return replace(experiment.origin, classes=classes)


def _train(
    experiment: Experiment,
    run: Run,
    progress: bool,
    on_validation: Callable[[], None],
    tell: Callable[..., None],
) -> tuple[FewShotModel, Progress]:
    name, s = experiment.name, experiment.settings
    experiment.device  # noqa: B018 - threads and the memory allocator are set before anything is made
    seed_everything(s.seed)
    model = experiment.build()
    measured(experiment, model)
    episodes = experiment.training_episodes()
    model.head.take_classes(len(episodes.class_names))
    text = class_text(model.encoder.clip, s.model, episodes.class_names) if model.reads_text else None

    def log(**values: Any) -> None:
        run.log_metrics(kind="train", method=name, **values)
        on_validation()

    what = model, episodes, _validation(experiment, model), s.training, s.seed
    where = experiment.checkpoints, origin_with_classes(experiment)
    state = train_model(*what, *where, class_text=text, compute=s.compute, log=log, tell=tell, progress=progress)
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


def training_state(run: Run, method_name: str) -> dict[str, Any]:
    """How the training of a method stands: its `status` (waiting, running, done, failed or interrupted), what `Pace`
    said last, the number of `validations`, and of these the best: `best_pct` after `best_episode`."""
    work = read_work(work_file(run.path, method_name))
    found: dict[str, Any] = {"status": "waiting" if work is None else work.status}
    for line in run.metrics():
        if line["kind"] == "progress" and line["method"] == method_name:
            found |= line
    history = training_history(run, [method_name])
    if len(history):
        best = history.loc[history["val_pct"].idxmax()]
        found |= {"validations": len(history), "best_pct": best["val_pct"], "best_episode": int(best["episode"])}
    return found


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
        how = catalog, s.evaluation.resampling_seed, s.evaluation.bootstrap, s.evaluation.confidence
        found = mean_interval([accuracy_interval(outcome, *how) for outcome in outcomes.values()], score_pct)
        by_type = {name: outcome.accuracy_pct for name, outcome in outcomes.items()}
        return Validated(score_pct, by_type, found.low, found.high)

    return validate
