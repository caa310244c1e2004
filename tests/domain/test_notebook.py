"""A prediction shows itself in a notebook: every finding, every reason, nothing unescaped."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Grade, target_from_column

HOSTILE = '"><script>alert(1)</script>'
CANAL = target_from_column("spinal_canal_stenosis_l4_l5")
RECESS = target_from_column("left_subarticular_stenosis_l1_l2")


class Cells(HTMLParser):
    """The tags of a page, and its cells as (row, text, tooltip)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append(["", dict(attrs).get("title") or ""])

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1][0] += data


def test_every_finding_is_in_the_grid_and_text_is_escaped() -> None:
    findings = {t: Finding(t, (0.7, 0.2, 0.1)) for t in FINDINGS if t != RECESS}
    findings[CANAL] = Finding(CANAL, (0.1, 0.1, 0.8))
    problems = (Problem(HOSTILE),)
    prediction = StudyPrediction(HOSTILE, findings, (), problems, {RECESS: HOSTILE})
    page = prediction._repr_html_()
    cells = Cells(page)
    assert "script" not in cells.tags
    head, *rows = cells.rows
    assert [c[0] for c in head] == [
        f"Study {HOSTILE}",
        *["L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1"],
    ]
    assert [len(row) for row in rows] == [6] * 5
    by_name = {row[0][0]: row[1:] for row in rows}
    assert by_name["spinal canal stenosis"][3] == [
        *("● Severe (80%)", "Normal/Mild 10.0%, Moderate 10.0%, Severe 80.0%")
    ]
    assert by_name["left subarticular stenosis"][0] == ["not graded", HOSTILE]
    assert page.count("Normal/Mild (70%)") == 23

    read = replace(findings[CANAL], by_reader=Grade.MODERATE)
    reviewed = replace(prediction, findings={**findings, CANAL: read})
    assert "◐</span> Moderate (reader)" in reviewed._repr_html_()
    assert ">–<" in StudyPrediction("1", {})._repr_html_()
