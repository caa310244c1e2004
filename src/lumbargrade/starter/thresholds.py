"""Grade findings by measurements and thresholds from the literature.

This is a second opinion beside a network's grade, which a reader can check: it names the
measurement, the threshold and the paper. No threshold is fitted to any data. Most papers have two
grades of stenosis; they are read as moderate and severe. docs/measurements.md discusses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lumbargrade.domain.findings import Finding
from lumbargrade.domain.measurement import (
    Measurement,
    Measurements,
    Opinion,
    Quality,
    Quantity,
    Site,
)
from lumbargrade.domain.vocabulary import TABLE_ORDER, Condition, Grade, Target, plain_name

#: The papers, by the short citation that an `Opinion` has.
SOURCES: dict[str, str] = {
    "Schonstrom 1985": (
        "Schonstrom NS, Bolender NF, Spengler DM. The pathomorphology of spinal stenosis as seen "
        "on CT scans of the lumbar spine. Spine 1985;10:806-811. (With Schonstrom N, Hansson T. "
        "Pressure changes following constriction of the cauda equina. Spine 1988;13:385-388; and "
        "Schonstrom N, Lindahl S, Willen J, Hansson T. Dynamic changes in the dimensions of the "
        "lumbar spinal canal. J Orthop Res 1989;7:115-121.)"
    ),
    "Verbiest 1977": (
        "Verbiest H. Results of surgical treatment of idiopathic developmental stenosis of the "
        "lumbar vertebral canal. J Bone Joint Surg Br 1977;59:181-188."
    ),
    "Hasegawa 1995": (
        "Hasegawa T, An HS, Haughton VM, Nowicki BH. Lumbar foraminal stenosis: critical heights "
        "of the intervertebral discs and foramina. J Bone Joint Surg Am 1995;77:32-38."
    ),
    "Ciric 1980": (
        "Ciric I, Mikhael MA, Tarkington JA, Vick NA. The lateral recess syndrome: a variant of "
        "spinal stenosis. J Neurosurg 1980;53:433-443. (With Mikhael MA, Ciric I, Tarkington JA, "
        "Vick NA. Neuroradiological evaluation of lateral recess syndrome. Radiology "
        "1981;140:97-107.)"
    ),
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """Limits of a measurement.

    Attributes:
        quantity: what is measured.
        moderate: at this value and below, the grade is moderate or worse.
        severe: at this value and below, the grade is severe; None if the paper has one limit.
        source: key of `SOURCES`.
    """

    quantity: Quantity
    moderate: float
    severe: float | None
    source: str

    def grade(self, value: float) -> Grade:
        """Return the grade of a value in the unit of the quantity."""
        if self.severe is not None and value <= self.severe:
            return Grade.SEVERE
        return Grade.MODERATE if value <= self.moderate else Grade.NORMAL_MILD


#: Canal: relative stenosis under 100 mm2, absolute under 75 mm2.
SAC_AREA = Threshold(Quantity.SAC_AREA, 100.0, 75.0, "Schonstrom 1985")
#: Canal without an axial slice: relative stenosis up to 12 mm, absolute up to 10 mm.
SAC_DIAMETER = Threshold(Quantity.SAGITTAL_SAC_DIAMETER, 12.0, 10.0, "Verbiest 1977")
#: Foramina: the root was compressed in four of five foramina up to 15 mm high, and in eight of ten
#: beside discs up to 4 mm high at the back. Each alone is read as moderate, both as severe.
FORAMEN_HEIGHT = Threshold(Quantity.FORAMEN_HEIGHT, 15.0, None, "Hasegawa 1995")
DISC_HEIGHT = Threshold(Quantity.DISC_HEIGHT_BACK, 4.0, None, "Hasegawa 1995")
#: Recess: up to 3 mm is highly indicative of lateral recess syndrome, up to 5 mm suggestive.
RECESS = Threshold(Quantity.RECESS_DEPTH, 5.0, 3.0, "Ciric 1980")

#: The two diameters of a sac contradict each other if the sagittal one is less than this share.
CONFLICT = 0.5

_UNIT = {"mm2": "mm²"}


def opinions(measured: Measurements) -> tuple[dict[Target, Opinion], dict[Target, str]]:
    """Grade the 25 findings by their measurements.

    Returns:
        The opinion of each target that was measured, and for each other target why there is none:
        a clause that follows "not graded by measurement, because".
    """
    found: dict[Target, Opinion] = {}
    absent: dict[Target, str] = {}
    for target in TABLE_ORDER:
        result = _opinion(target, measured)
        if isinstance(result, str):
            absent[target] = result
        else:
            found[target] = result
    return found, absent


def disagreements(
    findings: Mapping[Target, Finding], opinions: Mapping[Target, Opinion]
) -> dict[Target, str]:
    """Say where the grade of a network and that of a measurement differ, worst first.

    Returns:
        A sentence by target. Targets without a finding or an opinion are left out.
    """
    apart = {t: abs(findings[t].grade - o.grade) for t, o in opinions.items() if t in findings}
    differ = sorted((t for t, steps in apart.items() if steps), key=lambda t: -apart[t])
    return {t: _disagreement(t, findings[t], opinions[t]) for t in differ}


def _disagreement(target: Target, finding: Finding, opinion: Opinion) -> str:
    what = f"{plain_name(target.sided_condition)} at {target.level.label}"
    what = what[0].upper() + what[1:]
    network, measure = finding.grade.label.lower(), opinion.grade.label.lower()
    return f"{what}: {network} by the network, {measure} by measurement ({opinion.reason})"


def _opinion(target: Target, measured: Measurements) -> Opinion | str:
    """Return the opinion on a target, or why there is none."""
    if target.condition is Condition.FORAMINAL:
        return _foraminal(target, measured)
    choices = [RECESS] if target.side else _canal(target, measured)
    reasons = []
    for threshold in choices:
        site = Site(threshold.quantity, target.level, target.side)
        if site in measured.found:
            one = measured.found[site]
            return _stated(one, threshold, threshold.grade(one.value), [(one, threshold)])
        reasons.append(_missing(measured, site))
    return "; ".join(dict.fromkeys(reasons))


def _canal(target: Target, measured: Measurements) -> list[Threshold]:
    """Return the thresholds of the canal, the one to be used first.

    The area decides, unless the sagittal view shows a sac less than half as deep as the axial one:
    the axial outline then holds more than the sac. A stenosed sac without fluid cannot be told from
    the fat and the ligaments around it on one axial slice.
    """
    axial = measured.found.get(Site(Quantity.SAC_DIAMETER, target.level))
    sagittal = measured.found.get(Site(SAC_DIAMETER.quantity, target.level))
    if axial and sagittal and sagittal.value < CONFLICT * axial.value:
        return [SAC_DIAMETER, SAC_AREA]
    return [SAC_AREA, SAC_DIAMETER]


def _foraminal(target: Target, measured: Measurements) -> Opinion | str:
    height = Site(FORAMEN_HEIGHT.quantity, target.level, target.side)
    disc = Site(DISC_HEIGHT.quantity, target.level)
    if height not in measured.found:
        return _missing(measured, height)
    one = measured.found[height]
    pairs = [(one, FORAMEN_HEIGHT)]
    if disc in measured.found:
        pairs.append((measured.found[disc], DISC_HEIGHT))
    narrow = [(m, t) for m, t in pairs if m.value <= t.moderate]
    if not narrow:
        return _stated(one, FORAMEN_HEIGHT, Grade.NORMAL_MILD, pairs)
    grade = Grade.SEVERE if len(narrow) == 2 else Grade.MODERATE
    return _stated(*narrow[0], grade, pairs)


def _missing(measured: Measurements, site: Site) -> str:
    return measured.absent.get(site, f"{plain_name(site.quantity)} was not measured")


def _stated(
    one: Measurement,
    threshold: Threshold,
    grade: Grade,
    used: Iterable[tuple[Measurement, Threshold]],
) -> Opinion:
    """Return the opinion that a measurement decides; its words name every measurement used."""
    pairs = list(used)
    doubtful = any(m.quality is Quality.DOUBTFUL for m, _ in pairs)
    return Opinion(
        grade=grade,
        quantity=one.quantity,
        value=one.value,
        moderate=threshold.moderate,
        severe=threshold.severe,
        source=threshold.source,
        quality=Quality.DOUBTFUL if doubtful else Quality.GOOD,
        reason=f"{', '.join(_in_words(m, t) for m, t in pairs)}; {threshold.source}",
    )


def _in_words(one: Measurement, threshold: Threshold) -> str:
    """Return for example ``dural sac area 82 mm² (moderate up to 100, severe up to 75)``."""
    digits = 0 if one.quantity.unit == "mm2" else 1
    unit = _UNIT.get(one.quantity.unit, one.quantity.unit)
    limits = f"moderate up to {threshold.moderate:g}"
    if threshold.severe is not None:
        limits += f", severe up to {threshold.severe:g}"
    else:
        limits = f"narrow up to {threshold.moderate:g}"
    return f"{plain_name(one.quantity)} {one.value:.{digits}f} {unit} ({limits})"
