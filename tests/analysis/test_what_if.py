"""Asking again with something changed: nothing changed is the same answer, each switch is what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.analysis.inspection import Asked, Question, banked
from tmal_core.analysis.what_if import WhatIf, ask_again, changed, parts_of
from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment
from tmal_core.matching import match
from tmal_core.models.text import class_text

MORE = {"model.temporal_attention": 2, "model.side_width": 64}
"""What may stand in TMAL's encoder and is off."""


@pytest.fixture(scope="module", params=["tmal", "tmal with more", "otam"])
def asked(request, few_settings, tmp_path_factory):
    """An experiment whose model is trained as by chance, its bank, reader and first question."""
    name, more, _ = request.param.partition(" with")
    settings = few_settings.replace(MORE if more else {})
    experiment = Experiment(settings, method_name=name, run_dir=tmp_path_factory.mktemp("run"))
    model = experiment.build().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    experiment.__dict__["model"] = model
    experiment.bank("val", progress=False)  # before any test that no clip is read
    question = Question.of(experiment.samplers("val")["semantic"][0])
    return experiment, question


def again(asked, what_if):
    experiment, question = asked
    catalog = experiment.split("val")

    def text_of(names):
        return class_text(experiment.model.encoder.clip, experiment.settings.model, list(names)).cpu()

    reader = experiment.reader(catalog)
    return ask_again(
        experiment.model, experiment.bank("val", progress=False), reader, question, what_if, text_of
    ).result


def as_it_was(asked):
    experiment, question = asked
    return Asked(experiment.model, question, banked(experiment.bank("val", progress=False), question)).result


def test_nothing_changed_is_the_same_answer(asked):
    assert WhatIf().is_nothing and np.array_equal(again(asked, WhatIf()).distances, as_it_was(asked).distances)


def test_encoding_the_clips_again_is_the_bank_s_answer(asked):
    """The same number of frames as before: everything runs, nothing changes."""
    frames = asked[0].settings.sampling.num_frames
    found, before = again(asked, WhatIf(num_frames=frames)), as_it_was(asked)
    np.testing.assert_allclose(found.distances, before.distances, atol=2e-4)


@pytest.mark.parametrize("switch", ["text", "flow", "adapters"])
def test_a_part_that_is_switched_off_is_gone(asked, switch):
    experiment, _ = asked
    if not parts_of(experiment.model)[switch]:
        with pytest.raises(SettingsError, match=f"expected a method with {switch}, got one without"):
            again(asked, WhatIf(**{switch: False}))
        return
    assert not np.allclose(again(asked, WhatIf(**{switch: False})).distances, as_it_was(asked).distances, atol=1e-4)


@pytest.mark.parametrize("asked", ["tmal"], indirect=True)
def test_tmal_without_any_part_is_frozen_clip(asked, few_settings, tmp_path):
    experiment, question = asked
    bare = Experiment(few_settings, method_name="otam", run_dir=tmp_path)
    expected = Asked(bare.build().eval(), question, banked(bare.bank("val", progress=False), question)).result
    model = experiment.model
    with torch.no_grad():
        # The transformer that stands before the matcher, and what the task says beside it.
        heads_own = (model.head.modulation.gate, model.head.conditioning.generator.weight)
        before = [parameter.clone() for parameter in heads_own]
        for parameter in heads_own:
            parameter.zero_()
        found = again(asked, WhatIf(text=False, flow=False, adapters=False))
        for parameter, value in zip(heads_own, before, strict=True):
            parameter.copy_(value)
    np.testing.assert_allclose(found.distances, expected.distances, atol=2e-4)


