"""Situations of hospital exports in which a study must be read as its plain export is."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import RLELossless

import hospital_exports as made
from hospital_exports import Study as Datasets

Case = Callable[[Datasets, Path], None]
CASES: dict[str, Case] = {}


def case(make: Case) -> Case:
    """A situation in which the study must be read as the control."""
    CASES[make.__name__] = make
    return make


# copies


@case
def copies_under_new_uids(study: Datasets, folder: Path) -> None:
    study["sagt2"] += made.again(study["sagt2"], "copy", lambda d: None)
    made.save(folder, study)


@case
def copies_under_new_uids_and_numbers_before_the_rest(study: Datasets, folder: Path) -> None:
    def later(data):
        data.InstanceNumber += 50
        data.ImageComments = "sent again"

    study["axt2"] = made.again(study["axt2"], "copy", later) + study["axt2"]
    made.save(folder, study)


@case
def the_same_files_in_two_folders(study: Datasets, folder: Path) -> None:
    made.save(folder / "first", study)
    made.save(folder / "second", {"sagt2": study["sagt2"]})


@case
def copies_in_another_coding(study: Datasets, folder: Path) -> None:
    def compressed(data):
        data.compress(RLELossless, generate_instance_uid=False)
        data.InstanceNumber += 100

    study["sagt2"] += made.again(study["sagt2"], "coded", compressed)
    made.save(folder, study)


@case
def copies_whose_positions_were_rounded(study: Datasets, folder: Path) -> None:
    def rounded(data):
        data.InstanceNumber += 100
        data.ImagePositionPatient = [round(float(v), 2) for v in data.ImagePositionPatient]

    study["sagt2"] += made.again(study["sagt2"], "rounded", rounded)
    made.save(folder, study)


@case
def a_whole_series_sent_again_under_new_uids(study: Datasets, folder: Path) -> None:
    def other(data):
        data.SeriesInstanceUID = made.uid("another series")
        data.SeriesNumber = 903

    study["again"] = made.again(study["sagt2"], "series", other)
    made.save(folder, study)


# one series, many UIDs


@case
def a_series_uid_for_every_slice(study: Datasets, folder: Path) -> None:
    for i, data in enumerate(study["sagt2"]):
        data.SeriesInstanceUID = made.uid("slice", i)
    made.save(folder, study)


@case
def a_series_uid_for_every_slice_of_every_series(study: Datasets, folder: Path) -> None:
    for name, slices in study.items():
        for i, data in enumerate(slices):
            data.SeriesInstanceUID = made.uid("slice", name, i)
    made.save(folder, study)


@case
def uids_and_frame_and_series_number_of_its_own_for_every_slice(
    study: Datasets, folder: Path
) -> None:
    for i, data in enumerate(study["sagt2"]):
        data.SeriesInstanceUID, data.SeriesNumber = made.uid("slice", i), 700 + i
        data.FrameOfReferenceUID = made.uid("frame", i)
    made.save(folder, study)


@case
def a_frame_of_reference_for_every_slice(study: Datasets, folder: Path) -> None:
    for i, data in enumerate(study["sagt2"]):
        data.FrameOfReferenceUID = made.uid("frame", i)
    made.save(folder, study)


@case
def one_series_uid_for_the_whole_study(study: Datasets, folder: Path) -> None:
    for slices in study.values():
        for data in slices:
            data.SeriesInstanceUID = made.uid("all")
    made.save(folder, study)


# scouts and computed images


@case
def scouts_of_another_matrix(study: Datasets, folder: Path) -> None:
    for away in (1.3, 90.0):
        scout = made.moved(study["sagt2"][7], "scout", away, int(100 + away))
        made.set_pixels(scout, scout.pixel_array[::2, ::2])
        scout.PixelSpacing = [2.1, 2.1]
        study["sagt2"].append(scout)
    made.save(folder, study)


@case
def scouts_of_another_spacing_first(study: Datasets, folder: Path) -> None:
    scout = made.moved(study["sagt1"][7], "scout", 2.0, 0)
    scout.PixelSpacing = [4.5, 4.5]
    study["sagt1"].insert(0, scout)
    made.save(folder, study)


@case
def a_scout_far_off(study: Datasets, folder: Path) -> None:
    study["sagt2"].append(made.moved(study["sagt2"][7], "scout", 110.0))
    made.save(folder, study)


@case
def scouts_between_the_slices(study: Datasets, folder: Path) -> None:
    for middle in (4, 9):
        study["sagt2"].append(made.moved(study["sagt2"][middle], "scout", 1.4, 100 + middle))
    made.save(folder, study)


@case
def a_scout_at_another_angle(study: Datasets, folder: Path) -> None:
    scout = made.moved(study["sagt2"][7], "scout", 1.0)
    made.turned(scout, (0, 0, 1), 8)
    study["sagt2"].append(scout)
    made.save(folder, study)


@case
def a_scout_in_another_plane(study: Datasets, folder: Path) -> None:
    scout = made.moved(study["sagt2"][7], "scout", 1.0)
    scout.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    study["sagt2"].append(scout)
    made.save(folder, study)


@case
def a_scout_of_another_sequence(study: Datasets, folder: Path) -> None:
    scout = made.moved(study["sagt2"][0], "scout", -4.36)
    scout.EchoTime, scout.ScanningSequence = "4", "GR"
    study["sagt2"].append(scout)
    made.save(folder, study)


def subtraction(data) -> None:
    data.ImageType = ["DERIVED", "SECONDARY", "SUBTRACTION"]
    pixels = data.pixel_array.astype(int)
    made.set_pixels(data, np.abs(pixels - np.roll(pixels, 3, 1)))


@case
def computed_images_first(study: Datasets, folder: Path) -> None:
    def first(data):
        subtraction(data)
        data.InstanceNumber -= 20

    study["sagt2"] = made.again(study["sagt2"], "sub", first) + study["sagt2"]
    made.save(folder, study)


@case
def computed_images_between_the_slices(study: Datasets, folder: Path) -> None:
    extra = []
    for i, data in enumerate(study["sagt2"]):
        other = made.moved(data, "sub", 2.18, 100 + i)
        subtraction(other)
        extra.append(other)
    study["sagt2"] += extra
    made.save(folder, study)


# files


def rewritten(change: Callable[[bytes], bytes], *names: str) -> Case:
    def write(study: Datasets, folder: Path) -> None:
        made.save(folder, study)
        for name in names or study:
            made.rewritten(folder / name, change)

    return write


def commas(value: bytes) -> bytes:
    return value.replace(b".", b",")


CASES |= {
    "no_preamble_implicit": rewritten(made.without_preamble()),
    "no_preamble_explicit": rewritten(made.without_preamble(implicit=False)),
    "no_preamble_big_endian": rewritten(made.without_preamble(implicit=False, little=False)),
    "no_preamble_but_file_meta": rewritten(lambda file: file[132:]),
    "no_syntax_explicit": rewritten(made.without_syntax()),
    "no_syntax_implicit": rewritten(made.without_syntax(implicit=True)),
    "no_syntax_compressed": rewritten(made.without_syntax(compressed=True)),
    "spacing_as_unlimited_text": rewritten(made.with_bytes("PixelSpacing", bytes, "UT"), "sagt2"),
    "spacing_as_long_text": rewritten(made.with_bytes("PixelSpacing", bytes, "LT")),
    "spacing_as_unknown": rewritten(made.with_bytes("PixelSpacing", bytes, "UN"), "axt2"),
    "position_as_short_text": rewritten(made.with_bytes("ImagePositionPatient", bytes, "ST")),
    "orientation_as_unlimited_text": rewritten(
        made.with_bytes("ImageOrientationPatient", bytes, "UT")
    ),
    "spacing_with_decimal_commas": rewritten(made.with_bytes("PixelSpacing", commas)),
    "position_with_decimal_commas": rewritten(made.with_bytes("ImagePositionPatient", commas)),
    "spacing_as_text_with_commas": rewritten(made.with_bytes("PixelSpacing", commas, "UT")),
    "position_as_binary": rewritten(
        made.with_bytes(
            "ImagePositionPatient",
            lambda value: np.array(value.decode().split("\\"), "<f8").tobytes(),
            "FD",
        )
    ),
}


@case
def compressed_as_the_file_meta_says_but_stored_plainly(study: Datasets, folder: Path) -> None:
    made.save(folder, study)
    plain, rle = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
    made.rewritten(folder, lambda file: file.replace(plain, rle, 1))


@case
def an_enhanced_file(study: Datasets, folder: Path) -> None:
    study["sagt2"] = [made.enhanced(study["sagt2"])]
    made.save(folder, study)


@case
def enhanced_files_of_every_series_compressed(study: Datasets, folder: Path) -> None:
    made.save(folder, {k: [made.enhanced(v, compressed=True)] for k, v in study.items()})


@case
def an_enhanced_file_among_sidecars(study: Datasets, folder: Path) -> None:
    study["axt2"] = [made.enhanced(study["axt2"])]
    sidecars(made.save(folder, study))


def sidecars(folder: Path) -> None:
    """What viewers, archives and computers leave beside the images."""
    for file in list(folder.rglob("*.dcm")):
        fork = b"\x00\x05\x16\x07" + b"\x00" * 60
        file.with_name(f"._{file.name}").write_bytes(fork)
        (folder / "__MACOSX" / file.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / "__MACOSX" / file.parent.name / file.name).write_bytes(fork)
        file.with_name(f"fork of {file.name}").write_bytes(fork)
    for name, content in {
        ".DS_Store": b"Bud1",
        "Thumbs.db": b"x",
        "README.TXT": b"disc",
        "AUTORUN.INF": b"[a]",
        "report.pdf": b"%PDF-1.4",
        "key.jpg": b"\xff\xd8\xff\xe0",
        "empty.txt": b"",
        "viewer.exe": b"MZ",
        "index.html": b"<html>",
    }.items():
        (folder / name).write_bytes(content)
    for name, kind, modality in (
        ("SR.dcm", "1.2.840.10008.5.1.4.1.1.88.22", "SR"),
        ("KO.dcm", "1.2.840.10008.5.1.4.1.1.88.59", "KO"),
        ("PR.dcm", "1.2.840.10008.5.1.4.1.1.11.1", "PR"),
        ("DOC.dcm", "1.2.840.10008.5.1.4.1.1.104.1", "DOC"),
        ("RT.dcm", "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"),
        ("I0001", "1.2.840.10008.1.3.10", ""),
        ("CSA.dcm", "1.3.12.2.1107.5.9.1", "MR"),
    ):
        made.object_without_image("control", kind, modality).save_as(
            folder / name, enforce_file_format=True
        )


@case
def sidecars_and_reports(study: Datasets, folder: Path) -> None:
    sidecars(made.save(folder, study))


@case
def files_in_any_order_under_any_name(study: Datasets, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    images = [d for slices in study.values() for d in slices]
    random.Random(0).shuffle(images)
    for i, data in enumerate(images):
        data.save_as(folder / f"{i}.ima", enforce_file_format=True)
