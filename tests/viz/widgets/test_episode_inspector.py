"""The inspector without a browser: what a page asks, what it gets, and what stays when something is refused."""

from __future__ import annotations

import asyncio
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tmal_core.viz.widgets import inspector_export, inspector_state
from tmal_core.viz.widgets.clip_sheets import clip_sheet
from tmal_core.viz.widgets.episode_inspector import EpisodeInspector
from tmal_core.viz.widgets.inspector_state import InspectorState
from tmal_core.viz.widgets.inspector_view import view


@pytest.fixture
def page(state, tmp_path, monkeypatch):
    """An inspector whose messages are kept in `told`, each with its pictures."""
    inspector = EpisodeInspector(state, tmp_path)
    inspector.told = []
    monkeypatch.setattr(inspector, "send", lambda content, buffers=None: inspector.told.append((content, buffers)))
    inspector.ask = lambda **message: inspector._asked(None, message, None)
    return inspector


def news(page, key):
    return [content[key] for content, _ in page.told if key in content]


def test_the_view_is_the_state_in_plain_data(page, state):
    shown = json.loads(json.dumps(page.view))
    result = state.before.result
    np.testing.assert_allclose(shown["before"]["distances"], result.distances, atol=1e-5)
    np.testing.assert_allclose(shown["before"]["probabilities"], result.probabilities, atol=1e-5)
    assert shown["labels"] == state.question.labels.tolist() and shown["after"] is None
    assert [one["name"] for one in shown["classes"]] == list(state.question.classes)
    assert [clip["row"] for clip in shown["support"]] == state.question.support.ravel().tolist()
    positions = shown["before"]["positions"]
    reader, row = state.answers.reader("otam"), int(state.question.query[0])
    assert positions["query"] == reader.test_positions(row).tolist()
    assert set(shown["options"]["num_frames"]) == {2, 4, 8, 16, 32}


def test_what_is_chosen_is_shown(page, state):
    page.ask(do="choose", changes={"method": "tmal", "number": 3})
    assert page.view == {**view(state), "run": ""} and page.view["choice"]["number"] == 3
    page.ask(do="suppose", changes={"order": "reversed"})
    after = page.view["after"]
    assert after["positions"]["query"] == page.view["before"]["positions"]["query"][::-1]
    np.testing.assert_allclose(after["distances"], state.after.result.distances, atol=1e-5)
    assert "answers are others" in page.view["message"]
    page.ask(do="rename", label=0, name="something else")
    assert state.what_if.names == {0: "something else"} and page.view["what_if"]["names"][0] == "something else"
    page.ask(do="rename", label=0, name="")
    assert state.what_if.names == {}
    page.ask(do="undo")
    assert page.view["after"] is None and state.what_if.is_nothing


def test_what_is_refused_is_said_and_the_last_episode_stays(page):
    before = dict(page.view)
    page.ask(do="choose", changes={"way": 99})
    page.ask(do="suppose", changes={"adapters": False})
    way, adapters = news(page, "error")
    assert "expected a way of at most" in way and "expected a method with adapters" in adapters and "\n" not in way
    assert page.view == before


def test_a_search_goes_to_what_it_finds(page, state):
    page.ask(do="choose", changes={"episode_type": "semantic"})
    page.ask(do="search", kind="wrong")
    assert state.choice.number > 0 and not state.before.result.correct.all() and news(page, "searching")[-1] is False


def test_a_search_that_finds_nothing_says_so_and_one_that_is_stopped_stops(page, state, monkeypatch):
    monkeypatch.setattr(InspectorState, "_worth_a_look", lambda self, kind, numbers: np.zeros(len(numbers), bool))
    monkeypatch.setattr(inspector_state, "SEARCHED", 50)
    monkeypatch.setattr(inspector_state, "AT_ONCE", 10)
    page.ask(do="search", kind="wrong")
    assert news(page, "error")[-1] == "No wrong answer in the next episodes." and state.choice.number == 0

    async def stopped():
        page.told.clear()
        page.ask(do="search", kind="wrong")
        await asyncio.sleep(0)
        page.ask(do="stop")
        await asyncio.gather(*page._tasks)

    asyncio.run(stopped())
    assert news(page, "searching") == [False] and not news(page, "error")


