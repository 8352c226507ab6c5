"""The report's page, without a browser: what stands in it, each picture once, ids, what is left out."""

from __future__ import annotations

import base64
import io
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image, PngImagePlugin

from tmal_core.config import load_settings
from tmal_core.errors import RunError
from tmal_core.evaluation.ledger import note_look
from tmal_core.runtime.run_folders import Run
from tmal_core.suite.report import write_report
from tmal_core.suite.report_charts import WIDTH, differences_chart, grid_chart, results_chart, training_chart
from tmal_core.suite.report_notebooks import WIDGET, WIDGET_NOTE, Pictures, Shown
from tmal_core.suite.report_tables import NOBODY, clear_differences, highest_by_method, small_table, sorting_table

RESULTS = pd.DataFrame(
    {
        "method": ["otam", "otam", "tmal", "tmal"],
        "title": ["OTAM", "OTAM", "TMAL", "TMAL"],
        "split": "test",
        "episode_type": ["order", "motion"] * 2,
        "way": [2, 5] * 2,
        "shot": 1,
        "chance_pct": [50.0, 20.0] * 2,
        "accuracy_pct": [75.16, 20.44, 64.61, 97.09],
        "low_pct": [67.2, 19.5, 41.5, 92.2],
        "high_pct": [81.7, 21.9, 82.4, 98.9],
        "episodes": 2000,
    }
)
TITLES = {"otam": "OTAM", "tmal": "TMAL"}
DIFFERENCES = pd.DataFrame(
    {
        "first": "tmal",
        "second": "otam",
        "episode_type": ["order", "motion"],
        "points": [-10.6, 76.65],
        "low": [-36.0, 73.8],
        "high": [15.0, 78.9],
        "clear": [False, True],
    }
)


def png(colour: int, description: str = "") -> str:
    file, about = io.BytesIO(), PngImagePlugin.PngInfo()
    if description:
        about.add_text("Description", description)
    Image.fromarray(np.full((8, 12, 3), colour, np.uint8)).save(file, "PNG", pnginfo=about)
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def run(tmp_path):
    settings = {"data.root": str(tmp_path / "data")}
    made = Run.create(tmp_path, load_settings("tiny", settings), "suite", settings)
    for name in ("data", "tables", "figures"):
        (tmp_path / name).mkdir()
    return made


def write_notebook(run, *outputs, name="01_a", text="# A question\n\n## It"):
    path = run.path / f"{name}.ipynb"
    cells = [new_markdown_cell(text), new_code_cell("show()", outputs=list(outputs))]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def page_of(run, *copies):
    return write_report(run.path, run.settings, dict.fromkeys(copies, 125.0)).read_text()


def test_the_page_opens_with_what_was_found(run):
    RESULTS.to_csv(run.path / "tables" / "results.csv", index=False)
    DIFFERENCES.to_csv(run.path / "tables" / "05_differences.csv", index=False)
    page = page_of(run, write_notebook(run))
    found = page[page.index('id="found"') : page.index('id="all"')]
    assert "<b>TMAL</b>: motion 97.1 %" in found and "<b>OTAM</b>: order 75.2 %" in found
    assert "<b>TMAL − OTAM</b>: motion +76.7 [+73.8, +78.9]" in found
    assert "OTAM, order: 75.2 %, interval 67.2 to 81.7, 2,000 episodes" in found
    assert re.search(r'class="number highest">97.1<small>92.2–98.9', found)
    places = [page.index(f'id="{name}"') for name in ("found", "all", "charts", "examples", "settings", "looks")]
    assert places == sorted(places)
    assert "What the user set" in page and "2 min 5 s" in page


def test_ids_are_unique_and_nothing_is_fetched(run):
    styled = (
        '<style>th {}</style><table id="t" class="dataframe"><tr id="r"><td>1</td></tr></table><script>x()</script>'
    )
    html = new_output("display_data", {"text/html": styled})
    text = "# <a name='x'></a>A\n\n## B\n\n| a |\n|---|\n| wide |\n"
    copies = [write_notebook(run, html, name=name, text=text) for name in ("01_a", "02_b")]
    page = page_of(run, *copies)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) and {"01_a", "02_b", "notebooks"} <= set(ids)
    assert "x()" not in page and "th {}" not in page
    assert page.count('role="region" tabindex="0" aria-label="table: B"><table') == 4, (
        "one of the text, one of the output"
    )
    assert not [link for link in ('src="http', 'href="http', "url(http", "@import") if link in page]


