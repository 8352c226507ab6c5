"""The table of a paper: means, seeds joined, marks and forms, on answers that are known by construction."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tmal_core import cli
from tmal_core.config import LEFT_ALONE, load_settings
from tmal_core.data.sets.catalog import LEDGER, Catalog, save_catalog
from tmal_core.errors import RunError, SettingsError
from tmal_core.evaluation.answers import Answerer, load_answers, recipe_of, save_answers_file
from tmal_core.evaluation.ledger import note_look
from tmal_core.evaluation.scoring import Episodes, Outcome
from tmal_core.experiment import Experiment
from tmal_core.runtime.run_folders import Run
from tmal_core.runtime.tables import load_csv
from tmal_core.tasks.evaluate import evaluate_methods, result_table, save_answers
from tmal_core.tasks.table import run_folders, table_of_runs
from tmal_core.tasks.table_markup import SHRUNK, Cell, Shown, latex, markdown

CLASSES, CLIPS, EPISODES = 12, 6, 60
CATALOG = Catalog(
    Path("videos"),
    pd.DataFrame(
        {
            "video": [f"clip {i}" for i in range(CLASSES * CLIPS)],
            "class_name": np.repeat([f"class {c}" for c in range(CLASSES)], CLIPS),
            "group": "",
        }
    ),
)
HOW = {"confidence": 0.95, "bootstrap": 200, "resampling_seed": 0}


def drawn(seed: int = 0, shift: int = 0) -> Episodes:
    """Two-way episodes that ask every class equally often: class e with the next one."""
    classes = np.stack([np.arange(EPISODES) % CLASSES, (np.arange(EPISODES) + 1) % CLASSES], 1)
    clip = (np.arange(EPISODES)[:, None] + shift) % (CLIPS - 1)
    return Episodes("all", (classes * CLIPS + clip)[:, :, None], (classes * CLIPS + clip + 1)[:, :, None], seed)


def answered(right: np.ndarray, episodes: Episodes, positions: str = "frames") -> Outcome:
    """An outcome of which `right` (E, 2) is known."""
    wanted = np.where(right, np.arange(2), 1 - np.arange(2))
    return Outcome(episodes, np.eye(2, dtype=np.float32)[wanted], positions)


def every(nth: int, start: int = 0) -> np.ndarray:
    """Wrong at every nth episode, both queries."""
    return np.broadcast_to(np.arange(EPISODES)[:, None] % nth != start, (EPISODES, 2))


@pytest.fixture
def put(tmp_path):
    """Writes a run with answers of test, by method: what it got right and what it is."""

    def written(
        name: str, answers: dict, data: str = "hmdb51", episodes: Episodes | None = None, shot: int = 1
    ) -> Path:
        settings = load_settings("tiny", {"data.root": str(tmp_path / "data"), "data.name": data})
        run, episodes = Run.create(tmp_path / "runs" / name, settings, "evaluate"), episodes or drawn()
        methods, outcomes = {}, {}
        for method, (right, more) in answers.items():
            facts = {"title": f"title of {method}", "trained": True, "inputs": ("frames",), "text_at_test": "none"}
            facts |= {"settings": "12345e678901", "recipe": {"training.rate": 0.1}, "seed": 0, "checkpoint": ""}
            methods[method] = Answerer(**{**facts, "positions": "frames", **more})
            outcomes[method] = {"all": answered(right, episodes, methods[method].positions)}
        asked = {"split": "test", "data": data, "way": 2, "shot": shot, "intervals": HOW}
        save_answers_file(run.path / "tables" / "answers-test.parquet", outcomes, CATALOG, methods, asked)
        return run.path

    return written


def test_means_seeds_and_marks(put):
    runs = [
        put("a", {"tmal": (every(20), {"seed": 0}), "otam": (every(2), {"seed": None, "trained": False})}),
        put("b", {"tmal": (every(15), {"seed": 1}), "otam": (every(2), {"seed": None, "trained": False})}),
        put("c", {"st_adapter": (every(12), {"seed": 0})}),
    ]
    table = table_of_runs(runs).figures.set_index("method")
    assert table.index.tolist() == ["otam", "st_adapter", "tmal"], "the order of the methods"
    assert table["accuracy_pct"].tolist() == pytest.approx([50, 100 * 11 / 12, 565 / 6])
    assert table["seeds"].tolist() == [1, 1, 2] and table["episodes"].eq(EPISODES).all()
    assert table["seed_spread"]["tmal"] == pytest.approx(np.std([95, 280 / 3], ddof=1))
    assert np.isnan(table["seed_spread"]["otam"])
    inside = table.drop(index="otam")
    assert (table["low_pct"] <= table["accuracy_pct"]).all() and (table["accuracy_pct"] <= table["high_pct"]).all()
    assert (inside["low_pct"] < inside["accuracy_pct"]).all()
    assert table["mark"].to_dict() == {"otam": "", "st_adapter": "not clearly below", "tmal": "best"}
    assert table["difference_points"]["otam"] == pytest.approx(50 - 565 / 6) and table["p_holm"]["otam"] < 0.05
    assert np.isnan(table["p"]["tmal"]) and table["against"].eq("tmal").all()
    assert table["runs"]["tmal"] == f"{runs[0]}; {runs[1]}" and table["runs"]["otam"] == table["runs"]["tmal"]


def test_against_a_method_that_is_named(put):
    run = put("a", {"otam": (every(2), {}), "st_adapter": (every(4), {}), "tmal": (every(20), {})})
    table = table_of_runs([run], against="st_adapter").figures.set_index("method")
    assert table["mark"].to_dict() == {"otam": "below", "st_adapter": "", "tmal": "above"}
    assert table["difference_points"]["tmal"] == pytest.approx(20)
    with pytest.raises(SettingsError, match=r"one row among otam, st_adapter, tmal to compare with, got 'protonet'"):
        table_of_runs([run], against="protonet")


def test_seeds_are_paired_where_both_sides_have_them(put):
    """Both gain 10 points with seed 2: of the difference nothing of that is left, and seeds that one side lacks are
    left out."""
    runs = [
        put("0", {"tmal": (every(60), {"seed": 0})}),
        put("1", {"tmal": (every(5), {"seed": 1}), "st_adapter": (every(5, 1), {"seed": 1})}),
        put("2", {"tmal": (every(10), {"seed": 2}), "st_adapter": (every(10, 1), {"seed": 2})}),
    ]
    table = table_of_runs(runs).figures.set_index("method")
    assert table["seeds"].to_dict() == {"st_adapter": 2, "tmal": 3}
    assert table["difference_points"]["st_adapter"] == pytest.approx(0, abs=1e-9)


def test_other_settings_are_another_row_and_say_which(put):
    runs = [
        put("slow", {"tmal": (every(20), {"recipe": {"training.rate": 0.1, "preset": "x", "a.b": 1}})}),
        put("fast", {"tmal": (every(10), {"recipe": {"training.rate": 0.2, "preset": "y", "a.b": 1}})}),
    ]
    made = table_of_runs(runs)
    assert made.figures["variant"].tolist() == ["training.rate=0.1", "training.rate=0.2"]
    assert [line[0] for line in made.shown[0].lines] == [
        "title of tmal (training.rate=0.1)",
        "title of tmal (training.rate=0.2)",
    ]
    with pytest.raises(SettingsError, match="one row among"):
        table_of_runs(runs, against="tmal")
    assert table_of_runs(runs, against="tmal (training.rate=0.2)").figures["mark"].notna().all()


def test_a_method_that_a_run_has_twice_is_told_apart_by_its_settings_and_joined_with_others(put, tmp_path):
    with_score, without = ({"model.method": "otam", "model.text_score": score} for score in (0.5, 0.0))
    alone = {"trained": False, "seed": None}
    both = {"otam": (every(2), {"recipe": with_score, **alone})}
    both |= {"otam without text score": (every(3), {"recipe": without, **alone})}
    runs = [put("a", both), put("b", {"otam": (every(3), {"recipe": without, **alone})})]
    (tmp_path / "data").mkdir(exist_ok=True)
    note_look(tmp_path / "data", runs[0], "otam", "hash", None)
    figures = table_of_runs(runs).figures
    assert figures["method"].tolist() == ["otam", "otam"] and figures["looks_at_test"].tolist() == [1, 1]
    assert figures["variant"].tolist() == ["model.text_score=0.5", "model.text_score=0.0"]
    assert figures["runs"].tolist() == [str(runs[0]), f"{runs[0]}; {runs[1]}"]


def test_each_data_set_and_shot_is_a_block(put):
    runs = [
        put("h", {"tmal": (every(20), {})}),
        put("u", {"tmal": (every(10), {})}, data="ucf101"),
        put("5", {"tmal": (every(5), {})}, shot=5),
    ]
    made = table_of_runs(runs)
    labels = ["hmdb51, test, 2-way 1-shot", "ucf101, test, 2-way 1-shot", "hmdb51, test, 2-way 5-shot"]
    assert [table.label for table in made.shown] == labels
    assert made.figures["accuracy_pct"].tolist() == pytest.approx([95, 90, 80])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            drawn(seed=7),
            r"got episodes all 60 of seed 0, 2-way 1-shot in .*a, and episodes all 60 of seed 7, .* in .*b\.",
        ),
        (drawn(shift=1), r"got episodes of other videos in .*a and in .*b\. Evaluate both with the same data"),
    ],
)
def test_other_episodes_are_refused_by_name(put, other, words):
    runs = [put("a", {"tmal": (every(20), {})}), put("b", {"otam": (every(2), {})}, episodes=other)]
    with pytest.raises(RunError, match=f"expected runs that answered the same episodes, {words}"):
        table_of_runs(runs)


def test_two_runs_of_one_seed_must_agree(put):
    same = [put(name, {"tmal": (every(20), {})}) for name in "ab"]
    assert table_of_runs(same).figures["seeds"].tolist() == [1]
    with pytest.raises(
        RunError, match=r"other answers of tmal in .*a than in .*c, of the same settings and seed 0\. Name"
    ):
        table_of_runs([*same, put("c", {"tmal": (every(10), {})})])


def test_other_frames_are_shown_and_not_compared(put):
    run = put("a", {"clip_fsar": (every(2), {"positions": "others"}), "tmal": (every(20), {}), "otam": (every(2), {})})
    made = table_of_runs([run])
    table = made.figures.set_index("method")
    assert table["difference_points"].isna().to_dict() == {"otam": False, "clip_fsar": True, "tmal": True}
    caption = " ".join(made.shown[0].caption)
    assert "Holm-corrected over 1 comparisons" in caption and caption.count("other frames") == 1
    assert "of the same videos: clip_fsar." in caption


def test_a_lone_row_is_the_best(put):
    table = table_of_runs([put("a", {"tmal": (every(20), {})})]).figures
    assert table["mark"].tolist() == ["best"] and table["p_holm"].isna().all()


def test_what_has_no_answers_is_left_out_by_name_or_refused(put, tmp_path):
    run = put("a", {"tmal": (every(20), {})})
    bare = Run.create(tmp_path / "runs" / "b", load_settings("tiny"), "train").path
    (tmp_path / "runs" / "report.html").touch()
    assert run_folders([tmp_path / "runs", run])[0] == [run, bare]
    left = table_of_runs([tmp_path / "runs", tmp_path / "runs" / "report.html"]).left_out
    assert left == [
        f"{tmp_path / 'runs' / 'report.html'}: no run",
        f"{bare}: no answers of test; `tmal evaluate --out {bare} --final` makes them",
    ]
    words = rf"answers of val in the runs, got none in {run} and 1 more\. Run `tmal evaluate --out {run}` first, or ask"
    with pytest.raises(RunError, match=words):
        table_of_runs([run, bare], "val")
    with pytest.raises(RunError, match="got no run"):
        table_of_runs([tmp_path / "runs" / "report.html"])
    with pytest.raises(RunError, match="nowhere, which is not there"):
        table_of_runs([tmp_path / "nowhere"])


def test_broken_answers(put):
    file = put("a", {"tmal": (every(20), {})}) / "tables" / "answers-test.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RunError, match=r"a whole file of answers of this version, got .*answers-test\.parquet"):
        load_answers(file)


def test_looks_come_from_the_ledger_or_from_what_the_run_kept(put, tmp_path):
    run = put("a", {"tmal": (every(20), {}), "otam": (every(2), {})})
    (tmp_path / "data").mkdir()
    for _ in range(2):
        note_look(tmp_path / "data", run, "tmal", "12345e678901", None)
    assert table_of_runs([run]).figures.set_index("method")["looks_at_test"].to_dict() == {"otam": 0, "tmal": 2}
    (tmp_path / "data" / LEDGER).unlink()
    assert table_of_runs([run]).figures.set_index("method")["looks_at_test"].to_dict() == {"otam": 0, "tmal": 2}


AWKWARD = "50 % of a_b & {c} ~ ^ $1 #2 \\x <y> | z"
SHOWN = Shown(
    "a, b 1-shot", [f"Caption {AWKWARD}: ± † ⁺ ⁻."], ["method", "a|b", "all"],
    [[AWKWARD, "[x]", Cell("95.0", "[90.1, 98.0] ± 1.2", "†", bold=True)], ["plain", "", Cell("1.0")]],
)  # fmt: skip


def test_latex_has_as_many_columns_in_every_line_and_no_bare_special():
    text = latex(SHOWN)
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 4, "head, the first method with its interval below, the second"
    assert all(len(re.findall(r"(?<!\\)&", line)) == 2 for line in lines)
    assert r"\begin{tabular}{llr}" in text and r"\textbf{95.0}$^{\dagger}$" in text
    assert r"{\scriptsize [90.1, 98.0] $\pm$ 1.2}" in text and " & {}[x] & " in text
    assert text.count(SHRUNK) == 1
    bare = re.sub(r"\\[&%$#_{}]", "", text.replace(SHRUNK, "{"))
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert not re.search(r"[%#~<>|†±⁺⁻]|(?<!\$)\^", bare) and r"50 \% of a\_b \& \{c\}" in text
    assert r"\label{tab:a-b-1-shot}" in text


def test_markdown_stands_in_columns():
    text = markdown(SHOWN)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4 and len(set(map(len, lines))) == 1
    bars = [[m.start() for m in re.finditer(r"(?<!\\)\|", line)] for line in lines]
    assert all(one == bars[0] for one in bars) and len(bars[0]) == 4
    assert lines[1].endswith("-: |") and "**95.0**†" in text and r"a\|b" in text


def test_forms_of_a_table(put, tmp_path):
    run = put("a", {"=1+1": (every(20), {"title": "=cmd & 100 %"}), "tmal": (every(3), {})})
    made = table_of_runs([run], published=True)
    files = made.save(tmp_path / "out")
    assert [file.name for file in files] == ["table.md", "table.tex", "table.csv", "published.csv"]
    back = load_csv(tmp_path / "out" / "table.csv")
    assert back["method"].tolist() == ["tmal", "=1+1"]
    assert back["accuracy_pct"].tolist() == made.figures["accuracy_pct"].tolist(), "every digit"
    assert "'=1+1," in files[2].read_text() and ",=1+1" not in files[2].read_text()
    tex, md = files[1].read_text(), files[0].read_text()
    assert tex.startswith("% \\usepackage{booktabs,graphicx}") and r"=cmd \& 100 \%" in tex
    for text in (tex, md):
        assert text.index("=cmd") < text.index("not measured here") < text.index("TS-FSAR")
    assert "CLIP-FSAR" not in files[2].read_text()


def test_a_recipe_is_what_decides_and_no_more():
    settings = {"seed": 1, "compute.device": "cpu", "data.root": "x", "evaluation.bootstrap": 9, "training.rate": 1}
    assert recipe_of({**settings, "evaluation.views": 2}, {}, trained=False) == {"evaluation.views": 2}
    trained = {"seed": 4, "training.rate": 2, "training.memory": "low", "preset": "p", "prepare.min_frames": 1}
    trained |= {"model.text_score": 0.0, "evaluation.episodes": 5, "adopted_from": "file"}
    assert recipe_of({**settings, "model.text_score": 0.5}, trained, trained=True) == {
        "model.text_score": 0.5,
        "training.rate": 2,
        "trained.model.text_score": 0.0,
        "trained.adopted_from": "file",
    }


def test_settings_that_are_younger_than_an_answer_make_no_other_row(monkeypatch):
    monkeypatch.setitem(LEFT_ALONE, "model", {"part": {"width": 3}, "words": None})
    young = {"model.part.width": 3, "model.words": None, "model.text": True}
    assert recipe_of(young, {}, trained=False) == {"model.text": True}
    assert recipe_of({**young, "model.part.width": 4}, {}, trained=False) == {"model.part.width": 4, "model.text": True}


def test_a_table_of_one_run_says_what_evaluation_says(few_settings, small_data, tmp_path, capsys):
    """To the digit, from what the command left; and the answers are those that were given."""
    save_catalog(tmp_path / "data", Experiment(few_settings).catalog.table, small_data.root)
    run = Run.create(tmp_path / "run", few_settings.replace({"data.root": str(tmp_path / "data")}), "evaluate")
    methods = Experiment.of_run(run.path).of_methods(["zero_shot", "otam"])
    outcomes = evaluate_methods(methods, "val", progress=False)
    path = save_answers(methods, outcomes, "val")
    first = path.read_bytes()
    assert save_answers(methods, outcomes, "val").read_bytes() == first, "the same to the byte"
    expected = result_table(methods, outcomes, "val")
    assert cli.main(["table", str(tmp_path), "--split", "val", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    found = load_csv(tmp_path / "out" / "table.csv")
    columns = ["method", "title", "episode_type", "chance_pct", "accuracy_pct", "low_pct", "high_pct", "episodes"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert found["text_at_test"].tolist() == ["score"] * 5 + ["none"] * 5
    assert found["inputs"].tolist() == ["frames, class names"] * 5 + ["frames"] * 5
    assert "## diagnostic, val, 2-way 1-shot" in shown and f"written: {tmp_path / 'out' / 'table.md'}, " in shown
    rows, videos = pd.read_parquet(path), methods["otam"].split("val").table
    outcome = outcomes["otam"]["order"]
    mine = rows[(rows["method"] == "otam") & (rows["episode_type"] == "order")]
    assert mine["correct"].to_numpy().tolist() == outcome.correct.reshape(-1).tolist()
    assert mine["video"].tolist() == videos["video"].to_numpy()[outcome.episodes.query.reshape(-1)].tolist()
    assert ((mine["true_class"].astype(str) == mine["answered"].astype(str)) == mine["correct"]).all()
    assert mine["episode"].is_monotonic_increasing and set(mine["query"]) == {0, 1}
    classes = pd.read_csv(path.parent / "classes-val.csv")
    mine = classes[(classes["method"] == "otam") & (classes["episode_type"] == "order")]
    assert mine["queries"].sum() == outcome.correct.size and (mine["clips"] <= 4).all()
    assert np.average(mine["accuracy_pct"], weights=mine["queries"]) == pytest.approx(outcome.accuracy_pct)
    assert (mine["low_pct"] <= mine["accuracy_pct"]).all() and (mine["accuracy_pct"] <= mine["high_pct"]).all()
