"""What must hold for every method, and for TMAL whatever its switches: CLIP at the start, answers without peeking."""

from __future__ import annotations

import contextlib
import copy
import functools

import open_clip
import pytest
import torch
from tolerances import IDENTITY, LAYERS, NETWORK, assert_parity

from tmal_core.config import load_settings
from tmal_core.matching import match
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MatchingHead, visual_logits
from tmal_core.models.methods import METHODS, build, method, resolved
from tmal_core.models.open_clip_access import embedded, pooled
from tmal_core.models.summary import frozen_hash, parameter_table

SIDE = {"model.ts_fsar.side_width": 64, "model.ts_fsar.temporal_blocks": [1, 3]}
TINY = load_settings("tiny", {"model.method": "tmal", "model.bottleneck": 8, "model.fusion_width": 8, **SIDE}).model
SWITCHES = {
    "everything": {},
    "flow as a picture": {"flow_encoder": "clip"},
    "flow as a picture, tokens only": {"flow_encoder": "clip", "fusion": "token"},
    "flow as a picture, prototypes only": {"flow_encoder": "clip", "fusion": "prototype"},
    "tokens only": {"fusion": "token"},
    "prototypes only": {"fusion": "prototype"},
    "nothing fused": {"fusion": "none"},
    "differences in place of flow": {"flow_encoder": "difference"},
    "no text": {"text": False},
    "no text, tokens only": {"text": False, "fusion": "token"},
    "no text, prototypes only": {"text": False, "fusion": "prototype"},
    "no flow": {"flow_encoder": "none"},
    "no flow, tokens only": {"flow_encoder": "none", "fusion": "token"},
    "no flow, prototypes only": {"flow_encoder": "none", "fusion": "prototype"},
    "last level": {"fusion_levels": "last", "text_levels": "last"},
    "no levels": {"fusion_levels": "none", "text_levels": "none"},
    "flow on all levels, text on none": {"text_levels": "none"},
    "chosen levels": {"fusion_levels": (2, 3), "text_levels": (4,)},
    "no adapters": {"adapters": "none"},
    "adapters before FFN": {"adapters": "ffn"},
    "adapters before attention": {"adapters": "attention"},
    "sets": {"matching": "bimhm"},
    "mean": {"matching": "mean"},
    "two matchers": {"matching": "otam+tuples"},
    "temporal attention": {"temporal_attention": 2},
    "temporal attention in every block, no adapters": {"temporal_attention": 4, "adapters": "none"},
    "side network": {"side_width": 64},
    "side network, no adapters": {"side_width": 64, "adapters": "none"},
    "knows its task": {"task_conditioned": True, "smoothing": 0.1},
    "knows its task, gate": {"task_conditioned": True, "centre": "gate", "smoothing": 0.1},
    "text score": {"text_score": 0.5},
    "another scale and smoothing": {"logit_scale": 8.0, "smoothing": 0.1},
    "smoothing in deviations": {"smoothing_unit": "std", "smoothing": 2.0},
    "centred": {"centre": "clip", "smoothing": 0.1},
    "centred, nothing fused": {"centre": "clip", "fusion": "none"},
    "both": {"centre": "both", "smoothing": 0.1},
    "gate": {"centre": "gate", "smoothing": 0.1},
    "gate, nothing fused": {"centre": "gate", "fusion": "none", "gate_sharpness": 1.0},
    "centred sets": {"centre": "clip", "matching": "bimhm", "fusion": "token"},
    "averaged frames are not centred": {"centre": "clip", "matching": "mean"},
}
# zero_shot looks at no support clip, and clip_fsar starts as no plain CLIP.
WITH_OTHER_TESTS = ("tmal", "ts_fsar", "zero_shot")
METHOD_SWITCHES = {f"method {name}": {"method": name} for name in METHODS if name not in WITH_OTHER_TESTS}
WAY, FRAMES = 3, 4


@pytest.fixture(params=SWITCHES.values(), ids=SWITCHES)
def parts(request):
    return TINY.model_copy(update=request.param)


@pytest.fixture
def untrained(parts):
    return _built(parts)


@pytest.fixture(
    params=[*SWITCHES.values(), *METHOD_SWITCHES.values()], ids=[*SWITCHES, *METHOD_SWITCHES], scope="module"
)
def trained(request):
    """For tests that leave it as it is."""
    return _with_noise(_built(TINY.model_copy(update=request.param)))


@pytest.fixture(scope="module")
def asked(trained):
    """An episode and its logits, computed once for all tests that change something of it and ask again."""
    episode = _Episode(trained)
    return episode, episode.logits()


@pytest.fixture
def episode(asked):
    return copy.copy(asked[0])


@pytest.fixture
def before(asked):
    return asked[1]


