"""Write a picture of the findings as a DICOM Secondary Capture image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from lumbargrade.dicom.slices import MAKER
from lumbargrade.dicom_results.origin import Origin
from lumbargrade.files.writing import atomic_path

SUMMARY_FILE = "summary.dcm"

#: Number of the series, far from those of scanners.
SERIES_NUMBER = 9102


def write_capture(path: Path, pixels: NDArray[np.uint8], origin: Origin, version: str) -> None:
    """Write a picture atomically.

    Args:
        path: the file.
        pixels: uint8 (H, W, 3), without the name of the patient.
        origin: patient and study.
        version: version of the program that made it.

    Raises:
        OSError: if it cannot be written.
    """
    import highdicom as hd

    capture = hd.sc.SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=origin.study_uid,
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=version,
        series_description="lumbargrade summary",
        patient_orientation=("L", "F"),
        transfer_syntax_uid=RLELossless,
    )
    capture.BurnedInAnnotation = "NO"
    # it is a page of text, not a view of the patient
    for keyword in ("PatientOrientation", "Laterality"):
        setattr(capture, keyword, None)
    origin.put_patient(capture)
    with atomic_path(path) as temporary:
        capture.save_as(temporary, enforce_file_format=True)
