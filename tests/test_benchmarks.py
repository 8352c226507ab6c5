"""What the benchmarks stand on: plain versions that compute the same, memory counted right, rows that arrive."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import against
import bench_encode
import bench_faithfulness
import memory_count
import plain
import pytest
import run
import step_profile
import torch
from bench_training import Step, episode_of
from measure import peak_bytes, taking_turns
from subjects import model_of, noise, settings_for

from tmal_core.matching import cosine_distance, otam
from tmal_core.runtime.held_bytes import HeldBytes


@pytest.fixture(scope="module")
def settings():
    """ViT-B/16's parts on the tiny CLIP's shapes."""
    return settings_for("st_adapter", "tiny", model__adapters="ffn")


@pytest.fixture(scope="module")
def model(settings):
    return model_of(settings)


def test_plain_features_are_the_model_s(model):
    frames = noise(3, side=64)
    with torch.no_grad():
        torch.testing.assert_close(plain.encode(model.encoder, frames), model.encoder(frames), atol=1e-4, rtol=1e-4)
        model.encoder.adapters["ffn"][0].fc2.weight.add_(0.1)
        torch.testing.assert_close(plain.encode(model.encoder, frames), model.encoder(frames), atol=1e-4, rtol=1e-4)


def test_plain_matching_is_the_package_s():
    query, support = (torch.rand(n, t, 16, generator=torch.Generator().manual_seed(n)) for n, t in ((4, 8), (3, 6)))
    distances = cosine_distance(query, support)
    torch.testing.assert_close(plain.cosine(query, support), distances)
    torch.testing.assert_close(plain.otam(distances), otam(distances), atol=1e-5, rtol=0)
    labels = torch.arange(3)
    torch.testing.assert_close(plain.logits(query, support, 3), -otam(distances)[:, labels], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("method", "memory", "precision"),
    [("st_adapter", "normal", "float32"), ("st_adapter", "low", "bfloat16"), ("tmal", "normal", "bfloat16")],
)
def test_memory_counted_without_a_run_is_what_a_run_takes(method, memory, precision, monkeypatch):
    monkeypatch.setattr("tmal_core.models.encoder._CLIPS_IN_LOW_MEMORY", 4)
    changes = {"training__memory": memory, "training__precision": precision}
    settings = settings_for(method, "tiny", **changes)
    counted = memory_count.step_bytes(settings, 10)
    taken = memory_count._step_bytes(model_of(settings), settings, 10)
    # Without content, layer norms on a CPU say that their statistics are in half precision; they are in full.
    assert counted == pytest.approx(taken, rel=5e-3 if precision == "bfloat16" else 0)


def test_held_bytes_by_hand():
    """Views and what was there before are nothing new; what nobody holds any more is given back."""
    given = torch.ones(1000)
    with HeldBytes() as counted:
        kept = given * 2  # 4,000 bytes
        given.view(10, 100).add_(1)
        view = kept[:10]
        del kept
        assert counted.held == 4000
        (given + 1).sum()  # 4,000 and then 4 more, for a moment
        assert (counted.held, counted.peak) == (4000, 8004)
        del view
        assert counted.held == 0
    assert peak_bytes(lambda: given.double()) == 8000


def test_operations_are_counted_as_by_hand():
    """Frozen, so all there is: patches, blocks of which the last answers for the class token alone, projection."""
    asked = settings_for("otam", "tiny")
    visual = model_of(asked).encoder.clip.visual
    depth, width = len(visual.transformer.resblocks), visual.conv1.out_channels
    patches, pixels = len(visual.positional_embedding) - 1, visual.conv1.weight[0].numel()
    tokens = patches + 1
    block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    last = 2 * tokens * 2 * width**2 + 2 * 10 * width**2 + 4 * tokens * width
    frame = 2 * patches * width * pixels + (depth - 1) * block + last + 2 * width * visual.proj.shape[1]
    assert bench_encode.operations(asked, 3) == 3 * 8 * frame


def test_a_step_s_time_is_shared_out(settings, model, tmp_path):
    step = Step(settings, episode_of(2, 1, 1, side=64), model)
    kinds = step_profile.kinds_of(step)
    for kind in ("matrix products", "attention", "adapters' convolution over time", "OTAM and distances"):
        assert kinds[kind]["forward"] > 0 and kinds[kind]["backward"] > 0 and kinds[kind]["optimiser"] == 0
    assert kinds["optimiser"]["optimiser"] > 0
    step_profile.draw(kinds, tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_calls_take_turns():
    order = []
    found = taking_turns({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2)
    assert order == list("ab" * 3) and set(found) == {"a", "b"}


def test_rows_arrive_on_the_screen_and_in_the_folder(tmp_path, monkeypatch, capsys):
    benchmarks = tmp_path / "tests" / "benchmarks"
    benchmarks.mkdir(parents=True)
    (benchmarks / "bench_one.py").write_text(
        "from measure import row\ndef rows():\n    yield row('a', 1, 's', '<=', 2.0)\n"
    )
    (benchmarks / "bench_two.py").write_text(
        "from measure import row\n"
        "def rows(folder):\n    (folder / 'picture.png').touch()\n    yield row('b', 1234.5, '')\n"
    )
    monkeypatch.setattr(run, "HERE", benchmarks)
    assert run.main([]) == 0
    shown = capsys.readouterr().out
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [(line["benchmark"], line["name"], line["value"]) for line in lines] == [
        ("one", "a", 1),
        ("two", "b", 1234.5),
    ]
    assert all("threads" in line["machine"] for line in lines)
    (folder,) = (tmp_path / "runs").glob("bench-*")
    assert (folder / "bench.jsonl").read_text() == shown and (folder / "picture.png").exists()
    table = (folder / "bench.md").read_text().splitlines()
    assert table[-2:] == ["| a | 1 s | <= 2 s |", "| b | 1.23e+03 |  |"] and "threads" in table[0]
    assert run.main(["three"]) == 1
    assert "expected benchmarks among one, two, got three" in capsys.readouterr().err


def test_two_commits_take_turns_and_leave_nothing(tmp_path, monkeypatch, capsys):
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "first")
    commit = git("rev-parse", "HEAD").strip()
    asked: list[bool] = []

    def speed_of(tree: Path, clips: Path) -> dict[str, float]:
        asked.append(tree == tmp_path)
        return {"step": 3.0 if tree == tmp_path else 2.0}

    monkeypatch.setattr(against, "ROOT", tmp_path)
    monkeypatch.setattr(against, "speed_of", speed_of)
    monkeypatch.setattr(against, "write_h264", lambda folder: None)
    assert against.main(commit) == 0
    assert "| step | 2.000 | 3.000 | 1.500 |" in capsys.readouterr().out
    assert asked == [False, True] * against.ROUNDS
    assert len(git("worktree", "list").splitlines()) == 1
    assert against.main("no-such-commit") != 0


def test_faithfulness_without_a_run_is_not_measured_and_a_part_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_faithfulness, "run_dir", lambda: None)
    (row,) = bench_faithfulness.rows(tmp_path)
    assert row["value"] is None and "not measured" in row["name"] and not list(tmp_path.iterdir())
    monkeypatch.setenv("TMAL_KEEP", "1")
    monkeypatch.setenv("TMAL_CLIPS", "4")
    with pytest.raises(SystemExit, match="expected 200 clips for a table that is kept, got 4"):
        next(bench_faithfulness.rows(tmp_path))