def test_bars_are_left_out_and_widgets_are_pictures(run):
    bar = {WIDGET: {"model_id": "1"}, "text/plain": "  0%|          | 0/3 [00:00<?, ?it/s]"}
    slider = {WIDGET: {"model_id": "2"}, "text/plain": "IntSlider(value=0)"}
    inspector = {WIDGET: {"model_id": "3"}, "text/plain": "Inspector()", "image/png": png(9)}
    page = page_of(run, write_notebook(run, *(new_output("display_data", data) for data in (bar, slider, inspector))))
    assert "0%|" not in page and "IntSlider" not in page and "Inspector()" not in page
    assert page.count(WIDGET_NOTE) == 1
    assert page.count("<img ") == 1


def test_each_picture_is_in_the_page_once_and_says_what_is_seen(run):
    one, other = png(3, "Accuracy, 5-way: 88.4 “percent”"), png(7)
    (run.path / "figures" / "01_one.png").write_bytes(base64.b64decode(one))
    (run.path / "figures" / "mine.png").write_bytes(base64.b64decode(png(5, "Drawn by hand: 3 lines")))
    outputs = [new_output("display_data", {"image/png": data}) for data in (one, other, one)]
    page = page_of(run, write_notebook(run, *outputs))
    sources = re.findall(r'src="(data:image/webp[^"]+)"', page)
    assert len(sources) == len(set(sources)) == 3
    assert 'alt="Accuracy, 5-way: 88.4 “percent”"' in page and 'alt="Drawn by hand: 3 lines"' in page
    assert 'alt="A figure that is described by the text above it: It."' in page
    assert 'The same picture as <a href="#picture-1">above</a>' in page
    assert ".png" not in " ".join(re.findall(r'alt="([^"]*)"', page))


def test_drawn_pictures_keep_every_pixel_and_photographs_get_small():
    rng, pictures = np.random.default_rng(0), Pictures()
    noise, drawn = rng.integers(0, 255, (160, 200, 3), np.uint8), np.full((160, 200, 3), 255, np.uint8)
    drawn[40:44] = (10, 200, 30)
    found = []
    for pixels in (noise, drawn):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        content = base64.b64decode(pictures.take(file.getvalue()).source.partition(",")[2])
        found.append((len(content) / len(file.getvalue()), np.asarray(Image.open(io.BytesIO(content)))))
    assert found[0][0] < 0.7
    assert (found[1][1] == drawn).all()


def test_clear_pictures_get_a_white_ground():
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(file, "PNG")
    shown = Pictures().take(file.getvalue(), "nothing", (2, 2))
    assert (shown.width, shown.height, shown.alt) == (2, 2, "nothing")
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.source.partition(",")[2])))).min() > 250


def test_what_a_notebook_prints_and_fails_with_is_shown(tmp_path):
    outputs = [
        new_output("stream", name="stdout", text="5 < 6\n"),
        new_output("error", ename="E", evalue="e", traceback=["\x1b[31mbad\x1b[0m"]),
        new_output("execute_result", {"text/plain": "<object>"}),
        new_output("execute_result", {"text/markdown": "**Found** 3", "text/plain": "x"}),
    ]
    nbformat.write(new_notebook(cells=[new_code_cell("1 < 2", outputs=outputs)]), tmp_path / "03_some_thing.ipynb")
    made = Shown(Pictures()).notebook(tmp_path / "03_some_thing.ipynb", 3.0)
    assert made.title == "03 · Some thing"
    kinds = [part.kind for part in made.parts]
    assert kinds == ["code", "stream", "stream", "stream", "text"]
    text = [part.markup for part in made.parts]
    assert "5 &lt; 6" in text[1] and "bad" in text[2] and "\x1b" not in text[2]
    assert text[3] == "&lt;object&gt;" and "<strong>Found</strong>" in text[4]


def test_looks_and_long_tables_and_broken_ones(run):
    (run.path / "tables" / "long.csv").write_text("n,same\n" + "".join(f"{n},4\n" for n in range(300)))
    copy = write_notebook(run)
    page = page_of(run, copy)
    assert "The first 200 of 300 rows." in page and "In every row: same 4." in page
    assert "looks at test so far: <b>0</b>" in page
    for method in ("otam", "tmal"):
        note_look(run.path / "data", run.path, method, "0", None)
    page = page_of(run, copy)
    assert "looks at test so far: <b>2</b>" in page and "looks.csv" in page
    (run.path / "tables" / "empty.csv").write_text("")
    with pytest.raises(RunError, match=r"a readable CSV table, got .*empty\.csv"):
        page_of(run, copy)


def test_a_run_without_trained_weights_says_what_to_run(run):
    assert "No method was trained in this run: run notebook 3" in page_of(run)


def test_a_run_whose_data_are_gone_says_so(run):
    weights = run.path / "checkpoints" / "tmal" / "best.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    assert "No examples: expected " in page_of(run)


