"""Estimators compared on flow that is known: errors as they are defined, times for all, weights that are not there."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.data.diagnostic.known_flow import KnownClip, known_clips
from tmal_core.flow.estimator import DIS_NAMES, ESTIMATORS, build_estimator
from tmal_core.flow.raft import RAFT
from tmal_core.runtime.weights_files import WEIGHTS
from tmal_core.tasks import flow_compare
from tmal_core.tasks.flow_compare import error_table, estimate_all, estimators_here, speed_table


def test_estimators_without_weights_say_what_goes_where(tmp_path):
    usable, table = estimators_here(tmp_path)
    assert list(usable) == list(DIS_NAMES) and table["estimator"].tolist() == list(ESTIMATORS)
    words = dict(zip(table["estimator"], table["weights"], strict=True))
    assert words["dis"] == "needs none" and table["usable"].sum() == len(DIS_NAMES)
    assert words["raft_large"] == f"no weights here: put raft_large_C_T_SKHT_V2-ff5fadd5.pth at {tmp_path}"
    assert words["flownet2sd"] == f"no weights here: put FlowNet2-SD_checkpoint.pth.tar at {tmp_path}"


def test_the_usual_folder_is_named_as_people_of_the_project_do(monkeypatch):
    monkeypatch.delenv("TMAL_WEIGHTS", raising=False)
    monkeypatch.setattr(flow_compare.Path, "is_file", lambda path: False)
    words = estimators_here()[1]["weights"].iloc[-1]
    assert words == "no weights here: put FlowNet2-CSS_checkpoint.pth.tar at data/weights/"


def test_estimators_with_weights_appear_and_damaged_ones_say_so(tmp_path, monkeypatch):
    entry = WEIGHTS["raft_small"]
    torch.save(RAFT("raft_small").raft.state_dict(), tmp_path / entry.file)
    monkeypatch.setitem(WEIGHTS, "raft_small", type(entry)(**{**vars(entry), "sha256": ""}))
    (tmp_path / "FlowNet2-S_checkpoint.pth.tar").write_bytes(b"half a download")
    usable, table = estimators_here(tmp_path)
    assert list(usable) == [*DIS_NAMES, "raft_small"]
    words = dict(zip(table["estimator"], table["weights"], strict=True))
    assert words["raft_small"] == f"sha256 {usable['raft_small'].weights_hash[:12]}..."
    assert words["flownet2s"].startswith("unusable: expected a FlowNet2 checkpoint")


def still(offset):
    """A clip that rests, and flow that is wrong by `offset` in its left half and right elsewhere."""
    truth, visible = np.zeros((2, 2, 4, 6), np.float32), np.ones((2, 4, 6), bool)
    visible[:, :, 0] = False
    flow = truth.copy()
    flow[:, 0, :, :3], flow[:, 1, :, :3] = offset
    return KnownClip("rest", "rests", np.zeros((3, 4, 6, 3), np.uint8), truth, visible), flow


def test_errors_are_distances_of_what_is_in_sight():
    clip, flow = still((3.0, 4.0))
    table = error_table([clip], {"rest": {"one": flow, "other": np.zeros_like(flow)}})
    assert table["estimator"].tolist() == ["one", "other"] and table["motion"].unique() == ["rests"]
    one, other = table.iloc[0], table.iloc[1]
    assert one["epe_px"] == pytest.approx(5 * 2 / 5) and one["epe_hidden_px"] == 5 and one["over_1px_pct"] == 40
    assert other["epe_px"] == other["epe_hidden_px"] == other["over_1px_pct"] == 0
    clip, flow = still((0.6, 0.8))
    assert error_table([clip], {"rest": {"one": flow}})["over_1px_pct"].iloc[0] == 0


def test_dis_is_near_the_truth_and_its_coarser_presets_farther():
    clips = known_clips(scenes=("shift", "turn", "two layers"))
    estimators = {name: build_estimator(name) for name in DIS_NAMES}
    flows = estimate_all(estimators, clips)
    assert all(flow.shape == clip.flow_px.shape for clip in clips for flow in flows[clip.name].values())
    errors = error_table(clips, flows).pivot(index="clip", columns="estimator", values="epe_px")
    assert (errors["dis"] < 0.2).all() and (errors["dis"] < errors["dis_fast"]).all()
    assert (errors.to_numpy() < 1).all() and (errors.to_numpy() > 0.01).all()


class Clocked:
    """An estimator that moves a clock on and keeps what it was shown."""

    def __init__(self, now, seconds):
        self.now, self.seconds, self.shown = now, seconds, []

    def estimate(self, first, second):
        self.now[0] += self.seconds
        self.shown.append(tuple(first.shape))


def test_speed_has_a_row_per_estimator_and_keeps_its_budget(monkeypatch):
    now = [0.0]
    quick, slow = Clocked(now, 0.1), Clocked(now, 3.0)
    monkeypatch.setattr(flow_compare.time, "perf_counter", lambda: now[0])
    threads = cv2.getNumThreads()
    sizes = ((24, 32), (16, 16))
    table = speed_table({"quick": quick, "slow": slow}, sizes, num_pairs=2, rounds=5, budget_s=4.0)
    assert cv2.getNumThreads() == threads
    assert table["estimator"].tolist() == ["quick", "slow"] and table["machine"].str.contains("threads").all()
    assert table["ms_24x32"].tolist() == pytest.approx([50, 1500]) and "ms_16x16" in table
    assert quick.shown == [(2, 3, 24, 32)] * 5 + [(2, 3, 16, 16)] * 5
    assert len(slow.shown) == 2 + 2, "it stops once its time is used up"


def test_the_first_call_on_a_gpu_is_not_timed(monkeypatch):
    """It compiles kernels, and would use up the budget."""
    now = [0.0]
    network = Clocked(now, 9.0)
    network.device = "cuda"
    monkeypatch.setattr(flow_compare.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(flow_compare, "machine_name", lambda *devices: " ".join(devices))
    speed_table({"network": network}, ((16, 16),), num_pairs=1, rounds=3, budget_s=4.0)
    assert len(network.shown) == 2, "once untimed, and once for a time that is all of the budget"


def test_tables_can_be_saved(tmp_path):
    table = speed_table({"dis": build_estimator("dis")}, ((24, 32),), num_pairs=1, rounds=1)
    table.to_csv(tmp_path / "speed.csv", index=False)
    assert pd.read_csv(tmp_path / "speed.csv")["ms_24x32"].iloc[0] > 0
