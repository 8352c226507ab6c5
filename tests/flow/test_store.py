"""Flow files: error of storage, origin, damage, bytes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from tmal_core.errors import DataError, SettingsError
from tmal_core.flow import flow_file
from tmal_core.flow.dis import DIS
from tmal_core.flow.store import FlowMeta, FlowStore

META = FlowMeta("dis", "none", "32", "a" * 64, scale=0.5)
POSITIONS = np.array([0, 3, 4])


def some_flow(height=30, width=41, seed=0):
    generator = np.random.default_rng(seed)
    coarse = generator.normal(0, 4, (3, 2, 5, 6)).astype(np.float32)
    return interpolate(torch.from_numpy(coarse), size=(height, width), mode="bilinear").numpy()


def moving_scene(height=240, width=320):
    """Two frames: a textured background that pans and a textured disc that moves the other way."""
    generator = np.random.default_rng(5)
    texture = [cv2.GaussianBlur(generator.uniform(0, 255, (400, 480, 3)).astype(np.float32), (0, 0), 2) for _ in "ab"]
    texture = [((t - 100) * 4).clip(0, 255).astype(np.uint8) for t in texture]
    y, x = np.mgrid[:height, :width]
    frames = []
    for step in range(2):
        frame = texture[0][40 : 40 + height, 40 + 2 * step : 40 + 2 * step + width].copy()
        inside = (x - 150 - 5 * step) ** 2 + (y - 110 - 3 * step) ** 2 < 60**2
        disc = texture[1][40 - 3 * step : 40 - 3 * step + height, 40 - 5 * step : 40 - 5 * step + width]
        frame[inside] = disc[inside]
        frames.append(frame)
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("compact", [False, True])
def test_what_is_written_is_read(tmp_path, compact):
    store = FlowStore(tmp_path, compact)
    flow = some_flow(30, 42)
    path = store.write("clip 1", flow, POSITIONS, META)
    assert path == store.path("clip 1") and path.parent.parent == tmp_path and len(path.parent.name) == 2
    stored = store.read("clip 1")
    assert stored.flow_px.shape == (3, 2, 15, 21) and stored.flow_px.dtype == np.float32
    assert stored.positions.tolist() == [0, 3, 4] and stored.meta == META and stored.frame_size == (30, 42)
    half = flow.reshape(3, 2, 15, 2, 21, 2).mean(axis=(3, 5))
    assert np.abs(stored.flow_px - half).max() <= 10 / 127 + 1e-5
    again = store.read("clip 1", np.array([4, 0, 4]))
    assert np.array_equal(again.flow_px, stored.flow_px[[2, 0, 2]]) and again.positions.tolist() == [4, 0, 4]


def test_samples_of_an_odd_frame_are_spread_evenly_over_it(tmp_path):
    """A field that is its own x: sample i of 21 lies at (i + 0.5) * 41 / 21, which is what ClipTransform reads."""
    ramp = np.zeros((1, 2, 31, 41), np.float32)
    ramp[:, 0] = (np.arange(41) + 0.5) * 0.4
    store = FlowStore(tmp_path)
    store.write("v", ramp, np.array([0]), META)
    flow = store.read("v").flow_px
    expected = (np.arange(21) + 0.5) * 41 / 21 * 0.4
    assert flow.shape == (1, 2, 16, 21) and np.abs(flow[0, 0] - expected).max() < 10 / 127 + 0.01


def test_quantisation_error_is_half_a_step_and_the_bound_is_counted(tmp_path):
    store = FlowStore(tmp_path)
    flow = np.kron(some_flow(12, 16), np.ones((1, 1, 2, 2), np.float32))  # 2 x 2 means are exact
    flow[0, 0, :2, :2] = 31.0
    flow[1, 1, :2, :2] = -500.0
    store.write("v", flow, POSITIONS, META)
    stored = store.read("v")
    assert stored.flow_px[0, 0, 0, 0] == pytest.approx(20) and stored.flow_px[1, 1, 0, 0] == pytest.approx(-20)
    inside = np.abs(flow[..., ::2, ::2]) <= 20
    assert np.abs(stored.flow_px - flow[..., ::2, ::2])[inside].max() <= 10 / 127 + 1e-5
    assert stored.clipped_pct == pytest.approx(100 * 2 / inside.size, abs=1e-3)


@pytest.mark.parametrize("compact", [False, True])
def test_storage_error_on_dis_flow_is_below_a_tenth_of_a_pixel(tmp_path, compact):
    frames = moving_scene()
    flow = DIS().estimate(frames[:1], frames[1:])
    assert 3 < flow.norm(dim=1).max() < 20, "the scene should move by several pixels"
    store = FlowStore(tmp_path, compact)
    store.write("scene", flow, np.array([0]), META)
    restored = interpolate(torch.from_numpy(store.read("scene").flow_px), size=flow.shape[2:], mode="bilinear")
    error_px = (restored - flow).norm(dim=1)
    assert error_px.mean() <= 0.1
    assert error_px.mean() > 0.01, "int8 cannot be this exact: something else was compared"


def test_compact_is_exact_and_smaller(tmp_path):
    plain, compact = FlowStore(tmp_path / "a"), FlowStore(tmp_path / "b", compact=True)
    sizes = [s.write("v", some_flow(96, 128), POSITIONS, META).stat().st_size for s in (plain, compact)]
    assert np.array_equal(plain.read("v").flow_px, compact.read("v").flow_px)
    assert sizes[1] < 0.5 * sizes[0]


def test_states(tmp_path):
    store = FlowStore(tmp_path)
    assert store.state("v", META) == "missing"
    store.write("v", some_flow(), POSITIONS, META)
    assert store.state("v", META) == "ok"
    assert store.state("v", replace(META, scale=1.0)) == "ok"
    for change in ({"estimator": "raft_small"}, {"weights_hash": "b"}, {"grid": "all"}, {"source_hash": "c" * 64}):
        assert store.state("v", replace(META, **change)) == "stale", change


def test_another_format_is_stale(tmp_path, monkeypatch):
    store = FlowStore(tmp_path)
    monkeypatch.setattr(flow_file, "FORMAT", 0)
    store.write("v", some_flow(), POSITIONS, META)
    monkeypatch.undo()
    assert store.state("v", META) == "stale"
    with pytest.raises(DataError, match="format 0, this version reads 2"):
        store.read("v")


@pytest.mark.parametrize("compact", [False, True])
def test_any_damage_is_noticed(tmp_path, compact):
    store = FlowStore(tmp_path, compact)
    path = store.write("v", some_flow(), POSITIONS, META)
    whole = path.read_bytes()
    damages = {"empty": b"", "text": b"no flow", "cut": whole[:-7], "grown": whole + b"x"}
    # One changed bit anywhere: in the length, the header, its metadata, the values.
    for place in [0, 3, 9, 60, 150, len(whole) // 2, len(whole) - 1]:
        changed = bytearray(whole)
        changed[place] ^= 4
        damages[f"bit at {place}"] = bytes(changed)
    for name, content in damages.items():
        path.write_bytes(content)
        assert store.state("v", META) in ("damaged", "stale"), name
        assert store.state("v", META) == "damaged" or name.startswith("bit"), name
        with pytest.raises(DataError, match="Run `tmal flow`"):
            store.read("v")
    path.write_bytes(whole)
    assert store.state("v", META) == "ok"


@pytest.mark.parametrize("compact", [False, True])
def test_damage_is_noticed_where_it_is_read(tmp_path, compact):
    """Readers of a few positions neither pass on damage nor check what they do not read."""
    store = FlowStore(tmp_path, compact)
    path = store.write("v", some_flow(), POSITIONS, META)
    content = bytearray(path.read_bytes())
    # Fields come last, in order: this is one of the third field's values.
    content[-20] ^= 16
    path.write_bytes(bytes(content))
    assert store.state("v", META) == "damaged"
    assert len(store.read("v", np.array([0, 3])).flow_px) == 2
    with pytest.raises(DataError, match=r"checksum of the flow at position 4 does not match\)\. Run `tmal flow`"):
        store.read("v", np.array([0, 4]))


@pytest.mark.parametrize("compact", [False, True])
def test_changed_bytes_raise_no_other_error_and_give_no_other_flow(tmp_path, compact):
    store = FlowStore(tmp_path, compact)
    # Few values, so that most of the file is header, index and the heads of pictures.
    path = store.write("v", some_flow(6, 8), POSITIONS, META)
    whole, right = path.read_bytes(), store.read("v").flow_px
    generator = np.random.default_rng(0)
    noticed = 0
    for _ in range(400):
        content = bytearray(whole)
        for place in generator.integers(0, len(content), generator.integers(1, 4)):
            content[place] = generator.integers(256)
        path.write_bytes(bytes(content[: generator.choice([len(whole), generator.integers(len(whole))], p=[0.8, 0.2])]))
        state = store.state("v", META)
        for wanted, rows in ((None, [0, 1, 2]), (np.array([4, 0]), [2, 0])):
            try:
                flow_px = store.read("v", wanted).flow_px
            except DataError:
                noticed += 1
            else:
                assert np.array_equal(flow_px, right[rows])
        if state == "ok":
            assert np.array_equal(store.read("v").flow_px, right)
    assert noticed > 600, "most changes are to be noticed"


def test_fields_transposed_by_their_header_are_noticed(tmp_path):
    """The container's header has no checksum: the bytes of each field are right, their shape is not."""
    store = FlowStore(tmp_path)
    path = store.write("v", some_flow(20, 40), POSITIONS, META)
    path.write_bytes(path.read_bytes().replace(b'"shape":[3,2,10,20]', b'"shape":[3,2,20,10]'))
    with pytest.raises(DataError, match=r"a field of shape \(2, 20, 10\) instead of \(2, 10, 20\)"):
        store.read("v")
    assert store.state("v", META) == "damaged"


