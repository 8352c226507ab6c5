"""The ways to match side by side: 10,000 episodes, 5-way 1-shot, from a filled bank as of `bench_matching`.

Matchers answer from frozen features. TRX looks at the tuples of an episode together, and projects them anew in each: a
part of the episodes stands for all.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench_matching import EPISODES, bank_of, part_of, sampler_of
from measure import device, row, seconds_of, taking_turns
from subjects import model_of, settings_for

from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.models.few_shot import FewShotModel

MATCHERS = ("mean", "diagonal", "bimhm", "otam", "tuples", "otam+diagonal")
OF_TRX = EPISODES // 50


def under(matching: str) -> FewShotModel:
    """Frozen CLIP under a matcher."""
    model = model_of(settings_for("otam"), device())
    return FewShotModel(model.encoder, model.head.rematched(matching))  # type: ignore[operator]


def rows() -> Iterator[dict]:
    """One row per figure."""
    models = {matching: under(matching) for matching in MATCHERS}
    bank = bank_of(models["otam"])
    episodes = Episodes.draw(sampler_of(1), EPISODES)
    calls = {name: lambda model=model: evaluate(model, bank, episodes) for name, model in models.items()}
    found = taking_turns(calls, rounds=3)
    for name, seconds in found.items():
        yield row(f"matchers: {EPISODES:,} episodes, 5-way 1-shot, {name}", seconds, "s")
    trx, few = model_of(settings_for("trx"), device()), part_of(episodes, OF_TRX)
    evaluate(trx, bank, part_of(episodes, 8))
    seconds = seconds_of(lambda: evaluate(trx, bank, few)) * EPISODES / OF_TRX
    yield row(f"matchers: {EPISODES:,} episodes, 5-way 1-shot, trx", seconds, "s")