def test_another_matcher_and_smoothing_need_no_clip(asked, monkeypatch):
    experiment, question = asked
    monkeypatch.setattr("tmal_core.data.clips.ClipReader.evaluate", lambda *_: pytest.fail("a clip is read"))
    if experiment.name == "otam":
        tokens = banked(experiment.bank("val", progress=False), question)
        sums = [("otam+diagonal", 0.05), ("diagonal+tuples", None)]
        for name, smoothing in (("bimhm", None), ("mean", None), ("otam", 0.05), *sums):
            found = again(asked, WhatIf(matching=name, smoothing=smoothing)).distances
            expected = match(tokens.query, tokens.support, name, smoothing=smoothing or 0.5)
            np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(again(asked, WhatIf(matching="mean")).distances, as_it_was(asked).distances)


def test_frames_in_another_order_are_the_same_set(asked):
    experiment, _ = asked
    if experiment.name == "otam":
        sets = [again(asked, WhatIf(matching="bimhm", order=order)).distances for order in ("as it is", "shuffled")]
        np.testing.assert_allclose(*sets, atol=2e-4)
    turned = again(asked, WhatIf(order="reversed")).distances
    assert not np.allclose(turned, as_it_was(asked).distances, atol=1e-4)
    one, other = (again(asked, WhatIf(order="frozen")).distances for _ in range(2))
    assert np.array_equal(one, other) and not np.allclose(one, turned, atol=1e-4)


def test_a_name_that_is_retyped(asked):
    experiment, question = asked
    swapped = WhatIf(names={0: question.classes[1], 1: question.classes[0]})
    before, found = as_it_was(asked), again(asked, swapped)
    if experiment.model.reads_text:
        assert not np.allclose(found.distances, before.distances, atol=1e-4)
    else:
        assert np.array_equal(found.distances, before.distances)
    assert found.question.classes == question.classes


def test_the_model_is_left_as_it_was(asked):
    before = as_it_was(asked)
    again(asked, WhatIf(matching="mean", order="reversed"))
    assert np.array_equal(as_it_was(asked).distances, before.distances)
    assert changed(asked[0].model, WhatIf()).head is not asked[0].model.head


def test_a_number_of_frames_that_the_grid_does_not_give(asked):
    with pytest.raises(SettingsError, match="expected a number of frames that divides the grid of 32, got 5"):
        again(asked, WhatIf(num_frames=5))
    with pytest.raises(SettingsError, match="expected a method with smoothing, got one without"):
        changed(changed(asked[0].model, WhatIf(matching="mean")), WhatIf(smoothing=0.1))
    with pytest.raises(SettingsError, match="expected a method with smoothing, got one without"):
        changed(changed(asked[0].model, WhatIf(matching="diagonal+tuples")), WhatIf(smoothing=0.1))
    assert parts_of(changed(asked[0].model, WhatIf(matching="otam+tuples")))["smoothing"]


def test_a_method_that_answers_an_episode_as_a_whole(few_settings, tmp_path):
    """Other frames, and no adapters; there is no matcher to exchange, and a triple has three frames."""
    experiment = Experiment(few_settings.replace({"model.tuple_width": 16}), method_name="trx", run_dir=tmp_path)
    model = experiment.build().eval()
    with torch.no_grad():
        for parameter in model.encoder.adapters.parameters():
            parameter.add_(0.1)  # or they are the identity
    experiment.__dict__["model"] = model
    asked = experiment, Question.of(experiment.samplers("val")["semantic"][0])
    before = as_it_was(asked).probabilities
    np.testing.assert_allclose(again(asked, WhatIf(num_frames=8)).probabilities, before, atol=1e-3)
    for change in (WhatIf(adapters=False), WhatIf(num_frames=4), WhatIf(order="reversed")):
        found = again(asked, change).probabilities
        assert found.shape == before.shape and not np.allclose(found, before, atol=1e-3), change
    switches = {name for name, there in parts_of(model).items() if there}
    assert switches == {"adapters", "num_frames", "order"}
    with pytest.raises(SettingsError, match="expected a method with matching, got one without"):
        again(asked, WhatIf(matching="bimhm"))
    with pytest.raises(SettingsError, match="expected 3 frames or more, as the method looks at, got 2"):
        again(asked, WhatIf(num_frames=2))
