"""The HTML page: needs nothing but itself and its pictures, shows all findings, escapes text."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from lumbargrade.domain.findings import Finding
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Grade
from lumbargrade.report.page import Figure, FindingsTable, Link, Section, Table, Text, write_page

VOID = {"meta", "img", "br"}


class Tree(HTMLParser):
    """Checks that every element is closed in order, and keeps attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def count(self, tag: str) -> int:
        return sum(t == tag for t, _ in self.found)


def findings(missing: int = 0) -> dict:
    return {t: Finding(t, (0.1, 0.2, 0.7)) for t in FINDINGS[missing:]}


def page(tmp_path: Path, *blocks: object, sections: int = 1) -> tuple[str, Tree]:
    parts = [Section(f"Part {i}", blocks) for i in range(sections)]
    path = write_page(tmp_path / "out" / "index.html", "A <page> & more", parts, lead="lead")
    html = path.read_text(encoding="utf-8")
    return html, Tree(html)


def test_text_is_escaped(tmp_path: Path) -> None:
    html, tree = page(tmp_path, Text("<script>alert(1)</script>"), Text("a < b", code=True))
    assert "<script" not in html
    assert "A <page> & more" in tree.words
    assert "a < b" in tree.words


def test_a_command_between_backticks_is_code(tmp_path: Path) -> None:
    html, _ = page(tmp_path, Text("run `grade <out>` & wait"))
    assert "run <code>grade &lt;out&gt;</code> &amp; wait" in html


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    html, tree = page(tmp_path, Figure("pictures/one.png", "one"), FindingsTable(findings()))
    assert not re.search(r"https?:|//|@import|url\(", html)
    sources = [a["src"] for t, a in tree.found if t == "img"]
    assert sources == ["pictures/one.png"]
    assert [a["href"] for t, a in tree.found if t == "a"] == ["pictures/one.png"]


def test_a_table_keeps_its_rows_and_gives_floats_four_decimals(tmp_path: Path) -> None:
    table = Table(["model", "score"], [["pvt", 0.49231], ["none", None]], caption="Scores")
    _, tree = page(tmp_path, table)
    assert {"model", "score", "pvt", "0.4923", "Scores"} <= set(tree.words)
    assert tree.count("tr") == 3
    right = [a for t, a in tree.found if t == "td" and a.get("class") == "n"]
    assert len(right) == 2


def test_a_link_in_a_table_leads_to_its_file_whatever_it_is_called(tmp_path: Path) -> None:
    _, tree = page(tmp_path, Table(["study"], [[Link("<7>", "a b#c/index.html")]]))
    assert [a["href"] for t, a in tree.found if t == "a"] == ["a%20b%23c/index.html"]
    assert "<7>" in tree.words


def test_all_25_findings_are_shown_with_their_truth(tmp_path: Path) -> None:
    truth = {FINDINGS[0]: Grade.NORMAL_MILD}
    _, tree = page(tmp_path, FindingsTable(findings(), truth))
    cells = [a for t, a in tree.found if t == "td" and str(a.get("class", "")).startswith("severe")]
    assert len(cells) == 25
    assert {a["title"] for a in cells} == {"Normal/Mild 10.0%, Moderate 20.0%, Severe 70.0%"}
    assert tree.words.count("true: Normal/Mild") == 1
    assert "not graded" not in tree.words
    assert [w for w in ("normal/mild", "moderate", "severe") if w in tree.words] == [
        g.label.lower() for g in Grade
    ]


def test_an_absent_finding_shows_no_grade_but_its_reason_and_the_truth(tmp_path: Path) -> None:
    recesses, canal = TARGETS[Condition.SUBARTICULAR], TARGETS[Condition.CANAL]
    absent = {canal[1]: "<no> slice", **dict.fromkeys(recesses, "no models")}
    known = {t: f for t, f in findings().items() if t not in absent}
    truth = dict.fromkeys(FINDINGS, Grade.SEVERE)
    _, tree = page(tmp_path, FindingsTable(known, truth, absent))
    cells = [a for t, a in tree.found if t == "td" and a.get("title")]
    plain = [a for a in cells if a["class"] == "absent"]
    assert Counter(a["title"] for a in plain) == {
        "not graded: <no> slice": 1,
        "not graded: no models": 10,
    }
    assert len([a for a in cells if a["class"] == "severe"]) == 14
    assert tree.count("svg") == 3 * 14
    assert [w for w in tree.words if "\u202f%" in w] == ["Severe 70\u202f%"] * 14
    assert tree.words.count("not graded") == 11
    assert tree.words.count("true: Severe") == 25
    assert [w for w in tree.words if w.endswith((": <no> slice", ": no models"))] == [
        "spinal canal stenosis at L2/L3: <no> slice",
        "left and right subarticular stenosis: no models",
    ]
    numbers = [a for t, a in tree.found if t == "sup"]
    assert len(numbers) == 11
    assert [tree.words.count(n) for n in ("1", "2")] == [1, 10]


def test_a_missing_finding_leaves_its_cell_empty_and_the_others_in_place(tmp_path: Path) -> None:
    full = FindingsTable(findings())
    part = FindingsTable(findings(missing=3))
    flat = [c for _, cells in part.rows for c in cells]
    assert len(flat) == 25
    assert sum(c is None for c in flat) == 3
    assert [n for n, _ in part.rows] == [n for n, _ in full.rows]
    page(tmp_path, part)


def test_sections_are_linked_from_the_top(tmp_path: Path) -> None:
    _, tree = page(tmp_path, Text("x"), sections=4)
    links = [str(a["href"]).removeprefix("#") for t, a in tree.found if t == "a"]
    ids = [a["id"] for t, a in tree.found if t == "section"]
    assert links == ids
    assert len(ids) == 4


def test_the_page_says_what_it_is_not(tmp_path: Path) -> None:
    html, _ = page(tmp_path)
    assert "not a medical device" in html
