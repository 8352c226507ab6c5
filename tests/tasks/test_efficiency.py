"""What methods cost: operations counted by hand, shapes of episodes, and tables that say all of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core import cli
from tmal_core.experiment import Experiment
from tmal_core.models import fast_paths
from tmal_core.models.methods import build
from tmal_core.runtime.operation_count import flops_of
from tmal_core.tasks.efficiency import EpisodeShape, efficiency_tables, episode_shapes, training_flops

SMALL = {
    "data.name": "noise",
    "data.families": ["appearance", "order"],
    "data.clips_train": 4,
    "sampling.num_frames": 2,
    "sampling.grid": 2,
    "sampling.min_gap": 0,
}
SMALL |= {"episodes.way": 2, "episodes.queries_train": 1, "model.bottleneck": 8, "model.mlp_width": 16}
SMALL |= {"training.episodes": 10, "training.warmup": 1, "compute.num_threads": 1}


def small(method: str, **more: object) -> Experiment:
    return Experiment.of("tiny", SMALL | {name.replace("__", "."): value for name, value in more.items()}, method)


def test_operations_by_hand():
    convolution = torch.nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0), groups=8)
    clips = torch.randn(2, 8, 4, 5, 5, requires_grad=True)
    once = 2 * 3 * clips.numel()
    assert flops_of(lambda: convolution(clips)) == once
    assert flops_of(lambda: convolution(clips).sum().backward()) == 3 * once, "either gradient costs as much again"
    query = torch.randn(1, 2, 5, 4)
    attention = torch.nn.functional.scaled_dot_product_attention
    assert flops_of(lambda: attention(query, query, query)) == 2 * (2 * 2 * 5 * 5 * 4)
    whole, tokens = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(3, 5, 8)
    fused = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        found = flops_of(lambda: whole(tokens, tokens, tokens, need_weights=False))
    assert found == 2 * (3 * 5 * 8 * 24 + 3 * 5 * 8 * 8) + 2 * (2 * 3 * 5 * 5 * 8)
    assert torch.backends.mha.get_fastpath_enabled() == fused


def test_a_clip_s_operations_are_those_of_the_vit():
    experiment = small("protonet")
    counts, _ = efficiency_tables({"protonet": experiment}, rounds=1)
    visual = build(experiment.settings.model).encoder.clip.visual
    width, patch = visual.conv1.out_channels, visual.conv1.kernel_size[0]
    tokens, joint = visual.positional_embedding.shape[0], visual.proj.shape[1]
    block = visual.transformer.resblocks[0]
    hidden = block.mlp.c_fc.out_features
    of_block = 4 * tokens * width * width + 2 * tokens * tokens * width + 2 * tokens * width * hidden
    of_frame = (tokens - 1) * width * 3 * patch**2 + len(visual.transformer.resblocks) * of_block + width * joint
    assert counts["clip_gflop"].iat[0] == pytest.approx(2 * 2 * of_frame / 1e9)
    assert not fast_paths.definitions


def test_training_counts_every_episode_and_flow():
    tmal = small("tmal", model__fusion_width=8)
    once = training_flops(tmal)
    assert once > 0 and training_flops(small("tmal", model__fusion_width=8, training__episodes=20)) == 2 * once
    assert training_flops(small("tmal", model__fusion_width=8, model__flow_encoder="none")) < once
    assert training_flops(small("tmal", model__fusion_width=8, training__memory="low")) == once
    assert training_flops(small("st_adapter", model__bottleneck=16)) > training_flops(small("st_adapter"))
    assert training_flops(small("otam")) == 0


def test_shapes_of_training_episodes():
    settings = small("tmal").settings.replace(
        {"data.name": "diagnostic", "data.families": ["appearance", "order", "speed", "semantic"]}
    )
    settings = settings.replace({"episodes.way": 4, "episodes.queries_train": 3, "data.clips_train": 24})
    shapes = episode_shapes(settings)
    assert sum(shapes.values()) == pytest.approx(1)
    assert shapes[EpisodeShape(4, 1, 3, True)] == 0.25, "appearance: classes of any group"
    assert shapes[EpisodeShape(2, 1, 6, True)] == 0.5 and shapes[EpisodeShape(2, 1, 6, False)] == 0.25
    real = settings.replace({"data.name": "hmdb51", "training.shot": 2})
    assert episode_shapes(real) == {EpisodeShape(4, 2, 3, True): 1.0}


def test_the_command_writes_counts_and_times_apart(tmp_path, capsys):
    sets = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    methods = ["--method", "otam", "--method", "tmal"]
    argv = ["efficiency", *sets, *methods, "--rounds", "1", "--out", str(tmp_path / "run")]
    assert cli.main(argv) == 0
    shown, err = capsys.readouterr()
    assert "otam ...\ntmal ...\n" in err and "threads\n" in shown and "efficiency_time.csv" in shown
    counts = pd.read_csv(tmp_path / "run" / "tables" / "efficiency.csv", dtype={"settings": str}).set_index("method")
    times = pd.read_csv(tmp_path / "run" / "tables" / "efficiency_time.csv").set_index("method")
    assert counts["trained"]["otam"] == 0 < counts["trained"]["tmal"] < counts["parameters"]["tmal"]
    assert counts["clip_gflop"]["otam"] < counts["clip_gflop"]["tmal"] < counts["episode_gflop"]["tmal"]
    assert counts["training_gflop"]["tmal"] == pytest.approx(10 * counts["episode_gflop"]["tmal"])
    held = 4 * counts["parameters"]["tmal"] / 1e6
    assert held < counts["peak_memory_mb"]["tmal"] < 20 * held and math.isnan(counts["peak_memory_mb"]["otam"])
    assert counts["memory_of"]["tmal"] == "tensors"
    assert (times["clip_ms"] > 0).all() and times["episode_ms"]["tmal"] > 0 and np.isnan(times["episode_ms"]["otam"])
    assert times["machine"].str.endswith("1 threads").all() and set(times["training_precision"]) == {"float32"}
