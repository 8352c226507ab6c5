"""The table of faithfulness on real files: which clips, by which weights, and what it names."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from tmal_core.analysis import measures
from tmal_core.analysis.faithfulness import ANEW, BELOW_RANDOM, CENTRE, RANDOM, TIMES_AREA, UNITS
from tmal_core.analysis.faithfulness_bars import verdicts
from tmal_core.analysis.inspection import Asked, Question, banked
from tmal_core.errors import EpisodeError
from tmal_core.experiment import Experiment
from tmal_core.runtime.tables import save_csv
from tmal_core.tasks import faithfulness_table as module
from tmal_core.tasks.faithfulness_table import Explainer, faithfulness, judged_families, kept_table
from tmal_core.training.checkpoint import save_checkpoint
from tmal_core.training.loop import BEST

QUICK = ("gradient × input", "attention of the last block")


@pytest.fixture(scope="module")
def experiment(few_settings, tmp_path_factory):
    """TMAL with random parts, as if it was trained."""
    experiment = Experiment(few_settings, method_name="tmal", run_dir=tmp_path_factory.mktemp("run"))
    model, generator = experiment.build().eval(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_checkpoint(experiment.checkpoints / BEST, model, experiment.origin)
    return experiment


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(measures, "MEASURES", {name: measures.MEASURES[name] for name in QUICK})


def test_a_table_of_some_clips(experiment, quick):
    table = faithfulness(experiment, 3, ["appearance", "motion"], progress=False)
    assert (table["clips"] == 3).all() and table["settings"].unique().tolist() == [experiment.hash]
    assert table.groupby("family")["input"].unique().map(list).to_dict() == {
        "appearance": ["frames"],
        "motion": ["flow"],
    }
    assert set(table[table["family"] == "motion"]["measure"]) == {QUICK[0], RANDOM, CENTRE}
    one = table[(table["family"] == "appearance") & (table["measure"] == QUICK[1])]
    assert set(one["quantity"]) == set(UNITS) and (table["method"] == "tmal").all() and table["commit"].notna().all()
    assert list(verdicts(table)["measure"]) and len(verdicts(table)) == 3
    pd.testing.assert_frame_equal(table, faithfulness(experiment, 3, ["appearance", "motion"], progress=False))


def test_no_clip_is_measured_twice(experiment):
    jobs = list(module._asked(experiment, "appearance", 7))
    sampler = experiment.samplers("val")["appearance"]
    rows = [sampler[n].query.ravel()[place] for part in jobs for n, places in part.items() for place in places]
    assert len(rows) == 7 == len(set(rows)) and all(len(part) <= module._AT_ONCE for part in jobs)
    with pytest.raises(
        EpisodeError, match=r"expected 1000 clips of 'appearance' in 'val' that are queries, got 16\..*data\.clips_val"
    ):
        list(module._asked(experiment, "appearance", 1000))
    with pytest.raises(EpisodeError, match=r"expected a family among appearance, .*, got 'colour'"):
        list(module._asked(experiment, "colour", 1))


def test_the_answer_is_explained_and_the_object_is_that_of_the_clip(experiment):
    explainer, question = Explainer(experiment), Question.of(experiment.samplers("val")["appearance"][0])
    targets, row = explainer.targets(question), int(question.query[1])
    assert set(targets) == {None, *ANEW}
    found = explainer.explained(targets, row)
    answer = Asked(experiment.model, question, banked(experiment.bank("val", progress=False), question)).result
    assert found.target.label == answer.predicted[1] == found.anew["trained"].label
    probability = found.target.probability(type(found.clip)(*(part[None] for part in found.clip)))
    assert probability.item() == pytest.approx(float(answer.probabilities[1].max()), abs=1e-3)
    assert found.size == (len(found.clip.frames), *found.target.grid) == tuple(found.coverage.shape)
    assert 0 < found.coverage.mean() < 0.4  # one shape before a ground
    for which in ANEW:
        assert not torch.allclose(found.anew[which].support, found.target.support)


def test_a_second_process_finds_the_same(experiment):
    """Whole measures, since other processes know nothing of what is exchanged here."""
    alone, beside = (faithfulness(experiment, 1, ["appearance", "order"], n, progress=False) for n in (1, 2))
    pd.testing.assert_frame_equal(alone, beside, atol=2e-3)


def test_what_can_be_judged(experiment):
    assert judged_families(experiment) == ["appearance", "motion"]
    assert judged_families(Experiment(experiment.common, method_name="st_adapter")) == ["appearance"]
    drawn_elsewhere = experiment.common.replace({"data.families": ["order", "motion"]})
    assert judged_families(Experiment(drawn_elsewhere, method_name="tmal")) == ["motion"]
    assert judged_families(Experiment.of("hmdb51", method="tmal")) == []


def test_a_method_that_reads_no_flow_has_no_maps_of_it(experiment):
    without = Experiment(experiment.common, method_name="st_adapter")
    found = {family: (module._inputs(experiment, family), module._inputs(without, family)) for family in module.INPUTS}
    assert found["speed"] == (["frames", "flow"], ["frames"]) and found["motion"] == (["flow"], [])
    assert found["order"] == (["frames"], ["frames"])


def test_the_kept_table_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", tmp_path / "faithfulness.csv")
    assert kept_table() is None
    rows = [{"family": "appearance", "input": "frames", "measure": "one", "quantity": q, "clips": 200, "curve_pct": ""}
            for q in (TIMES_AREA, BELOW_RANDOM)]  # fmt: skip
    table = pd.DataFrame(rows).assign(mean=[2.5, -3.0], low=1.0, high=[4.0, float("nan")], p_value=float("nan"))
    save_csv(table, tmp_path / "faithfulness.csv")
    pd.testing.assert_frame_equal(kept_table(), table, check_dtype=False)