def test_a_table_of_one_s_own_is_shown_and_not_drawn(run):
    (run.path / "tables" / "results.csv").write_text("method,accuracy_pct\nmine,50.123\nother,8\n")
    page = page_of(run)
    assert ">50.1<" in page and ">8.0<" in page and "No notebook left a table of results." in page


def test_numbers_of_a_column_have_as_many_decimals_and_sort_by_all_of_them(tmp_path):
    path = tmp_path / "02_some_times.csv"
    path.write_text("a,b_pct,c_ms,d,e\nx,88.40001,0.4371,,12345\ny,5,11.5,1e-5,2\n")
    table = sorting_table(path)
    assert table.title == "02 · some times" and table.alike == ""
    assert table.columns == [("a", False), ("b, %", True), ("c, ms", True), ("d", True), ("e", True)]
    assert [cell.text for cell in table.rows[0]] == ["x", "88.4", "0.44", "", "12,345"]
    assert [cell.text for cell in table.rows[1]] == ["y", "5.0", "11.50", "1.00e-05", "2"]
    assert table.rows[0][1].key == "88.40001"


def test_the_small_table_and_the_sentences():
    small = small_table(RESULTS)
    assert small.episode_types == [("order", 2, "50"), ("motion", 5, "20")]
    assert [(title, [score.text for score in row]) for title, row in small.rows] == [
        ("OTAM", ["75.2", "20.4"]),
        ("TMAL", ["64.6", "97.1"]),
    ]
    assert [[score.highest for score in row] for _, row in small.rows] == [[True, False], [False, True]]
    assert small_table(RESULTS.iloc[:3]).rows[1][1][1] is None
    assert highest_by_method(RESULTS) == [("OTAM", "order 75.2 %"), ("TMAL", "motion 97.1 %")]
    at_chance = RESULTS.assign(low_pct=[50.0, 19.5, 41.5, 92.2])
    assert highest_by_method(at_chance) == [("TMAL", "motion 97.1 %"), (NOBODY, "order 75.2 %")]
    assert clear_differences(DIFFERENCES, TITLES) == [("TMAL − OTAM", "motion +76.7 [+73.8, +78.9]")]


def test_bars_stand_where_their_values_are():
    order, motion = results_chart(RESULTS).panels
    bar = order.bars[0]
    inside = WIDTH - 16
    assert [round((x - 8) / inside * 100, 1) for x in (bar.start, bar.end, bar.low, bar.high)] == [0, 75.2, 67.2, 81.7]
    assert (order.line - 8) / inside == pytest.approx(0.5, abs=1e-3) and motion.line_text == "chance 20 %"
    lost, won = differences_chart(DIFFERENCES, TITLES).panels
    assert lost.bars[0].end == lost.line and lost.bars[0].start < lost.line and lost.bars[0].faint
    assert won.bars[0].start == won.line and won.bars[0].text == "+76.7" and not won.bars[0].faint
    assert won.bars[0].said == "TMAL − OTAM, motion: +76.7 points, interval +73.8 to +78.9, clear"


def test_an_interval_that_nobody_knows_is_not_drawn(run):
    unknown = RESULTS.assign(low_pct=np.nan, high_pct=np.nan)
    assert [bar.has_interval for bar in results_chart(unknown).panels[0].bars] == [False, False]
    assert results_chart(unknown).panels[0].bars[0].said == "OTAM, order: 75.2 %, interval unknown, 2,000 episodes"
    unknown.to_csv(run.path / "tables" / "results.csv", index=False)
    DIFFERENCES.assign(low=np.nan).to_csv(run.path / "tables" / "05_differences.csv", index=False)
    page = page_of(run)
    assert "nan" not in "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))


def test_lines_say_their_values_and_n():
    history = pd.DataFrame({"method": "tmal", "episode": [300, 600], "loss": [2.3, 1.2], "val_pct": [40.0, 60.0]})
    chart = training_chart(history, TITLES, 300)
    assert [panel.title for panel in chart.panels] == ["training loss", "validation, mean, %"]
    points = chart.panels[1].lines[0].points
    assert points[1].said == ("TMAL, validation, mean, after 600 training episodes: 60.0 %, 300 episodes of each type")
    assert points[1].y < points[0].y and points[1].x > points[0].x
    assert chart.panels[0].y_ticks[-1][1] == "4"
    grid = pd.concat([RESULTS.assign(shot=shot, accuracy_pct=RESULTS["accuracy_pct"] + shot) for shot in (1, 5)])
    panels = grid_chart(grid, "shot", 5).panels
    assert [(panel.title, panel.note) for panel in panels] == [("order", "2-way"), ("motion", "5-way")]
    said = panels[0].lines[0].points[1].said
    assert said == "OTAM, order, 2-way 5-shot: 80.2 %, interval 67.2 to 81.7, 2,000 episodes, chance 50 %"
    assert grid_chart(grid, "way", 1).panels == []
