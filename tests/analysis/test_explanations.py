"""Explanations of a class for a query: against what is known by construction, by hand, and by another library."""

from __future__ import annotations

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients

from tmal_core.analysis.additions import branch_additions
from tmal_core.analysis.inspection import Asked, Question, banked
from tmal_core.analysis.named_patches import patch_text_similarity
from tmal_core.analysis.occlusion import covered, frame_cost, patch_cost
from tmal_core.analysis.relevance import gradient_relevance, integrated_relevance, token_relevance
from tmal_core.analysis.target import Target
from tmal_core.data.clips import Clip
from tmal_core.experiment import Experiment


@pytest.fixture(scope="module", params=["tmal", "otam"])
def explained(request, few_settings, tmp_path_factory):
    """A class of the first question, and the query's clip."""
    experiment = Experiment(few_settings, method_name=request.param, run_dir=tmp_path_factory.mktemp("run"))
    model, generator = experiment.build().eval(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    experiment.__dict__["model"] = model
    question = Question.of(experiment.samplers("val")["appearance"][0])
    asked = Asked(model, question, banked(experiment.bank("val", progress=False), question))
    clip = experiment.reader(experiment.split("val")).evaluate(int(question.query[0]))
    return Target.of(asked, 0), clip, asked


def test_the_target_is_the_answer(explained):
    target, clip, asked = explained
    probability = target.probability(Clip(*(None if part is None else part[None] for part in clip)))
    assert probability.item() == pytest.approx(float(asked.result.probabilities[0, 0]), abs=1e-4)
    frames, flow_px = clip.frames[None], None if clip.flow_px is None else clip.flow_px[None]
    odds = torch.logit(probability.double()).item()
    assert target.score(frames, flow_px).item() == pytest.approx(odds, abs=1e-3)


def test_a_covered_patch_costs_what_it_costs(explained):
    target, clip, _ = explained
    cost = patch_cost(target, clip)
    rows, columns = target.grid
    assert cost.shape == (len(clip.frames), rows, columns)
    side = clip.frames.shape[-1] // columns
    one = covered(clip, "both", 3, slice(side, 2 * side), slice(2 * side, 3 * side))
    assert not one.frames[3, :, side, 2 * side].any() and one.frames[3, :, 0, 0].equal(clip.frames[3, :, 0, 0])
    pair = [Clip(*(None if part is None else part[None] for part in each)) for each in (clip, one)]
    whole, without = (target.probability(each).item() for each in pair)
    assert cost[3, 1, 2].item() == pytest.approx(whole - without, abs=1e-5)


def test_a_covered_frame_costs_as_much_as_the_window_that_covers_it(explained):
    target, clip, _ = explained
    wide = patch_cost(target, clip, size=2 * max(target.grid) + 1)
    torch.testing.assert_close(wide[:, 0, 0], frame_cost(target, clip), atol=1e-5, rtol=0)


def test_flow_is_covered_where_there_is_flow(explained):
    target, clip, _ = explained
    if clip.flow_px is None:
        with pytest.raises(ValueError, match="expected a clip with flow"):
            frame_cost(target, clip, "flow")
        return
    alone, both, frames = (frame_cost(target, clip, what) for what in ("flow", "both", "frames"))
    assert alone.abs().max() > 1e-5 and not torch.allclose(both, frames, atol=1e-5)


def inputs(target, clip):
    return tuple(part[None] for part in (clip.frames, clip.flow_px) if part is not None)


def per_patch(target, product):
    side = product.shape[-1] // target.grid[1]
    return product[0].sum(1).unfold(1, side, side).unfold(2, side, side).sum((-1, -2))


def test_gradients_are_captum_s(explained):
    target, clip, _ = explained
    found = gradient_relevance(target, clip)
    expected = InputXGradient(target.score).attribute(tuple(part.requires_grad_() for part in inputs(target, clip)))
    for mine, theirs in zip(found, expected, strict=False):
        torch.testing.assert_close(mine, per_patch(target, theirs.detach()), atol=1e-4, rtol=1e-3)
    assert (found.flow is None) == (clip.flow_px is None)


def test_integrated_gradients_are_captum_s_and_add_up(explained):
    target, clip, _ = explained
    found = integrated_relevance(target, clip, steps=16)
    method = IntegratedGradients(target.score)
    expected = method.attribute(inputs(target, clip), n_steps=16, method="riemann_middle")
    for mine, theirs in zip(found, expected, strict=False):
        torch.testing.assert_close(mine, per_patch(target, theirs.detach()), atol=1e-3, rtol=1e-2)
    whole, nothing = (target.score(*(share * part for part in inputs(target, clip))).item() for share in (1, 0))
    total = sum(part.sum().item() for part in integrated_relevance(target, clip, 128) if part is not None)
    assert total == pytest.approx(whole - nothing, abs=0.05 * max(1, abs(whole - nothing)))


def test_relevance_of_tokens_is_the_slope_of_making_them_longer(explained):
    """The sum over all tokens of a block is the derivative of the score for a common factor on what enters it."""
    target, clip, _ = explained
    block, step = target.model.encoder.clip.visual.transformer.resblocks[1], 1e-3
    found = token_relevance(target, clip, 2)
    assert found.shape == (len(clip.frames), 1 + target.grid[0] * target.grid[1])
    scores = []
    for factor in (1 + step, 1 - step):
        hook = block.ln_1.register_forward_pre_hook(lambda _, entered, by=factor: (by * entered[0],))
        try:
            scores.append(target.score(*inputs(target, clip)).item())
        finally:
            hook.remove()
    # A LayerNorm takes a common factor away again.
    assert found.sum().item() == pytest.approx((scores[0] - scores[1]) / (2 * step), abs=0.05)
    for wrong in (0, 99):
        with pytest.raises(ValueError, match="expected a block in 1"):
            token_relevance(target, clip, wrong)


def test_what_branches_add_is_what_they_put_out(explained):
    target, clip, asked = explained
    model = target.model
    text = None if asked.tokens.text is None else asked.tokens.text[0]
    found = branch_additions(model, clip, text)
    names = {one.branch for one in found}
    if not model.reads_motion:
        assert found == []
        return
    assert names == {"adapter before attention", "adapter before FFN", "flow", "text"}
    assert {one.branch for one in branch_additions(model, clip)} == names - {"text"}
    rows, columns = target.grid
    for one in found:
        assert one.size.shape == one.direction.shape == (len(clip.frames), rows, columns)
        assert (one.size >= 0).all() and one.direction.abs().max() <= 1.001
    with torch.no_grad():
        for adapter in model.encoder.adapters["ffn"]:
            adapter.fc2.bias.add_(1.0)
        try:
            more = branch_additions(model, clip)
        finally:
            for adapter in model.encoder.adapters["ffn"]:
                adapter.fc2.bias.sub_(1.0)
    sizes = [sum(one.size.mean() for one in each if one.branch == "adapter before FFN") for each in (found, more)]
    assert sizes[1] > sizes[0]


def test_patches_that_look_like_a_name(explained):
    target, clip, _ = explained
    model = target.model
    visual = model.encoder.clip.visual
    patch = visual.ln_post(model.encoder.tokens(*inputs(target, clip))[-1][2, 1 + 13]) @ visual.proj
    text = torch.stack([patch, -patch]).detach()
    found = patch_text_similarity(model, clip, text)
    rows, columns = target.grid
    assert found.shape == (len(clip.frames), rows, columns, 2)
    assert found[2, 13 // columns, 13 % columns].tolist() == pytest.approx([1, -1], abs=1e-4)
    torch.testing.assert_close(found[..., 0], -found[..., 1])


def test_an_impossible_window_or_number_of_steps(explained):
    target, clip, _ = explained
    with pytest.raises(ValueError, match="expected an odd window"):
        patch_cost(target, clip, size=2)
    with pytest.raises(ValueError, match="expected at least 1 step"):
        integrated_relevance(target, clip, 0)
