"""What the times of a sequence say of its weighting, without any word."""

from __future__ import annotations

from enum import StrEnum

from lumbargrade.dicom.header import Acquisition


class Weighting(StrEnum):
    """What a series shows, as far as the kinds need it."""

    T1 = "T1"
    T2 = "T2"
    STIR = "STIR"
    PROTON_DENSITY = "proton density"
    FLAIR = "FLAIR"
    GRADIENT_ECHO = "gradient echo"
    ECHO_PLANAR = "echo planar"
    MYELOGRAM = "myelogram"


#: Echo time, ms: a spin echo shorter than the first is T1 with a short repetition time; one up to
#: the second is proton density with a long one; one from the third on is T2. Between the second and
#: the third, "T2 fat sat" and "proton density" overlap, so times do not decide.
_SHORT_ECHO, _DENSITY_ECHO, _LONG_ECHO = 30.0, 45.0, 60.0
#: Echo time, ms, beyond which water alone is left, as in a myelogram; T2 of usual series is at most
#: 250, and 400 with the variable flip angles of 3-D sequences.
_WATER_ECHO = 500.0
#: Repetition time, ms: up to the first T1, from the second on proton density or T2.
_SHORT_REPETITION, _LONG_REPETITION = 1200.0, 1800.0
#: Inversion time, ms, that nulls fat (STIR), from low field to 3 T.
_FAT_NULL = (70.0, 320.0)
#: Inversion time, ms, of T1 FLAIR, and the least that nulls cerebrospinal fluid in T2 FLAIR.
_T1_INVERSION = (500.0, 1300.0)
_FLUID_NULL = 1500.0


def weighting_by_times(about: Acquisition) -> tuple[Weighting | None, str]:
    """The weighting that echo, repetition and inversion time make certain, and those times.

    None where they are absent, or where several weightings are usual with them. A time of zero is
    absent. The inversion time counts only where the sequence is an inversion recovery, or unnamed:
    others store a delay of fat suppression there.
    """
    te, tr = _positive(about.echo_time), _positive(about.repetition_time)
    inverted = "IR" in about.sequence or not about.sequence
    ti = _positive(about.inversion_time) if inverted else None
    times = (("echo", te), ("repetition", tr), ("inversion", ti))
    text = ", ".join(f"{name} time {value:g} ms" for name, value in times if value is not None)
    if "EP" in about.sequence:
        return Weighting.ECHO_PLANAR, "ScanningSequence EP"
    if "GR" in about.sequence and "SE" not in about.sequence:
        return Weighting.GRADIENT_ECHO, "ScanningSequence GR"
    if ti is not None:
        return _inverted(te, ti), text
    if "IR" in about.sequence:
        return None, text
    return _spin_echo(te, tr), text


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _inverted(te: float | None, ti: float) -> Weighting | None:
    if _FAT_NULL[0] <= ti <= _FAT_NULL[1]:
        return Weighting.STIR
    if ti >= _FLUID_NULL:
        return Weighting.FLAIR
    if _T1_INVERSION[0] <= ti <= _T1_INVERSION[1] and te is not None and te <= _LONG_ECHO:
        return Weighting.T1
    return None


def _spin_echo(te: float | None, tr: float | None) -> Weighting | None:
    if te is None:
        return None
    if te >= _WATER_ECHO:
        return Weighting.MYELOGRAM
    if te >= _LONG_ECHO:
        return Weighting.T2
    if tr is None:
        return None
    if te <= _SHORT_ECHO and tr <= _SHORT_REPETITION:
        return Weighting.T1
    if te <= _DENSITY_ECHO and tr >= _LONG_REPETITION:
        return Weighting.PROTON_DENSITY
    return None
