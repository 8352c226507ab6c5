"""`tmal train`: train one method on the training split, choose its best checkpoint on `val`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from tmal_core.config import Settings
from tmal_core.data.clips import ClipReader, TrainingEpisodes
from tmal_core.data.episodes import MIXED, protocols
from tmal_core.errors import SettingsError
from tmal_core.evaluation.feature_bank import encode
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.evaluation.statistics import above_chance_pct
from tmal_core.flow.reader import flow_reader
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import method
from tmal_core.models.text import class_text
from tmal_core.runtime.devices import set_up
from tmal_core.runtime.run_folders import Run
from tmal_core.runtime.seeding import seed_everything
from tmal_core.tasks.common import build_model, checkpoint_folder, split_of, split_text, with_method
from tmal_core.tasks.episodes import evaluation_sampler, training_samplers
from tmal_core.training.loop import Progress, Validated, train_model


def train(
    settings: Settings, run: Run, progress: bool = True, on_validation: Callable[[], None] = lambda: None
) -> tuple[FewShotModel, Progress]:
    """Train `settings.model.method`; goes on where a stopped training of the same settings left off.

    Args:
        on_validation: called after every validation, when the run's metrics have its line.

    Returns:
        The model with its best weights, and how training went.

    Raises:
        SettingsError: the method has nothing to train.
    """
    name = settings.model.method
    settings = with_method(settings, name)
    if not method(name).trained:
        raise SettingsError("a method that is trained", f"{name}, which is not", "Evaluate it as it is.")
    device = set_up(settings)
    seed_everything(settings.seed)
    model = build_model(settings, device)
    episodes = training_episodes(settings, model.reads_flow)
    text = class_text(model.encoder.clip, settings.model, episodes.class_names) if model.reads_text else None

    def log(**values: Any) -> None:
        run.log_metrics(kind="train", method=name, **values)
        on_validation()

    state = train_model(
        model,
        episodes,
        _Validation(settings, model),
        settings,
        checkpoint_folder(run.path, name),
        class_text=text,
        log=log,
        progress=progress,
    )
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
    order = table["method"].map(methods.index)
    return table.assign(order=order).sort_values(["order", "episode"], ignore_index=True).drop(columns="order")


def training_episodes(settings: Settings, with_flow: bool = False) -> TrainingEpisodes:
    """Training episodes, evenly over the families of the data set."""
    catalog = split_of(settings, "train")
    reader = ClipReader(catalog, settings, settings.data.cache, flow_reader(settings, catalog) if with_flow else None)
    samplers = training_samplers(settings, catalog)
    return TrainingEpisodes(reader, samplers, settings.training.episodes, settings.seed)


class _Validation:
    """Accuracy by protocol on `val`, on the same episodes every time.

    A checkpoint is chosen by the mean over protocols, where one that the model cannot be told from chance at counts as
    chance: its ups and downs are luck, and would choose for all.
    """

    def __init__(self, settings: Settings, model: FewShotModel) -> None:
        catalog = split_of(settings, "val")
        flow = flow_reader(settings, catalog) if model.reads_flow else None
        self.reader = ClipReader(catalog, settings, settings.data.cache, flow)
        self.text = split_text(settings, model, catalog)
        self.episodes = {
            protocol.name: Episodes.draw(
                evaluation_sampler(settings, catalog, protocol, settings.seed), settings.training.val_episodes
            )
            for protocol in protocols(catalog)
            if protocol.name != MIXED
        }

    def __call__(self, model: FewShotModel) -> Validated:
        bank = encode(model, self.reader, self.text, progress=False)
        outcomes = {name: evaluate(model, bank, episodes) for name, episodes in self.episodes.items()}
        score_pct = sum(map(above_chance_pct, outcomes.values())) / len(outcomes)
        return Validated(score_pct, {name: outcome.accuracy_pct for name, outcome in outcomes.items()})
