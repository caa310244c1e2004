"""The overview in a real browser: search, filter, order, hostile text, accessibility."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Level, SeriesKind, Target
from lumbargrade.grading.graded import GradedStudy, SeriesLine
from lumbargrade.report.overview import Overview, StudyEntry

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

HOSTILE = "9</script><img src=x onerror=alert(1)>"
SHARES = {
    Grade.NORMAL_MILD: (0.8, 0.1, 0.1),
    Grade.MODERATE: (0.1, 0.8, 0.1),
    Grade.SEVERE: (0.1, 0.1, 0.8),
}


def graded(study: str, worst: Grade, number: int, *, certain: bool = True) -> GradedStudy:
    """A study whose canal has some findings of a grade; all others are normal."""
    canal = [Target(Condition.CANAL, level) for level in Level][:number]
    grades = {t: worst if t in canal else Grade.NORMAL_MILD for t in FINDINGS}
    findings = {t: Finding(t, SHARES[grade]) for t, grade in grades.items()}
    numbering = Numbering(0.99 if certain else 0.5, "", 0.0, 0.8, "sacrum seen")
    picture = {Condition.CANAL: "pictures/canal.jpg"}
    series = (SeriesLine("1", SeriesKind.SAGITTAL_T2, 1, 8, 8, picture),)
    return GradedStudy(StudyPrediction(study, findings, numbering=numbering), series, False, "x")


STUDIES = {
    "a": graded("1.10", Grade.MODERATE, 2),
    "b": graded("1.9", Grade.SEVERE, 1),
    "c": graded("1.8", Grade.NORMAL_MILD, 0, certain=False),
    "d": graded(HOSTILE, Grade.SEVERE, 3),
}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of the studies, open in a browser; nothing may be logged or thrown."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    out = tmp_path_factory.mktemp("overview")
    overview = Overview(out)
    for folder, study in STUDIES.items():
        overview.add(StudyEntry.of(folder, study))
        picture = out / folder / "pictures" / "canal.jpg"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(_picture())
    failed = [Problem("no axial series", study=HOSTILE, advice="run `lumbargrade inspect X`")]
    overview.finish(list(STUDIES), failed, [Problem("not DICOM", file=HOSTILE)])
    wrong: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("console", lambda m: wrong.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("dialog", lambda d: wrong.append(f"dialog: {d.message}"))
        page.goto((out / "index.html").as_uri())
        yield page
        assert wrong == []


def _picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


def shown(tab: Any) -> list[str]:
    """The folders of the visible studies, from top to bottom."""
    links = tab.locator("#studies tbody tr:visible th a")
    return [str(link.get_attribute("href")).removesuffix("/report.html") for link in links.all()]


def reset(tab: Any) -> None:
    tab.fill("#search", "")
    tab.select_option("#show", "all")
    tab.select_option("#order", "order")


def test_studies_are_found_filtered_and_ordered(tab: Any) -> None:
    reset(tab)
    assert shown(tab) == ["a", "b", "c", "d"]
    tab.select_option("#order", "worst")
    assert shown(tab) == ["d", "b", "a", "c"]
    tab.select_option("#order", "name")
    assert shown(tab)[:3] == ["c", "b", "a"]
    tab.select_option("#order", "order")
    for choice, expected in (("severe", "bd"), ("moderate", "abd"), ("check", "c")):
        tab.select_option("#show", choice)
        assert shown(tab) == list(expected)
    reset(tab)
    tab.fill("#search", "SEVERE l2/l3")
    assert shown(tab) == ["d"]
    assert tab.inner_text("#shown") == "1 of 4 studies on this page"


def test_what_was_not_graded_is_above_the_studies_with_what_to_do(tab: Any) -> None:
    reset(tab)
    text = tab.inner_text("main")
    assert "4 studies graded: 2 with a severe finding, 1 with an uncertain numbering." in text
    assert text.index("no axial series") < text.index("Moderate (L1/L2, L2/L3)")
    assert tab.locator("details code").first.inner_text() == "lumbargrade inspect X"
    assert HOSTILE in text


def test_the_page_is_accessible_in_light_and_dark(tab: Any) -> None:
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()


def test_pictures_are_shown(tab: Any) -> None:
    reset(tab)
    widths = tab.eval_on_selector_all("#studies img", "all => all.map((i) => i.naturalWidth)")
    assert widths == [8, 8, 8, 8]
