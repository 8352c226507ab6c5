"""Tables that a spreadsheet opens as text, and that come back as they were."""

from __future__ import annotations

import csv

import pandas as pd
import pytest

from tmal_core.runtime.tables import load_csv, save_csv

CELLS = ["=1+1.mp4", "+1", "-x", "@SUM(A1)", "\tx", "'=x", "''-x", "'plain'", "plain", "", "a=1", "p(=SUM(A1))"]


def test_no_cell_begins_a_formula_and_all_come_back(tmp_path):
    table = pd.DataFrame({"=SUM(A1)": CELLS, "number": [-0.1 * i for i in range(len(CELLS))]})
    save_csv(table, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        cells = [cell for row in csv.DictReader(file) for key, cell in row.items() if key != "number"]
    assert not any(cell[:1] in {"=", "+", "-", "@", "\t"} for cell in cells)
    assert (tmp_path / "a.csv").read_text().startswith("'=SUM(A1),number\n")
    pd.testing.assert_frame_equal(load_csv(tmp_path / "a.csv"), table)


@pytest.mark.parametrize("ids", [["007", "-1"]])
def test_as_text(tmp_path, ids):
    save_csv(pd.DataFrame({"video": ids}), tmp_path / "a.csv")
    assert load_csv(tmp_path / "a.csv", dtype=str)["video"].tolist() == ids
