"""Text tables line up; learning curves draw whatever a run has recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cohorts import drawn
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.report.agreement import overview_table
from lumbargrade.report.plots import draw_curves
from lumbargrade.report.text import json_line, text_table
from lumbargrade.scoring.agreement import ALL, TOO_FEW_STUDIES, break_down
from lumbargrade.scoring.resampling import FEWEST_STUDIES

CELL = st.one_of(st.none(), st.floats(-9, 9), st.integers(0, 999), st.sampled_from(["a", "bcd e"]))


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n))))
def test_every_column_starts_where_the_rule_below_the_header_does(rows: list[list[object]]) -> None:
    header = [f"column {i}" for i in range(len(rows[0]) if rows else 2)]
    lines = text_table(header, rows).split("\n")
    assert len(lines) == 2 + len(rows)
    rule = lines[1]
    gaps = [i for i, c in enumerate(rule) if c == " "]
    for line in lines:
        assert len(line) <= len(rule)
        assert all(i >= len(line) or line[i] == " " for i in gaps)


def test_numbers_stand_to_the_right_with_four_decimals() -> None:
    text = text_table(["name", "score"], [["a", 0.5], ["bb", None], ["c", 12.123456]])
    assert text.split("\n")[2:] == ["a      0.5000", "bb", "c     12.1235"]


def test_numbers_that_are_not_finite_are_dashes() -> None:
    text = text_table(["a", "b"], [[float("inf"), 0.5], [float("nan"), -1.5]])
    assert text.split("\n")[2:] == ["-   0.5000", "-  -1.5000"]


def test_the_last_line_is_json_that_any_program_reads() -> None:
    line = json_line({"a": [0.5, float("nan")], "b": {"c": (float("inf"), 1, True, "nan", None)}})
    assert line == '{"a": [0.5, null], "b": {"c": [null, 1, true, "nan", null]}}'


HEADER = "epoch,lr,seconds,train_loss,train_xy,train_n_matched,val_score"
FULL = [f"{e},{0.001 / e},3,{2 / e},{1 / e},40,{'' if e % 2 else 1 / e}" for e in range(1, 9)]


@pytest.mark.parametrize(
    "lines", [[HEADER, *FULL], [HEADER], [HEADER, FULL[0]], ["epoch,lr", "1,0.1"]]
)
def test_curves_are_drawn_however_short_the_run(lines: list[str], tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("\n".join(lines) + "\n")
    draw_curves(metrics, tmp_path / "curves.png", title="cpu-small/canal fold 0")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    assert picture.shape[0] > 400
    assert len(np.unique(picture)) > 5


def test_a_worse_run_gives_another_picture(tmp_path: Path) -> None:
    pictures = []
    for factor in (1, 3):
        rows = [f"{e},0.1,3,{factor**e},1,40,{factor**e}" for e in range(1, 5)]
        (tmp_path / "m.csv").write_text("\n".join([HEADER, *rows]))
        draw_curves(tmp_path / "m.csv", tmp_path / "c.png")
        pictures.append((tmp_path / "c.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_a_curve_is_broken_where_a_restart_sets_the_epoch_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    drawn: list[tuple[list[float], list[float]]] = []
    plot = Axes.plot

    def note(axes: Axes, x: list[float], y: list[float], **how: Any) -> Any:
        drawn.append((list(x), list(y)))
        return plot(axes, x, y, **how)

    monkeypatch.setattr(Axes, "plot", note)
    rows = [f"{e},{p},0.1,3,{loss},1,40," for p, e, loss in ((1, 1, 9), (1, 2, 8), (2, 2, 7))]
    header = HEADER.replace("epoch,", "epoch,phase,")
    (tmp_path / "m.csv").write_text("\n".join([header, *rows]))
    draw_curves(tmp_path / "m.csv", tmp_path / "c.png")
    np.testing.assert_array_equal(drawn[0], ([1, 2, np.nan, 2], [9, 8, np.nan, 7]))


def test_a_table_says_once_that_few_studies_have_no_interval() -> None:
    parts = break_down(drawn(studies=FEWEST_STUDIES - 1))
    text = text_table(*overview_table([p for p in parts if p.by == ALL]))
    assert text.count(f"{FEWEST_STUDIES - 1} ({TOO_FEW_STUDIES})") == len(Condition)
    assert text.count(TOO_FEW_STUDIES) == len(Condition)
    assert TOO_FEW_STUDIES not in text_table(*overview_table(break_down(drawn(studies=20))))