def test_missing_file_and_position_are_named(tmp_path):
    store = FlowStore(tmp_path)
    with pytest.raises(DataError, match="expected stored flow of video v, got no file"):
        store.read("v")
    store.write("v", some_flow(), POSITIONS, META)
    with pytest.raises(DataError, match=r"expected positions among the 3 stored .*got \[1, 9\]"):
        store.read("v", np.array([0, 9, 1]))


def test_wrong_flow_is_refused(tmp_path):
    store = FlowStore(tmp_path)
    for positions in ([0, 3], [0, 3, 3], [3, 0, 4], [[0, 3, 4]], []):
        with pytest.raises(DataError, match=r"a field for each of the ascending positions, got 3 fields at \["):
            store.write("v", some_flow(), np.array(positions), META)
    broken = some_flow()
    broken[0, 0, 0, 0] = np.nan
    wrong = {
        r"\(3, 1, 30, 41\), where \(n, 2, H, W\) of one size is due for video v": some_flow()[:, :1],
        r"\(3, 2, 41, 30\), where": [some_flow(), some_flow(41, 30)],
        "nan or inf for video v": broken,
        "no flow at all": [],
    }
    for words, flow in wrong.items():
        with pytest.raises(DataError, match=rf"finite flow of shape \(N, 2, H, W\), got {words}"):
            store.write("v", flow, POSITIONS, META)
    assert not any(tmp_path.rglob("*.safetensors"))