def test_clips_come_as_sheets_of_all_their_frames(page, state):
    row = int(state.question.query[0])
    page.ask(do="clips", wanted=[{"row": row, "id": 7}])
    ((content, pictures),) = page.told
    assert content["id"] == 7 and content["kinds"] == ["frames", "flow"] == list(dict.fromkeys(content["kinds"]))
    facts, reader = content["facts"], state.answers.reader("otam")
    assert facts["frames"]["numbers"] == list(range(facts["num_frames"])) and facts["fps"] == 24
    assert facts["sampled"] == reader.test_positions(row).tolist()
    width, height = facts["frames"]["size"]
    at = facts["num_frames"] // 2
    x, y = at % facts["frames"]["columns"] * width, at // facts["frames"]["columns"] * height
    tile = np.asarray(Image.open(io.BytesIO(pictures[0])).convert("RGB"))[y : y + height, x : x + width]
    expected = reader.frames(row, np.array([at]))[0]
    assert np.abs(tile.astype(int) - expected).mean() < 6
    page.ask(do="clips", wanted=[{"row": row, "id": 8}])
    assert page.told[1][1] is pictures or page.told[1][1] == pictures


def test_a_broken_video_is_said_in_its_place(page, state):
    row = int(state.question.query[0])
    file = state.answers.catalog.file(row)
    content = file.read_bytes()
    try:
        file.write_bytes(b"no video")
        page.ask(do="clips", wanted=[{"row": row, "id": 1}])
    finally:
        file.write_bytes(content)
    ((told, pictures),) = page.told
    assert told["id"] == 1 and file.name in told["error"] and pictures is None


def test_a_frame_alone(page, state):
    page.ask(do="frame", row=int(state.question.query[0]), number=5, id=2)
    ((content, pictures),) = page.told
    assert content == {"id": 2, "kinds": ["frame"]} and pictures[0][8:12] == b"WEBP"


def test_clips_are_found_by_class_and_file_and_asked(page, state):
    table = state.answers.catalog.table
    name = table["class_name"].iat[0]
    page.ask(do="find", text=name.upper()[:-1])
    (found,) = news(page, "found")
    assert found and all(name[:-1] in clip["class_name"] for clip in found)
    rows = list(table.groupby("class_name").indices.items())[:2]
    page.ask(do="ask", support={name: own[:1].tolist() for name, own in rows}, query=[int(rows[0][1][2])])
    assert page.view["choice"]["by_hand"] and page.view["labels"] == [0]


def test_the_table_has_a_row_for_each_episode(page):
    page.ask(do="table")
    (table,) = news(page, "table")
    assert len(table["rows"]) == 200 and [column["key"] for column in table["columns"]][:3] == [
        "episode",
        "otam",
        "tmal",
    ]


def test_without_a_kernel_there_is_a_picture(page):
    shown = page._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    assert "application/vnd.jupyter.widget-view+json" in data and data["image/png"][1:4] == b"PNG"


def test_exports(page, state, tmp_path, run_code):
    page.ask(do="suppose", changes={"matching": "bimhm"})
    for kind in ("png", "html", "code"):
        page.ask(do="export", kind=kind)
    picture, exported = (tmp_path / f"inspector-otam-{state.choice.episode_type}-0.{kind}" for kind in ("png", "html"))
    assert news(page, "saved") == [str(picture), str(exported)] and picture.read_bytes()[1:4] == b"PNG"
    html = exported.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
    assert data["view"]["after"] is not None and "http" not in html.replace("http-equiv", "")
    clips = {*state.question.query.tolist(), *state.question.support.ravel().tolist()}
    assert {int(row) for row in data["clips"]} == clips
    (code,) = news(page, "code")
    assert len(code.splitlines()) <= 10 and "suppose(matching='bimhm')" in code


def test_the_exported_code_gives_the_same_numbers(state, monkeypatch, capsys, methods):
    state.choose(number=4)
    state.suppose(matching="mean")
    monkeypatch.setattr("tmal_core.experiment.Experiment.of_run", lambda *_, method: methods[method])
    exec(inspector_export.code(state), {})
    expected = f"{state.after.result.predicted}\n{state.after.result.probabilities.round(3)}\n"
    assert capsys.readouterr().out == expected


def test_a_name_cannot_end_the_page_s_script(state, tmp_path):
    state.suppose(names={0: "</script><b>"})
    inspector_export.save_page(state, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "</script><b>" not in html and html.count("</script>") == 2


def test_long_clips_are_thinned_out(state, monkeypatch):
    monkeypatch.setattr("tmal_core.viz.widgets.clip_sheets.MOST_FRAMES", 10)
    sheet = clip_sheet(state.answers.reader("otam"), 0)
    assert len(sheet.facts["frames"]["numbers"]) == 10 and sheet.facts["frames"]["numbers"][-1] == 47
    assert list(sheet.pictures) == ["frames"]
