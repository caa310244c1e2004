"""Which kind a header makes a series: a table of real-looking headers, and what holds of all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from series_rows import ROWS, Row

from lumbargrade.dicom.header import Acquisition
from lumbargrade.dicom.kinds.classify import Verdict, classify
from lumbargrade.dicom.kinds.words import (
    ENTRIES,
    IMAGE_TYPES,
    LEXICON,
    Entry,
    Lexicon,
    Meaning,
    read_words,
)
from lumbargrade.domain.vocabulary import SeriesKind

NORMALS = {"sagittal": (1, 0, 0), "coronal": (0, 1, 0), "axial": (0, 0, 1)}
KINDS = {
    ("sagittal", "T1"): SeriesKind.SAGITTAL_T1,
    ("sagittal", "T2"): SeriesKind.SAGITTAL_T2,
    ("axial", "T2"): SeriesKind.AXIAL_T2,
}


def verdict_of(row: Row) -> Verdict:
    plane, description, _, _, values = row
    about = Acquisition(**{"modality": "MR", "description": description, **values})
    return classify(about, NORMALS[plane])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]} {row[4] or ''}"[:90])
def test_a_header_gives_its_kind_and_reason(row):
    plane, _, kind, reason, _ = row
    verdict = verdict_of(row)
    assert verdict.kind == KINDS.get((plane, kind)), verdict
    assert reason in verdict.reason


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda s: s.replace(" ", "_")])
def test_case_and_underscores_do_not_matter(change):
    for row in ROWS:
        plane, description, *_ = row
        # capitals tell glued words apart, as in SagT2
        changed = (plane, change(description), *row[2:])
        assert verdict_of(changed).kind is verdict_of(row).kind, changed


#: Of no consequence wherever they stand. "Plan axial" is a plane and "plan" a localizer, so rows
#: that end in "plan" are left out.
NEUTRAL = sorted(
    phrase.rstrip("*")
    for phrase in next(e.phrases for e in ENTRIES if "tse" in e.phrases)
    if " " not in phrase
)


@given(
    # a word after "w/o" is what the series is without
    row=st.sampled_from([r for r in ROWS if not r[1].lower().endswith(("plan", "w/o"))]),
    word=st.sampled_from([*NEUTRAL, "320", "xyzzy", "p2", "4mm"]),
    joint=st.sampled_from([" ", "_", ", "]),
    first=st.booleans(),
)
def test_neutral_words_change_nothing(row, word, joint, first):
    plane, description, *rest = row
    parts = (word, description) if first else (description, word)
    assert verdict_of((plane, joint.join(parts), *rest)).kind is verdict_of(row).kind


def test_every_phrase_of_the_tables_has_its_one_meaning():
    for table in (LEXICON.exact, LEXICON.stems):
        for words, meaning in table.items():
            read = read_words(" ".join(words))
            assert [w.meaning for w in read] == [meaning], (words, read)


def test_every_example_of_the_tables_contains_its_meaning():
    for entry in ENTRIES:
        for example in entry.examples:
            meanings = {w.meaning for w in read_words(example)}
            assert entry.meaning in meanings, (entry.meaning, example)


def test_a_phrase_with_two_meanings_is_refused():
    entries = [Entry(Meaning.T1, ("t1", "other")), Entry(Meaning.T2, ("t2", "other"))]
    with pytest.raises(ValueError, match="'other' has two meanings: T1 and T2"):
        Lexicon(entries)


def test_no_image_type_has_two_meanings():
    values = [value for known in IMAGE_TYPES.values() for value in known]
    assert len(values) == len(set(values))


@given(st.text(max_size=80))
def test_any_text_is_read(text):
    words = read_words(text)
    assert all(w.text for w in words)
    classify(Acquisition(description=text, protocol=text, body_part=text, agent=text), (1, 0, 0))


@pytest.mark.parametrize(
    ("row", "remark"),
    [
        (
            ("sagittal", "SAG T2 POST OP", {}),
            "may be operated (SeriesDescription 'SAG T2 POST OP')",
        ),
        (
            ("axial", "AX T2", {"protocol": "LWS nach Spondylodese"}),
            "may be operated (ProtocolName",
        ),
        (
            ("sagittal", "SAG T1", {"order": (("StudyDescription", "L SPINE POST OP"),)}),
            "may be operated (StudyDescription 'L SPINE POST OP')",
        ),
        (
            ("sagittal", "T2 TSE SAG", {"echo_time": 10.0, "repetition_time": 550.0}),
            "'T2 TSE SAG' says T2, but echo time 10 ms, repetition time 550 ms is that of T1",
        ),
        (
            ("sagittal", "T2", {"body_part": "CSPINE", "protocol": "LWS"}),
            "names another region, but ProtocolName 'LWS' names the lumbar spine",
        ),
        (("sagittal", "T2", {"body_part": "ABDOMEN"}), "BodyPartExamined 'ABDOMEN' is ignored"),
    ],
)
def test_what_is_odd_about_a_usable_series_is_said(row, remark):
    plane, description, values = row
    verdict = verdict_of((plane, description, "", "", values))
    assert verdict.kind is not None
    assert remark in " ".join(verdict.remarks)


def test_an_ordinary_series_has_no_remarks():
    for row in ROWS:
        if row[4] == {} and row[2] != "-" and (remarks := verdict_of(row).remarks):
            assert "operated" in remarks[0], (row, remarks)