def test_batches_give_the_same_bytes_and_errors_of_their_maker_pass(tmp_path):
    whole, parts = FlowStore(tmp_path / "whole"), FlowStore(tmp_path / "parts")
    flow = some_flow() * 4  # some of it beyond the bound
    paths = [
        whole.write("v", flow, POSITIONS, META),
        parts.write("v", (torch.from_numpy(flow[i : i + 1]) for i in range(3)), POSITIONS, META),
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes() and whole.read("v").clipped_pct > 0

    def failing():
        yield flow[:1]
        raise SettingsError("this", "that", "Do it.")

    with pytest.raises(SettingsError, match="expected this, got that"):
        parts.write("w", failing(), POSITIONS, META)
    assert not parts.path("w").exists()


def test_no_positions_are_no_damage(tmp_path):
    store = FlowStore(tmp_path)
    store.write("v", some_flow(), POSITIONS, META)
    assert store.read("v", np.array([], np.int64)).flow_px.shape == (0, 2, 15, 21)


def test_names_of_videos_become_names_of_files(tmp_path):
    store = FlowStore(tmp_path)
    names = ["train0//videos/brush_hair/x.avi", "../../etc", ".hidden", "ü" * 90, "a/b", "a_b", "x" * 300, "x" * 301]
    paths = [store.path(name) for name in names]
    assert len(set(paths)) == len(names)
    for path in paths:
        assert path.parent.parent == tmp_path and len(path.name.encode()) < 255 and not path.name.startswith(".")
    folders = {store.path(str(i)).parent for i in range(3000)}
    assert len(folders) == 256


def test_same_flow_gives_same_bytes_in_another_process(tmp_path):
    script = (
        "import sys; import numpy as np; from tmal_core.flow.store import *;"
        "FlowStore(sys.argv[1]).write('v', np.ones((1, 2, 6, 8)), np.array([2]), FlowMeta('dis', 'none', '32', 'a'))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "other")], check=True)
    meta = FlowMeta("dis", "none", "32", "a")
    path = FlowStore(tmp_path / "here").write("v", np.ones((1, 2, 6, 8)), np.array([2]), meta)
    assert path.read_bytes() == FlowStore(tmp_path / "other").path("v").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    store = FlowStore(tmp_path)
    path = store.write("v", some_flow(), POSITIONS, META)
    before = path.read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(flow_file, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write("v", some_flow(seed=1), POSITIONS, META)
    assert path.read_bytes() == before
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