def _built(parts) -> FewShotModel:
    """As `methods.build`, on a copy of a CLIP that is read once: hundreds of tests want one."""
    torch.manual_seed(0)
    model = method(parts.method).build(copy.deepcopy(_clip()), resolved(parts)).eval()
    model.head.frame_std = 0.05 if model.head.in_std else 1.0
    return model


@functools.cache
def _clip() -> torch.nn.Module:
    return load_backbone(located(TINY.backbone), TINY.pretrained)


def _with_noise(model: FewShotModel) -> FewShotModel:
    """As if trained: noise on everything that is learned, so no part is the identity."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.tunable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


class _Episode:
    """Two shots of three classes and five queries, as a model wants them."""

    def __init__(self, model: FewShotModel) -> None:
        draw = torch.Generator().manual_seed(2)
        self.model = model
        self.support = torch.randn(2 * WAY, FRAMES, 3, 64, 64, generator=draw)
        self.query = torch.randn(5, FRAMES, 3, 64, 64, generator=draw)
        channels = getattr(model.encoder.motion, "channels", 2)
        self.support_flow = torch.randn(2 * WAY, FRAMES, channels, 64, 64, generator=draw)
        self.query_flow = torch.randn(5, FRAMES, channels, 64, 64, generator=draw)
        self.text = torch.randn(WAY, model.encoder.joint_width, generator=draw)
        self.labels = torch.tensor([0, 1, 2, 0, 1, 2])

    @torch.no_grad()
    def encoded(self) -> tuple[torch.Tensor, torch.Tensor]:
        reads_motion = self.model.reads_motion
        words = self.text[self.labels] if self.model.reads_text else None
        query = self.model.encoder(self.query, self.query_flow if reads_motion else None)
        return query, self.model.encoder(self.support, self.support_flow if reads_motion else None, words)

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        clips = [(self.query, self.query_flow), (self.support, self.support_flow)]
        query, support = clips if self.model.reads_motion else [frames for *frames, _ in clips]
        return self.model(query, support, self.labels, self.text)


def test_untrained_it_is_plain_clip_at_every_block_in_every_role(untrained):
    episode = _Episode(untrained)
    flow = episode.support_flow if untrained.reads_motion else None
    with torch.no_grad():
        for text in (episode.text[episode.labels], None):
            _assert_plain_clip(untrained, episode.support, untrained.encoder.tokens(episode.support, flow, text))


def _assert_plain_clip(model: FewShotModel, frames: torch.Tensor, stages: list[torch.Tensor]) -> None:
    visual = model.encoder.clip.visual
    plain = embedded(visual, frames.flatten(0, 1))
    for block, tokens in zip([None, *visual.transformer.resblocks], stages, strict=True):
        plain = plain if block is None else block(plain)
        assert_parity(tokens, plain, IDENTITY)


def test_untrained_it_answers_as_its_matcher_on_plain_features(untrained, parts):
    """One shot each: with more, TMAL averages features where the plain methods average distances."""
    episode = _Episode(untrained)
    episode.support, episode.support_flow = episode.support[:WAY], episode.support_flow[:WAY]
    episode.labels = episode.labels[:WAY]
    plain, head = _built(parts.model_copy(update={"method": "otam"})), untrained.eval().head
    with torch.no_grad():
        features = [plain.encoder(episode.query), plain.encoder(episode.support)]
        compared = MatchingHead(parts.matching, centre=parts.centre, gate_sharpness=parts.gate_sharpness)
        features = compared.in_episode(*(compared.centred(frames) for frames in features))
        query, support = episode.encoded()
        scale = torch.tensor(parts.logit_scale)
        logits = scale * -match(*features, parts.matching, smoothing=parts.smoothing * head.frame_std)
        prototypes, _ = head.prototypes(support, episode.labels, episode.text)
        mine = head.log_scale.exp() * -head.distances(head.modulate(query), prototypes)
    torch.testing.assert_close(mine, logits, atol=2e-5, rtol=1e-5)


def test_relabelling_the_classes_permutes_the_logits(episode, before):
    order = torch.tensor([2, 0, 1])  # class c is now called order[c]
    episode.labels = order[episode.labels]
    episode.text = episode.text[order.argsort()]
    torch.testing.assert_close(episode.logits()[:, order], before, **NETWORK)


def test_the_order_of_the_support_set_does_not_matter(episode, before):
    order = torch.tensor([3, 5, 0, 4, 1, 2])
    episode.support, episode.support_flow = episode.support[order], episode.support_flow[order]
    episode.labels = episode.labels[order]
    torch.testing.assert_close(episode.logits(), before, **NETWORK)


def test_a_query_does_not_depend_on_the_others(episode, before):
    episode.query, episode.query_flow = episode.query[[1]], episode.query_flow[[1]]
    torch.testing.assert_close(episode.logits(), before[[1]], **NETWORK)


def test_no_class_name_reaches_a_query(trained, episode):
    """Queries are encoded without text, and encoding both roles at once gives the query the same tokens."""
    flow = episode.query_flow if trained.reads_motion else None
    words = torch.randn(5, trained.encoder.joint_width)
    with torch.no_grad():
        alone = trained.encoder(episode.query, flow)
        query, support = trained.encoder.encode_roles(episode.query, flow, words)
        torch.testing.assert_close(query, alone, **LAYERS)
        assert (query is support) == (not trained.encoder.separate_roles)
        if trained.encoder.separate_roles:
            torch.testing.assert_close(support, trained.encoder(episode.query, flow, words), **NETWORK)
            assert (support - query).abs().max() > 1e-3
        both, first = trained.encoder.encode_roles(episode.query, flow, words, num_support=2)
        assert torch.equal(both, query) and (first is both) == (not trained.encoder.separate_roles)
        torch.testing.assert_close(first[:2], support[:2], **LAYERS)
        assert len(first) == (2 if trained.encoder.separate_roles else 5)


def test_frozen_means_no_gradient_and_no_changed_bit(untrained):
    before = frozen_hash(untrained)
    model, episode = _with_noise(untrained).train(), _Episode(untrained)
    flows = (episode.query_flow, episode.support_flow) if model.reads_motion else (None, None)
    words = episode.text[episode.labels] if model.reads_text else None
    query, support = model.encoder(episode.query, flows[0]), model.encoder(episode.support, flows[1], words)
    logits = model.head.episode_logits(query, support, episode.labels, episode.text)
    learns_names = {"head.log_text_scale", "head.scale"} & model.tunable().keys()
    similarity = model.head.class_logits(query, episode.text) if learns_names else logits.new_zeros(())
    (logits.square().mean() + similarity.square().mean()).backward()
    without = {name for name, p in model.tunable().items() if p.grad is None or not p.grad.any()}
    # Only the class token leaves the tower, and in the last block nothing passes from patches to it after attention:
    # the adapter there (one of ST-Adapter's twelve, too) has nothing to learn from.
    last = f"encoder.adapters.ffn.{model.encoder.depth - 1}."
    assert without == {name for name in model.tunable() if name.startswith(last)}
    assert all(p.grad is None for p in model.encoder.clip.parameters())
    torch.optim.SGD(model.tunable().values(), lr=0.1).step()
    assert frozen_hash(model) == before


def test_shots_become_one_prototype_with_one_text_or_their_distances_are_averaged(trained, episode):
    lengths, head = [], trained.head
    if head.by_episode:
        return  # all shots of a class are looked at together, as the tests of such heads say
    query, support = episode.encoded()
    with contextlib.ExitStack() as hooks, torch.no_grad():
        if head.merges_shots:
            context = next(module for name, module in head.named_modules() if name.endswith("context2"))
            sees = context.register_forward_pre_hook(lambda _, tokens: lengths.append(tokens[0].shape[1]))
            hooks.enter_context(sees)
        logits = head.episode_logits(query, support, episode.labels, episode.text)
    by_class = support.unflatten(0, (2, WAY))  # labels 0, 1, 2, 0, 1, 2
    with torch.no_grad():
        if head.merges_shots:
            with_motion = int(trained.reads_motion)
            assert lengths[:2] == [FRAMES + with_motion + int(trained.reads_text), FRAMES + with_motion]
            distances = head.distances(head.modulate(query), head.modulate(by_class.mean(0), episode.text))
        else:
            distances = head.distances(head.modulate(query), head.modulate(support))
            distances = distances.unflatten(1, (2, WAY)).mean(1)
        text = head.text_similarity(query, episode.text) if head.scores_text else None
        torch.testing.assert_close(logits, head.score(-distances, text), **NETWORK)


def test_flow_changes_the_answer_and_missing_flow_is_an_error(trained, episode, before):
    episode.query_flow = episode.query_flow.flip(-1) * 3
    changed = (episode.logits() - before).abs().max()
    assert (changed > 1e-4) == trained.reads_motion
    if trained.reads_motion:
        with pytest.raises(ValueError, match="expected flow"):
            trained.encoder(episode.query)


def test_text_changes_the_answer_only_where_it_is_read_and_missing_text_is_an_error(trained, episode, before):
    reads = trained.reads_text or trained.head.scores_text
    episode.text = episode.text.roll(1, 0) * 1.5
    changed = (episode.logits() - before).abs().max()
    assert (changed > 1e-4) == reads
    if reads:
        episode.text = None
        with pytest.raises(ValueError, match=r"expected text .* which this method reads, got none"):
            episode.logits()


def test_the_text_score_is_not_used_in_training():
    model = build(TINY.model_copy(update={"text_score": 0.5}))
    assert model.eval().head.scores_text and not model.train().head.scores_text


@pytest.mark.parametrize("name", ["st_adapter", "st_adapter_mean", "tmal", "clip_fsar"])
def test_scores_are_as_fine_under_autocast_as_without(name):
    """Distances of an episode lie closer than bfloat16 tells apart: what is learned from may not be rounded to it."""
    model = _with_noise(_built(TINY.model_copy(update={"method": name})))
    draw = torch.Generator().manual_seed(3)
    near = torch.randn(1, FRAMES, model.encoder.joint_width, generator=draw)
    query, support = (near + 0.05 * torch.randn(6, *near.shape[1:], generator=draw) for _ in range(2))
    labels, text = torch.arange(6) % WAY, torch.randn(WAY, model.encoder.joint_width, generator=draw)
    head, tokens = model.head, query
    if model.reads_motion:  # with a motion token behind
        tokens = torch.cat([query, query[:, :1]], dim=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = head.score(visual_logits(head.distances(query, support), labels))
        similarities = [answer(tokens, text) for answer in (head.text_similarity, head.class_logits)]
    with torch.no_grad():
        assert torch.equal(scores, head.score(visual_logits(head.distances(query, support), labels)))
        for answer, similarity in zip((head.text_similarity, head.class_logits), similarities, strict=True):
            assert torch.equal(similarity, answer(tokens, text))


def test_at_full_size_it_starts_as_clip_and_few_parameters_are_tuned():
    settings = load_settings("hmdb51", {"model.pretrained": "random"}).model.model_copy(update={"method": "tmal"})
    clip = load_backbone(settings.backbone, settings.pretrained)
    draw = torch.Generator().manual_seed(0)
    frames, flow = (torch.randn(1, 1, channels, 224, 224, generator=draw) for channels in (3, 2))
    adapted = resolved(settings.model_copy(update={"method": "st_adapter", "adapters": "ffn"}))
    reference = method("st_adapter").build(clip, adapted)
    # As ST-Adapter's table says of its 12 x 384: 7.1 M.
    assert 7.0e6 < sum(p.numel() for p in reference.tunable().values()) < 7.2e6
    with torch.no_grad():
        assert reference.encoder(frames).shape == (1, 1, 512)
    for adapters, places, limit in (("ffn", ["FFN"], 16e6), ("both", ["attention", "FFN"], 23e6)):
        model = method("tmal").build(clip, settings.model_copy(update={"adapters": adapters})).eval()
        trained = parameter_table(model).set_index("part")["trained"]
        adapted = sum(trained["temporal adapters before " + place] for place in places)
        assert adapted == len(places) * 12 * 592_512 and adapted < trained["whole model"] <= limit
        assert trained[["CLIP, image tower", "CLIP, text tower"]].sum() == 0
        with torch.no_grad():
            assert model.encoder(frames, flow, torch.zeros(1, 512)).shape == (1, 2, 512)
            _assert_plain_clip(model, frames, model.encoder.tokens(frames, flow, torch.randn(1, 512, generator=draw)))


def test_encoding_takes_the_class_token_alone_through_the_last_block(trained, episode):
    """The shortcut gives the same features as all tokens do."""
    flow = episode.query_flow if trained.reads_motion else None
    with torch.no_grad():
        last = trained.encoder.tokens(episode.query, flow)[-1]
        whole = pooled(trained.encoder.clip.visual, last)
        if (side := getattr(trained.encoder, "side", None)) is not None:
            whole = whole + side(trained.encoder.tokens(episode.query, flow), episode.query.shape[1])
        whole = whole.unflatten(0, episode.query.shape[:2])
        features = trained.head.frame_features(trained.encoder(episode.query, flow))
        torch.testing.assert_close(features, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", [{"pool_type": "tok"}, {"pool_type": "avg"}, {"attentional_pool": True}])
def test_towers_that_pool_in_another_way_start_as_themselves(pooling):
    """Their patch tokens are needed to the end: the class token's way through the last block is not theirs."""
    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32, **pooling}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    parts = TINY.model_copy(update={"text_levels": "all"})
    clip = open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text).eval()
    model = method("tmal").build(clip, parts).eval()
    draw = torch.Generator().manual_seed(1)
    frames, flow = (torch.randn(2, 3, channels, 32, 32, generator=draw) for channels in (3, 2))
    encoder, features = model.encoder, model.head.frame_features
    with torch.no_grad():
        plain = clip.visual(frames.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(features(encoder(frames, flow)), plain, **LAYERS)
        _with_noise(model)
        moved = features(encoder(frames, flow))
        whole = pooled(clip.visual, encoder.tokens(frames, flow)[-1]).unflatten(0, (2, 3))
        torch.testing.assert_close(moved, whole, **NETWORK)
        assert (moved - plain).abs().max() > 1e-3
