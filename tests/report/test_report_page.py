"""`report.html` in a real browser: images, linked views, keys, review, print, hostile text."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lumbargrade.cli.main import main
from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.upright import Upright, pose_of
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Grade,
    Level,
    SeriesKind,
    Side,
    Target,
    target_from_column,
)
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import Review, Status, read_review
from lumbargrade.grading.reviewing import reviewed
from lumbargrade.report.page import Section, Table
from lumbargrade.report.study_page import wording_of, write_report
from lumbargrade.report.wording import default_wording, draft, report_text
from made_series import make_volume

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
#: Rows of the grid are levels; its columns, from the patient's right to the left.
COLUMNS = (
    *((Condition.FORAMINAL, Side.RIGHT), (Condition.SUBARTICULAR, Side.RIGHT)),
    *((Condition.CANAL, None), (Condition.SUBARTICULAR, Side.LEFT)),
    (Condition.FORAMINAL, Side.LEFT),
)
ORDER = [Target(c, level, side) for level in Level for c, side in COLUMNS]
KEYS = {Grade.NORMAL_MILD: "q", Grade.MODERATE: "w", Grade.SEVERE: "e", None: "x"}


@dataclass(frozen=True)
class Result:
    """A graded phantom."""

    study: Study
    graded: GradedStudy
    page: Path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        # a sandbox cannot be set up by root, which tests in containers are
        yield started.chromium.launch(executable_path=chromium, chromium_sandbox=False)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("report")
    images = out / "study" / "test_images"
    made = ["phantom", str(out / "study"), "--studies", "1", "--first", "100000"]
    assert main([*made, "--split", "test", "--workers", "1"]) == 0
    assert main(["grade", str(images), "--out", str(out / "result")]) == 0
    (page,) = (out / "result").glob("*/report.html")
    return Result(read_study(images), read_findings(page.parent / "findings.json"), page)


class Reader:
    """Opens pages, and fails a test whose page logs, throws or asks the network for anything."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.contexts: list[Any] = []
        self.wrong: list[str] = []

    def open(self, page: Path, **how: Any) -> Any:
        context = self.browser.new_context(**(how or DESKTOP))
        self.contexts.append(context)
        return self.load(context, page)

    def load(self, context: Any, page: Path) -> Any:
        tab = context.new_page()
        tab.on("console", lambda m: self.wrong.append(f"{m.type}: {m.text}"))
        tab.on("pageerror", lambda e: self.wrong.append(str(e)))
        tab.on("dialog", lambda d: self.wrong.append(f"dialog: {d.message}"))
        tab.on("request", lambda r: self._asked(r.url, page))
        tab.goto(page.as_uri())
        tab.wait_for_selector("html.ready")
        return tab

    def _asked(self, url: str, page: Path) -> None:
        if url != page.as_uri() and not url.startswith(("data:", "blob:")):
            self.wrong.append(f"request: {url}")

    def close(self) -> None:
        for context in self.contexts:
            context.close()


@pytest.fixture
def reader(browser: Any) -> Iterator[Reader]:
    one = Reader(browser)
    yield one
    one.close()
    assert one.wrong == []


def slices(tab: Any) -> dict[str, int]:
    """The index of the slice that each pane shows, by kind."""
    shown = tab.locator(".pane[data-kind]").all()
    return {
        pane.get_attribute("data-kind"): int(pane.locator("canvas").get_attribute("aria-valuenow"))
        - 1
        for pane in shown
    }


def canvas(tab: Any, kind: str) -> Any:
    return tab.locator(f'.pane[data-kind="{kind}"] canvas')


