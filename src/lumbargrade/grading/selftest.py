"""Grade a study that is stored in other ways, and mirrored, and compare the results.

Whatever a hospital's archive does to the files, a study must get the same findings. In the mirrored
patient, the findings of the left and of the right side must be exchanged, and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from lumbargrade.dicom.rules import LSDC
from lumbargrade.dicom.scan import FoundSeries, Scan
from lumbargrade.dicom.variants import WAYS, Way, encode, load, mirror, save, turn
from lumbargrade.domain.errors import described
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.measurement import Measurement, Site
from lumbargrade.domain.vocabulary import FINDINGS, Target


@dataclass(frozen=True)
class Tolerance:
    """How far two results may differ.

    Attributes:
        probability: difference of any probability, and of the confidence of the numbering.
        millimetres: distance of a point, mm.
        measured: difference of a measurement, as a share of it; small ones as a share of `_SMALL`.
    """

    probability: float
    millimetres: float
    measured: float


#: Files that hold the same pixels and geometry must give the same numbers.
SAME = Tolerance(1e-6, 1e-3, 1e-6)
#: Positions in headers are rounded to 16 characters.
TURNED = Tolerance(1e-4, 0.02, 1e-3)
#: The mirrored image is read in another order, which rounds otherwise. To a network that is not
#: symmetric it is another image, which is worth knowing.
MIRRORED = Tolerance(1e-3, 0.1, 1e-2)
#: Without the LSDC layout, images are read by other rules, which scale their intensities otherwise.
READ_AGAIN = Tolerance(0.05, 1.5, 0.2)


@dataclass(frozen=True)
class Variant:
    """A way to store a study again.

    Attributes:
        name: what is done, in words.
        tolerance: how far the result may differ.
        change: changes each image.
        renumber: whether instance numbers run the other way.
        shuffle: whether all files get names in a new order, in one folder.
        mirrored: whether left and right of the patient are exchanged.
    """

    name: str
    tolerance: Tolerance = SAME
    change: Callable[[FileDataset], None] = lambda data: None
    renumber: bool = False
    shuffle: bool = False
    mirrored: bool = False


def _way_name(way: Way) -> str:
    parts = [
        *(["transposed"] if way.transpose else []),
        *(["columns reversed"] if way.columns else []),
        *(["rows reversed"] if way.rows else []),
    ]
    return f"pixels {', '.join(parts)}"


_SYNTAXES = {
    "implicit VR": ImplicitVRLittleEndian,
    "explicit VR": ExplicitVRLittleEndian,
    "explicit VR, deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG 2000, lossless": JPEG2000Lossless,
    "JPEG-LS, lossless": JPEGLSLossless,
}

#: What the self-test does to a study.
VARIANTS: tuple[Variant, ...] = (
    Variant("patient mirrored left to right", MIRRORED, mirror, mirrored=True),
    Variant("files renamed, in another order", shuffle=True),
    Variant("instance numbers reversed", renumber=True),
    *(Variant(f"encoded as {n}", change=partial(encode, syntax=s)) for n, s in _SYNTAXES.items()),
    *(
        Variant(_way_name(way), TURNED, partial(turn, way=way))
        for way in WAYS
        if not way.numbers and way != Way()
    ),
)


@dataclass(frozen=True)
class Difference:
    """How the result of a variant differs from that of the study.

    Attributes:
        variant: what was done.
        graded_once: findings that only one of the two grades.
        grades: findings with another grade.
        probability: largest difference of a probability.
        millimetres: largest distance of a point, mm.
        measured: largest difference of a measurement, as a share.
        measured_once: measurements that only one of the two has.
        numbering: difference of the confidence of the numbering; 0 if there is none.
        failed: why the variant could not be made or graded; empty otherwise.
        within: whether all this is within the tolerance of the variant.
    """

    variant: str
    graded_once: tuple[str, ...] = ()
    grades: tuple[str, ...] = ()
    probability: float = 0.0
    millimetres: float = 0.0
    measured: float = 0.0
    measured_once: tuple[str, ...] = ()
    numbering: float = 0.0
    failed: str = ""
    within: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(variant: Variant, study: StudyPrediction, other: StudyPrediction) -> Difference:
    """Compare the result of a variant with that of the study."""
    exchange = Target.mirror if variant.mirrored else _itself
    once, grades, shares, gaps = [], [], [0.0], [0.0]
    for target in FINDINGS:
        mine, its = study.findings.get(target), other.findings.get(exchange(target))
        if (mine is None) != (its is None):
            once.append(target.column)
        if mine is None or its is None:
            continue
        if mine.grade is not its.grade:
            grades.append(target.column)
        shares.append(float(np.abs(np.subtract(mine.shown, its.shown)).max()))
        if (mine.point is None) != (its.point is None):
            gaps.append(np.inf)
        elif mine.point is not None and its.point is not None:
            gaps.append(_distance(mine.point.patient, its.point.patient, variant.mirrored))
    measured, measured_once = _measured(study, other, variant)
    numbered = abs(_confidence(study) - _confidence(other))
    limit = variant.tolerance
    within = (
        not once
        and not grades
        and not measured_once
        and max(*shares, numbered) <= limit.probability
        and max(gaps) <= limit.millimetres
        and measured <= limit.measured
    )
    return Difference(
        variant.name,
        tuple(once),
        tuple(grades),
        max(shares),
        max(gaps),
        measured,
        measured_once,
        numbered,
        within=within,
    )


def _itself(target: Target) -> Target:
    return target


def _distance(
    one: tuple[float, float, float] | None,
    other: tuple[float, float, float] | None,
    mirrored: bool,
) -> float:
    if one is None or other is None:
        return 0.0 if one is other else np.inf
    sign = (-1.0 if mirrored else 1.0, 1.0, 1.0)
    return float(np.linalg.norm(np.subtract(one, np.multiply(other, sign))))


def _measured(
    study: StudyPrediction, other: StudyPrediction, variant: Variant
) -> tuple[float, tuple[str, ...]]:
    exchange: Callable[[Site], Site] = Site.mirror if variant.mirrored else (lambda site: site)
    mine = {m.site: m for m in study.measurements}
    its = {exchange(m.site): m for m in other.measurements}
    shares = [_share(mine[s], its[s]) for s in mine if s in its]
    once = sorted(s.name for s in mine.keys() ^ its.keys())
    return max(shares, default=0.0), tuple(once)


def _share(one: Measurement, other: Measurement) -> float:
    scale = max(abs(one.value), abs(other.value), _SMALL.get(one.quantity.unit, 10.0))
    return abs(one.value - other.value) / scale


#: Values below these are compared as these: units -> value.
_SMALL = {"ratio": 1.0, "mm": 10.0, "mm2": 100.0, "degrees": 10.0}


def _confidence(prediction: StudyPrediction) -> float:
    return 0.0 if prediction.numbering is None else prediction.numbering.confidence


def write_variant(folder: Path, study: Scan, variant: Variant) -> None:
    """Write a study as a variant of it.

    Files in the LSDC layout keep its folders and are named by their numbers, because the layout
    gives their numbers; others lie in one folder.

    Raises:
        Exception: of pydicom, its decoders or encoders, if a file cannot be stored so.
    """
    for number, series in enumerate(study.series):
        for name, data in _renamed(series, number, variant):
            variant.change(data)
            save(data, folder / name)


def _renamed(
    series: FoundSeries, number: int, variant: Variant
) -> Iterator[tuple[str, FileDataset]]:
    """The files of a series with new names and numbers, one after the other."""
    numbers: Mapping[Path, int] = {h.path: h.instance_number for h in series.headers}
    ordered = sorted(numbers, key=lambda p: (numbers[p], p))
    values = sorted(numbers.values(), reverse=variant.renumber)
    names = list(range(len(ordered)))
    if variant.shuffle:
        random.Random(number).shuffle(names)
    for path, value, name in zip(ordered, values, names, strict=True):
        data = load(path)
        if variant.renumber and "NumberOfFrames" not in data:
            data.InstanceNumber = value
        if series.rules is LSDC and not variant.shuffle:
            yield f"{series.origin.name}/{value}.dcm", data
        else:
            yield f"IM{name:05d}-{number:03d}", data


def self_test(
    study: Scan,
    grade: Callable[[Path], StudyPrediction],
    scratch: Path,
    variants: Sequence[Variant] = VARIANTS,
) -> Iterator[Difference]:
    """Store a study in other ways, grade each, and compare it with the study as it is.

    Args:
        study: the series of the study.
        grade: grades the study in a folder.
        scratch: an empty folder for the copies.
        variants: what is done.

    Yields:
        A difference for each variant.

    Raises:
        LumbargradeError: if the study as it is cannot be copied or graded.
    """
    write_variant(scratch / "study", study, Variant("as it is"))
    first = grade(scratch / "study")
    published = any(s.rules is LSDC for s in study.series)
    for variant in variants:
        if variant.shuffle and published:
            variant = replace(variant, name=f"{variant.name}, not as LSDC", tolerance=READ_AGAIN)
        with TemporaryDirectory(dir=scratch) as folder:
            try:
                write_variant(Path(folder), study, variant)
                yield compare(variant, first, grade(Path(folder)))
            except Exception as error:  # noqa: BLE001  codecs raise anything; go on with the others
                yield Difference(variant.name, failed=described(error), within=False)
