"""Codes of the DICOM objects: SNOMED CT and DICOM where they have the word, otherwise our own.

Every SNOMED CT, DICOM and UCUM code here is one of the tables of the DICOM standard that pydicom
holds, which a test checks. Those tables have no neural foramen and no lateral recess, so these two
are in our own coding scheme, whose name begins with 99 as the standard asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.sr.coding import Code

from lumbargrade.domain.measurement import Quantity
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.vocabulary import Condition, Grade, Level, Side
from lumbargrade.grading.review_file import Status

#: Designator of our own coding scheme, and its names.
SCHEME = "99LUMBARGRADE"
SCHEME_NAME = "lumbargrade"
SCHEME_MAKER = "lumbargrade"


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


# the report
TITLE = Code("126000", "DCM", "Imaging Measurement Report")
PROCEDURE = Code("25056-3", "LN", "MRI unspecified body region")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
MR = Code("MR", "DCM", "Magnetic Resonance")
COMMENT = Code("121106", "DCM", "Comment")
NOTICE = _own("NOTICE", "Notice")
FINGERPRINT = _own("FINGERPRINT", "Fingerprint of the result")
SUMMARY = _own("SUMMARY", "Summary by the reader")
LEVEL_TEXT: Mapping[Level, Code] = MappingProxyType(
    {level: _own(f"TEXT_{level.name}", f"Wording of the reader, {level.label}") for level in Level}
)
NUMBERING = _own("NUMBERING", "How the levels were named")

# a finding
STENOSIS = Code("415582006", "SCT", "Stenosis")
SITE_OF: Mapping[Condition, Code] = MappingProxyType(
    {
        Condition.CANAL: Code("61853006", "SCT", "Vertebral canal"),
        Condition.FORAMINAL: _own("NEURAL_FORAMEN", "Neural foramen"),
        Condition.SUBARTICULAR: _own("LATERAL_RECESS", "Lateral recess (subarticular zone)"),
    }
)
LEVEL_OF: Mapping[Level, Code] = MappingProxyType(
    {
        Level.L1_L2: Code("243920003", "SCT", "Level of L1/L2 intervertebral disc"),
        Level.L2_L3: Code("243921004", "SCT", "Level of L2/L3 intervertebral disc"),
        Level.L3_L4: Code("243922006", "SCT", "Level of L3/L4 intervertebral disc"),
        Level.L4_L5: Code("243923001", "SCT", "Level of L4/L5 intervertebral disc"),
        Level.L5_S1: Code("243927000", "SCT", "Level of L5/S1 intervertebral disc"),
    }
)
LATERALITY: Mapping[Side, Code] = MappingProxyType(
    {Side.LEFT: Code("7771000", "SCT", "Left"), Side.RIGHT: Code("24028007", "SCT", "Right")}
)
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
SEVERITY = Code("246112005", "SCT", "Severity")
GRADE_OF: Mapping[Grade, Code] = MappingProxyType(
    {
        Grade.NORMAL_MILD: _own("NORMAL_MILD", "Normal or mild"),
        Grade.MODERATE: Code("6736007", "SCT", "Moderate"),
        Grade.SEVERE: Code("24484000", "SCT", "Severe"),
    }
)
PROBABILITY: Mapping[Grade, Code] = MappingProxyType(
    {
        Grade.NORMAL_MILD: _own("P_NORMAL_MILD", "Probability of normal or mild"),
        Grade.MODERATE: _own("P_MODERATE", "Probability of moderate"),
        Grade.SEVERE: _own("P_SEVERE", "Probability of severe"),
    }
)
CALIBRATED: Mapping[Grade, Code] = MappingProxyType(
    {
        Grade.NORMAL_MILD: _own("C_NORMAL_MILD", "Calibrated probability of normal or mild"),
        Grade.MODERATE: _own("C_MODERATE", "Calibrated probability of moderate"),
        Grade.SEVERE: _own("C_SEVERE", "Calibrated probability of severe"),
    }
)
BY_MEASUREMENT = _own("G_MEASURED", "Grade by measurement")
REASON_OF_MEASUREMENT = _own("R_MEASURED", "Reason of the grade by measurement")

# a reader's review
REVIEW = _own("REVIEW", "Review")
REVIEW_OF: Mapping[Status, Code] = MappingProxyType(
    {status: _own(status.name, status.name.capitalize()) for status in Status}
)
GRADE_BEFORE = _own("G_BEFORE", "Grade before the review")
NOT_GRADED = _own("NOT_GRADED", "Not graded")
REVIEWER = _own("REVIEWER", "Reader and time of the review")
REVIEW_COMMENT = _own("REVIEW_COMMENT", "Comment of the reader")

#: Our code of each quantity; code values have at most 16 characters.
QUANTITY: Mapping[Quantity, Code] = MappingProxyType(
    {
        Quantity.SAC_AREA: _own("SAC_AREA", "Dural sac area"),
        Quantity.SAC_DIAMETER: _own("SAC_AP", "Dural sac antero-posterior diameter"),
        Quantity.SAGITTAL_SAC_DIAMETER: _own(
            "SAC_AP_SAGITTAL", "Dural sac antero-posterior diameter, sagittal"
        ),
        Quantity.RECESS_DEPTH: _own("RECESS_DEPTH", "Lateral recess depth"),
        Quantity.FORAMEN_HEIGHT: _own("FORAMEN_HEIGHT", "Foramen height"),
        Quantity.FORAMEN_WIDTH: _own("FORAMEN_WIDTH", "Foramen width"),
        Quantity.FORAMEN_AREA: _own("FORAMEN_AREA", "Foramen area"),
        Quantity.DISC_HEIGHT_FRONT: _own("DISC_FRONT", "Disc height, front"),
        Quantity.DISC_HEIGHT_MIDDLE: _own("DISC_MIDDLE", "Disc height, middle"),
        Quantity.DISC_HEIGHT_BACK: _own("DISC_BACK", "Disc height, back"),
        Quantity.DISC_HEIGHT_INDEX: _own("DISC_INDEX", "Disc height index"),
        Quantity.DISC_HEIGHT_RELATIVE: _own("DISC_RELATIVE", "Disc height, relative to usual"),
        Quantity.DISC_SIGNAL: _own("DISC_SIGNAL", "Disc signal over cerebrospinal fluid"),
        Quantity.DISC_TO_BODY: _own("DISC_TO_BODY", "Disc signal over vertebral body"),
        Quantity.LISTHESIS: _own("LISTHESIS", "Listhesis"),
        Quantity.LISTHESIS_SHARE: _own("LISTHESIS_SHARE", "Listhesis over endplate depth"),
        Quantity.LORDOSIS: _own("LORDOSIS", "Lordosis, L1 to S1"),
    }
)
#: What is measured of each condition, and stands beside its finding.
QUANTITIES_OF: Mapping[Condition, tuple[Quantity, ...]] = MappingProxyType(
    {
        Condition.CANAL: (
            Quantity.SAC_AREA,
            Quantity.SAC_DIAMETER,
            Quantity.SAGITTAL_SAC_DIAMETER,
        ),
        Condition.FORAMINAL: (
            Quantity.FORAMEN_HEIGHT,
            Quantity.FORAMEN_WIDTH,
            Quantity.FORAMEN_AREA,
        ),
        Condition.SUBARTICULAR: (Quantity.RECESS_DEPTH,),
    }
)
#: Where other quantities are measured: a level, or the whole lumbar spine.
MEASURED_AT = _own("MEASURED_AT", "Measured at")
LUMBAR_SPINE = Code("122496007", "SCT", "Lumbar spine")

#: UCUM units by `Quantity.unit`; probabilities are ratios.
UNIT: Mapping[str, Code] = MappingProxyType(
    {
        "mm": Code("mm", "UCUM", "millimeter"),
        "mm2": Code("mm2", "UCUM", "square millimeter"),
        "degrees": Code("deg", "UCUM", "Degree"),
        "ratio": Code("1", "UCUM", "no units"),
    }
)

# outlines
NEURAL_NETWORK = Code("123110", "DCM", "Artificial Intelligence")
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
STRUCTURE_OF: Mapping[Structure, Code] = MappingProxyType(
    {
        Structure.BODY: Code("51282000", "SCT", "Vertebra"),
        Structure.SACRUM: Code("54735007", "SCT", "Sacrum"),
        Structure.DISC: _own("DISC", "Intervertebral disc"),
        Structure.SAC: _own("DURAL_SAC", "Dural sac"),
        Structure.FORAMEN: SITE_OF[Condition.FORAMINAL],
        Structure.FACET: _own("FACET_JOINT", "Facet joint, bone"),
    }
)