def picture(tab: Any, kind: str) -> str:
    """What a pane shows, as a URL of its pixels, after it has been painted."""
    shown = canvas(tab, kind)
    z = str(int(shown.get_attribute("aria-valuenow")) - 1)
    playwright.expect(shown).to_have_attribute("data-shown", z)
    tab.evaluate("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
    url: str = shown.evaluate("c => c.toDataURL()")
    return url


def brightness(tab: Any, kind: str) -> float:
    content = base64.b64decode(picture(tab, kind).partition(",")[2])
    return float(np.asarray(Image.open(BytesIO(content)).convert("L")).mean())


def cell(tab: Any, target: Target) -> Any:
    return tab.locator(f'#grid [data-finding="{target.column}"]')


def upright_slice(study: Study, target: Target, graded: GradedStudy, kind: str) -> int:
    """The slice of a pane that shows a finding, computed by the package's own geometry."""
    point = graded.prediction.findings[target].point
    assert point is not None
    (volume,) = (v for v in study.volumes if v.kind is not None and v.kind.name.lower() == kind)
    upright = Upright.of(volume, pose_of(volume.kind))
    shown = upright.volume(volume)
    z = shown.from_patient([point.patient])[0, 2]
    return int(shown.nearest_slices([z])[0])


def test_it_opens_with_every_finding_in_colour_and_words(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    for target in FINDINGS:
        button = cell(tab, target)
        grade = result.graded.prediction.findings[target].grade
        assert grade.column in button.get_attribute("class").split()
        said = button.inner_text().replace("\u200b", "")
        assert grade.label.lower() in said
        assert {Grade.NORMAL_MILD: "○", Grade.MODERATE: "◐", Grade.SEVERE: "●"}[grade] in said
    assert result.graded.prediction.study_id in tab.locator("#top").inner_text()
    assert "trained on phantoms only" in tab.locator("#top").inner_text()
    assert "Research software" in tab.locator("#top").inner_text()
    assert brightness(tab, "axial_t2") > 2


def test_a_finding_opens_its_slices_and_is_marked_in_every_pane(
    result: Result, reader: Reader
) -> None:
    tab = reader.open(result.page)
    target = Target(Condition.SUBARTICULAR, Level.L4_L5, Side.RIGHT)
    before = {kind: picture(tab, kind) for kind in slices(tab)}
    cell(tab, target).click()
    expected = {k: upright_slice(result.study, target, result.graded, k) for k in slices(tab)}
    assert slices(tab) == expected
    assert cell(tab, target).get_attribute("aria-pressed") == "true"
    assert "L4/L5 right subarticular stenosis" in tab.locator("#detail").inner_text()
    tab.locator("#layer-places").uncheck()
    tab.locator("#layer-lines").uncheck()
    tab.locator("#layer-measurements").uncheck()
    marked = {kind: picture(tab, kind) for kind in expected}
    tab.reload()
    tab.wait_for_selector("html.ready")
    for layer in ("places", "lines", "measurements"):
        tab.locator(f"#layer-{layer}").uncheck()
    for kind, z in expected.items():
        tab.locator(f'.pane[data-kind="{kind}"] input').fill(str(z + 1))
        assert picture(tab, kind) != marked[kind], kind
    assert before != marked


def test_wheel_keys_and_slider_scroll(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    start = slices(tab)["axial_t2"]
    canvas(tab, "axial_t2").hover()
    tab.mouse.wheel(0, 120)
    assert slices(tab)["axial_t2"] == start + 1
    tab.mouse.wheel(0, -120)
    tab.keyboard.press("3")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowUp")
    assert slices(tab)["axial_t2"] == start + 1
    tab.keyboard.press("Home")
    assert slices(tab)["axial_t2"] == 0
    tab.keyboard.press("ArrowUp")
    assert slices(tab)["axial_t2"] == 0
    tab.locator('.pane[data-kind="axial_t2"] input').fill("7")
    assert slices(tab)["axial_t2"] == 6
    assert "slice 7 of" in canvas(tab, "axial_t2").get_attribute("aria-valuetext")


def test_a_drag_changes_the_window_and_a_double_click_resets_it(
    result: Result, reader: Reader
) -> None:
    tab = reader.open(result.page)
    box = canvas(tab, "sagittal_t2").bounding_box()
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    usual, first = brightness(tab, "sagittal_t2"), picture(tab, "sagittal_t2")
    tab.mouse.down()
    tab.mouse.move(x, y - 60, steps=3)
    tab.mouse.up()
    assert brightness(tab, "sagittal_t2") > usual + 3
    tab.mouse.dblclick(x, y)
    assert brightness(tab, "sagittal_t2") == pytest.approx(usual, abs=0.5)
    tab.keyboard.down("Control")
    tab.mouse.wheel(0, -200)
    tab.keyboard.up("Control")
    assert picture(tab, "sagittal_t2") != first


def test_views_are_linked_by_the_patients_geometry(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    data = json.loads(tab.locator("#study").text_content())
    box = canvas(tab, "sagittal_t2").bounding_box()
    for at in (0.3, 0.5, 0.7):
        tab.mouse.click(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * at)
        expected = nearest_axial(result.study, data, slices(tab)["sagittal_t2"], box, at)
        assert slices(tab)["axial_t2"] == expected
    sagittal = slices(tab)["sagittal_t2"]
    box = canvas(tab, "axial_t2").bounding_box()
    tab.mouse.click(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    right = slices(tab)["sagittal_t2"]
    tab.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    left = slices(tab)["sagittal_t2"]
    # upright sagittal slices go from the patient's left to the right
    assert left < sagittal < right


def test_a_series_of_another_space_is_not_linked(
    result: Result, reader: Reader, tmp_path: Path
) -> None:
    before, start, rest = result.page.read_text(encoding="utf-8").partition('id="study">')
    text, end, after = rest.partition("</script>")
    data = json.loads(text)
    (axial,) = (s for s in data["series"] if s["kind"] == "axial_t2")
    axial["space"] = 9
    page = tmp_path / "apart.html"
    page.write_text(f"{before}{start}{json.dumps(data)}{end}{after}", encoding="utf-8")
    tab = reader.open(page)
    first = slices(tab)
    canvas(tab, "sagittal_t1").click(position={"x": 200, "y": 60})
    canvas(tab, "sagittal_t2").click(position={"x": 200, "y": 60})
    canvas(tab, "axial_t2").click(position={"x": 20, "y": 100})
    assert slices(tab) == first
    cell(tab, Target(Condition.FORAMINAL, Level.L4_L5, Side.LEFT)).click()
    assert slices(tab)["axial_t2"] == first["axial_t2"]
    assert slices(tab)["sagittal_t2"] != first["sagittal_t2"]


def nearest_axial(
    study: Study, data: dict[str, Any], z: int, box: dict[str, float], at: float
) -> int:
    """The axial slice of a click at a share of the height of the sagittal T2 pane."""
    own = next(s for s in data["series"] if s["kind"] == "sagittal_t2")
    plane = own["slices"][z]
    dx, dy = plane["s"]
    places = [p for p in data["places"].values() if p["series"] == own["index"]]
    xs, ys = [p["x"] for p in places], [p["y"] for p in places]
    # Pane.fit: the findings with 45 mm around them, inside the image
    edge = [-0.5, plane["w"] - 0.5, plane["h"] - 0.5]
    x0, x1 = max(edge[0] * dx, min(xs) * dx - 45), min(edge[1] * dx, max(xs) * dx + 45)
    y0, y1 = max(edge[0] * dy, min(ys) * dy - 45), min(edge[2] * dy, max(ys) * dy + 45)
    scale = min(box["width"] / (x1 - x0), box["height"] / (y1 - y0))
    x = (x0 + x1) / 2 + 0.05 * box["width"] / scale
    y = (y0 + y1) / 2 + (at - 0.5) * box["height"] / scale
    lps = np.array(plane["p"]) + x * np.array(plane["r"]) + y * np.array(plane["c"])
    (axial,) = (v for v in study.volumes if v.kind is not None and v.kind.name == "AXIAL_T2")
    upright = Upright.of(axial, pose_of(axial.kind)).volume(axial)
    return int(upright.nearest_slices(upright.from_patient([lps])[:, 2])[0])


def test_layers_are_switched_with_boxes_and_keys(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    cell(tab, Target(Condition.CANAL, Level.L3_L4)).click()
    keys = {"outlines": "o", "measurements": "m", "lines": "l", "places": "d", "heat": "h"}
    for layer, key in keys.items():
        first = picture(tab, "axial_t2"), picture(tab, "sagittal_t2")
        tab.keyboard.press(key)
        assert (picture(tab, "axial_t2"), picture(tab, "sagittal_t2")) != first, layer
        tab.locator(f"#layer-{layer}").click()
        assert (picture(tab, "axial_t2"), picture(tab, "sagittal_t2")) == first, layer


def test_heat_maps_are_hottest_at_the_points(result: Result) -> None:
    page = result.page.read_text(encoding="utf-8")
    data = json.loads(page.partition('id="study">')[2].partition("</script>")[0])
    assert len(data["places"]) > 20
    for column, place in data["places"].items():
        target = target_from_column(column)
        z = str(round(place["z"]))
        (heat,) = (
            h
            for h in data["series"][place["series"]]["heat"][z]
            if h["condition"] == target.condition and h["side"] in ("", target.side)
        )
        values = np.frombuffer(base64.b64decode(heat["data"]), np.uint8)
        values = values.reshape(-1, heat["columns"])
        x0, y0, x1, y1 = heat["box"]
        across = int((place["x"] - x0) / (x1 - x0) * values.shape[1])
        down = int((place["y"] - y0) / (y1 - y0) * values.shape[0])
        near = values[max(0, down - 1) : down + 2, max(0, across - 1) : across + 2]
        around = values[max(0, down - 4) : down + 5, max(0, across - 4) : across + 5]
        assert near.max() == around.max() > 50, column


def review_by_keys(tab: Any, grades: dict[Target, Grade | None]) -> None:
    """Decide about every finding with keys, from the first to the last."""
    cell(tab, ORDER[0]).click()
    for target in ORDER:
        tab.keyboard.press(KEYS[grades[target]])
        tab.keyboard.press("n")


def exported(tab: Any, tmp_path: Path) -> Review:
    with tab.expect_download() as waiting:
        tab.locator("#save-review").click()
    path = tmp_path / "review.json"
    waiting.value.save_as(path)
    return read_review(path)


def texts(tab: Any) -> list[str]:
    return [field.input_value() for field in tab.locator("#texts textarea").all()]


def test_drafts_are_those_of_the_package(result: Result, reader: Reader, tmp_path: Path) -> None:
    tab = reader.open(result.page)
    words = wording_of(result.page.read_text(encoding="utf-8"))
    assert words == default_wording()
    assert texts(tab) == list(draft(words, result.graded).values())
    tab.locator("#reader").fill("A. Reader")
    dice = random.Random(3)
    for _ in range(2):
        review_by_keys(tab, {t: dice.choice([*Grade, None]) for t in ORDER})
        told = reviewed(result.graded, exported(tab, tmp_path))
        assert texts(tab) == list(draft(words, told).values())
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.keyboard.press("c")
    tab.wait_for_selector("#said.shown")
    assert tab.evaluate("navigator.clipboard.readText()") == report_text(words, told)


def test_a_review_is_exported_kept_and_loaded_again(
    result: Result, reader: Reader, tmp_path: Path
) -> None:
    tab = reader.open(result.page)
    tab.locator("#save-review").click()
    assert "Write your name" in tab.locator("#said").inner_text()
    tab.locator("#reader").fill("A. Reader")
    one, two = ORDER[0], ORDER[7]
    cell(tab, one).click()
    tab.keyboard.press("a")
    cell(tab, two).click()
    worse = Grade.SEVERE if result.graded.grade(two) is not Grade.SEVERE else Grade.MODERATE
    tab.keyboard.press(KEYS[worse])
    tab.locator("#comment").fill("no <b>CSF</b> left")
    tab.locator("#comment").press("Tab")
    tab.locator("#text-2").fill("L3/L4\u00a0in my words")
    tab.locator("#summary").fill("two lines\nof\u200b summary")
    review = exported(tab, tmp_path)
    assert review.reader == "A. Reader"
    assert (review.study_id, review.fingerprint) == (
        result.graded.prediction.study_id,
        result.graded.fingerprint,
    )
    lines = review.by_target
    assert [lines[t].status for t in (one, two, ORDER[8])] == list(Status)
    assert lines[two].after is worse
    assert lines[two].comment == "no <b>CSF</b> left"
    assert lines[one].reader == lines[two].reader == "A. Reader"
    assert review.texts == {Level.L3_L4: "L3/L4 in my words"}
    assert review.summary == "two lines\nof summary"
    assert reviewed(result.graded, review).grade(two) is worse

    again = reader.load(tab.context, result.page)
    assert "overruled" in cell(again, two).get_attribute("class")
    assert again.locator("#text-2").input_value() == "L3/L4\u00a0in my words"
    assert "1 accepted, 1 overruled, 23 open" in again.locator("#progress").inner_text()

    fresh = reader.open(result.page)
    fresh.locator("#load-review").set_input_files(tmp_path / "review.json")
    playwright.expect(fresh.locator("#reader")).to_have_value("A. Reader")
    assert replace(exported(fresh, tmp_path), time=review.time) == review

    out = tmp_path / "reviewed"
    asked = ["review", str(result.page.parent), str(tmp_path / "review.json"), "--out", str(out)]
    assert main(asked) == 0
    other = reader.open(out / "report.html")
    assert "changed by the reader" in cell(other, two).get_attribute("aria-label")
    assert other.locator("#summary").input_value() == "two lines\nof summary"
    assert brightness(other, "sagittal_t2") > 2
    assert "L3/L4: L3/L4 in my words\n" in (out / "report.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"study_id": "other"}, "it belongs to another study"),
        ({"fingerprint": "other"}, "it belongs to another result"),
        ({"format": 99}, "not a review of this version"),
        ({"findings": [{"finding": "x", "status": "accepted"}]}, "was not loaded"),
        (None, "was not loaded"),
    ],
)
def test_a_foreign_or_damaged_review_is_refused(
    result: Result, reader: Reader, tmp_path: Path, change: dict[str, Any] | None, said: str
) -> None:
    tab = reader.open(result.page)
    tab.locator("#reader").fill("A. Reader")
    cell(tab, ORDER[0]).click()
    tab.keyboard.press("a")
    content = asdict(exported(tab, tmp_path))
    path = tmp_path / "changed.json"
    path.write_text("{" if change is None else json.dumps({**content, **change}))
    tab.locator("#load-review").set_input_files(path)
    playwright.expect(tab.locator("#said")).to_contain_text(said)
    assert "1 accepted" in tab.locator("#progress").inner_text()


def test_what_a_browser_kept_and_cannot_be_read_is_ignored(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    cell(tab, ORDER[0]).click()
    tab.keyboard.press("a")
    tab.evaluate("Object.keys(localStorage).forEach((k) => localStorage.setItem(k, '{'))")
    again = reader.load(tab.context, result.page)
    assert "0 accepted" in again.locator("#progress").inner_text()


def test_a_shift_renames_the_discs_on_the_page_and_in_the_review(
    result: Result, reader: Reader, tmp_path: Path
) -> None:
    tab = reader.open(result.page)
    tab.locator("#reader").fill("A. Reader")
    target = Target(Condition.CANAL, Level.L3_L4)
    cell(tab, target).click()
    tab.keyboard.press("e" if result.graded.grade(target) is not Grade.SEVERE else "q")
    tab.locator("#shift button[value='1']").click()
    first, lower = Target(Condition.CANAL, Level.L1_L2), Target(Condition.CANAL, Level.L4_L5)
    assert "not graded" in cell(tab, first).get_attribute("aria-label")
    assert "changed by the reader" in cell(tab, lower).get_attribute("aria-label")
    assert "L4/L5 spinal canal stenosis" in tab.locator("#detail").inner_text()
    review = exported(tab, tmp_path)
    assert review.shift == 1
    assert review.by_target[lower].status is Status.OVERRULED
    told = reviewed(result.graded, review)
    assert told.grade(lower) is review.by_target[lower].after
    assert texts(tab) == list(draft(default_wording(), told).values())


def test_the_keyboard_reaches_everything(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("a")
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()
    tab.keyboard.press("g")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    focused = tab.evaluate("document.activeElement.dataset.finding")
    assert focused == Target(Condition.SUBARTICULAR, Level.L2_L3, Side.LEFT).column
    assert "3px" in tab.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    tab.keyboard.press("a")
    assert tab.evaluate("document.activeElement.dataset.finding") == focused
    assert "accepted" in cell(
        tab, Target(Condition.SUBARTICULAR, Level.L2_L3, Side.LEFT)
    ).get_attribute("class")
    tab.keyboard.press("t")
    tab.keyboard.type("a?")
    assert tab.locator("#text-0").input_value().endswith("a?")
    tab.keyboard.press("Escape")
    tab.keyboard.press("f")
    assert tab.locator(".pane.large").count() == 1
    tab.keyboard.press("Escape")
    assert tab.locator(".pane.large").count() == 0
    tab.locator("#open-help").click()
    tab.locator("#keys-on").uncheck()
    tab.locator("#close-help").click()
    tab.keyboard.press("f")
    assert tab.locator(".pane.large").count() == 0


def test_axe_finds_nothing_in_light_and_dark(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    cell(tab, ORDER[20]).click()
    tab.keyboard.press("a")
    cell(tab, ORDER[21]).click()
    tab.keyboard.press("x")
    for summary in tab.locator("#tables summary").all():
        summary.click()
    tab.evaluate("scrollTo(0, 0)")
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        assert violations(tab) == []
    tab.keyboard.press("?")
    assert violations(tab) == []


def violations(tab: Any) -> list[str]:
    found = axe.Axe().run(tab).response["violations"]
    return [f"{v['id']}: {[n['html'][:160] for n in v['nodes'][:3]]}" for v in found]


def test_a_phone_shows_a_pane_at_a_time_and_scrolls_with_a_finger(
    result: Result, reader: Reader
) -> None:
    tab = reader.open(result.page, **PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.locator(".pane[data-kind]:visible").count() == 1
    cell(tab, Target(Condition.SUBARTICULAR, Level.L4_L5, Side.LEFT)).tap()
    assert canvas(tab, "axial_t2").is_visible()
    start = slices(tab)["axial_t2"]
    canvas(tab, "axial_t2").scroll_into_view_if_needed()
    box = canvas(tab, "axial_t2").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch(tab, [[(x, y)], [(x, y + 30)], [(x, y + 60)]])
    assert slices(tab)["axial_t2"] > start
    still = picture(tab, "axial_t2")
    touch(tab, [[(x - 20, y), (x + 20, y)], [(x - 50, y), (x + 50, y)]])
    assert picture(tab, "axial_t2") != still
    tab.locator("#tabs button", has_text="Sagittal T1").tap()
    assert canvas(tab, "sagittal_t1").is_visible()
    assert violations(tab) == []


def touch(tab: Any, steps: list[list[tuple[float, float]]]) -> None:
    """Move fingers over the page."""
    session = tab.context.new_cdp_session(tab)
    for i, fingers in enumerate(steps):
        points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(fingers)]
        kind = "touchMove" if i else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_it_prints_on_two_pages(result: Result, reader: Reader) -> None:
    tab = reader.open(result.page)
    tab.wait_for_selector("#key-images figure", state="attached")
    pdf = tab.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    tab.emulate_media(media="print")
    assert "L1/L2: " in tab.locator("#print-text").inner_text()
    assert tab.locator("#key-images canvas").count() >= 4
    assert not tab.locator("#viewer").is_visible()


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028'\"&amp;{{7*7}}"


def test_hostile_text_is_shown_and_never_run(tmp_path: Path, reader: Reader) -> None:
    volume = replace(make_volume(depth=3), series_id=HOSTILE, kind=None)
    absent = dict.fromkeys(FINDINGS, HOSTILE)
    problem = Problem(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    prediction = StudyPrediction(HOSTILE, {}, (), (problem,), absent)
    graded = GradedStudy(prediction, (), False, HOSTILE, HOSTILE, time="2026-01-01T00:00:00+00:00")
    words = replace(default_wording(), title=HOSTILE.replace("{", "").replace("}", ""))
    page = tmp_path / "report.html"
    tables = [Section(HOSTILE, [Table((HOSTILE,), [[HOSTILE]], HOSTILE)])]
    write_report(page, Study(HOSTILE, (volume,)), graded, tables, words)
    tab = reader.open(page)
    assert tab.locator(".uid").inner_text() == HOSTILE.replace("\u2028", " ") or HOSTILE[:20] in (
        tab.locator(".uid").inner_text()
    )
    cell(tab, ORDER[0]).click()
    assert "alert(1)" in tab.locator("#detail").inner_text()
    assert tab.locator("img").count() == 0
    tab.wait_for_timeout(200)


def test_a_large_study_stays_below_the_limit_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (30, 512, 512), np.uint8)
    volume = make_volume(depth=30, height=512, width=512)
    volumes = tuple(
        replace(volume, pixels=noise, series_id=str(i), kind=SeriesKind.AXIAL_T2) for i in range(2)
    )
    graded = GradedStudy(
        StudyPrediction("1", {}, absent=dict.fromkeys(FINDINGS, "no")), (), False, "x"
    )
    page = tmp_path / "report.html"
    write_report(page, Study("1", volumes), graded, [], default_wording())
    text = page.read_text(encoding="utf-8")
    assert 1_000_000 < len(text.encode()) < 8_000_000
    assert "images are reduced to" in text
