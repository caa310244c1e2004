"""Write the outlines of a series as a DICOM segmentation, one object per series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from lumbargrade.dicom.header import Header, if_usable
from lumbargrade.dicom.study import Study
from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import MAKER, ImageReference, Origin, tracking_uid
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.series_outlines import SeriesOutlines
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.files.writing import atomic_path
from lumbargrade.grading.graded import GradedStudy

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

#: Number of the first series of our segmentations, far from those of scanners.
SERIES_NUMBER = 9110
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

#: Colours in which viewers show the structures, red, green and blue.
_COLOURS = {
    Structure.BODY: (230, 200, 90),
    Structure.SACRUM: (240, 150, 60),
    Structure.DISC: (80, 160, 240),
    Structure.SAC: (60, 200, 160),
    Structure.FORAMEN: (220, 90, 200),
    Structure.FACET: (150, 120, 240),
}


def write_segmentations(folder: Path, study: Study, graded: GradedStudy, origin: Origin) -> None:
    """Write what is outlined in each series, ``seg-1.dcm`` and so on, each atomically.

    Args:
        folder: the folder.
        study: its series.
        graded: the result, with the outlines of the prediction.
        origin: what the objects refer to.

    Raises:
        OSError: if they cannot be written.
    """
    number = 0
    for outlines in graded.prediction.outlines:
        made = make_segmentation(outlines, study, origin, graded.version, number + 1)
        if made is not None:
            number += 1
            with atomic_path(folder / f"seg-{number}.dcm") as temporary:
                made.save_as(temporary, enforce_file_format=True)


def make_segmentation(
    outlines: SeriesOutlines, study: Study, origin: Origin, version: str, number: int
) -> Segmentation | None:
    """Return the outlines of a series on the pixels of its images.

    Returns:
        The object; None if nothing is outlined, or the images cannot be referred to.

    Args:
        outlines: the outlines.
        study: the study with the series.
        origin: what the object refers to.
        version: version of the program that outlined.
        number: number of the segmentation in its study, from 1.
    """
    import highdicom as hd
    from highdicom.seg import Segmentation

    volume = next(v for v in study.volumes if v.series_id == outlines.series_id)
    head = study.heads.get(volume.series_id)
    slices, labels = _labels(outlines, volume)
    present = [s for s in codes.STRUCTURE_OF if (labels == s).any()]
    if head is None or not present:
        return None
    numbered = np.zeros_like(labels)
    for index, structure in enumerate(present, start=1):
        numbered[labels == structure] = index
    images = [origin.images[volume.series_id, s.instance_number] for s in slices]
    thickness = _thickness(head, slices)
    first = _image(images[0], slices[0], volume, origin)
    if images[0].frame:
        # a multi-frame object is one source, whose frames highdicom finds by their positions
        for keyword in ("NumberOfFrames", *_GROUPS):
            first[keyword] = head[keyword]
        sources = [first]
    else:
        sources = [_image(*pair, volume, origin) for pair in zip(images, slices, strict=True)]
    for source in sources:
        source.SliceThickness = thickness
    plane = slices[0].plane
    made = Segmentation(
        source_images=sources,
        pixel_array=numbered,
        segmentation_type="BINARY",
        segment_descriptions=_segments(present, origin, volume, version),
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER + number,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=version,
        device_serial_number=version,
        content_description="outlines of spinal structures",
        series_description=f"lumbargrade outlines, {volume.kind}",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        pixel_measures=hd.PixelMeasuresSequence(plane.spacing, slice_thickness=thickness),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", (*plane.row, *plane.column)),
        plane_positions=[hd.PlanePositionSequence("PATIENT", s.plane.position) for s in slices],
    )
    origin.put_patient(made)
    return made


def _thickness(head: Dataset, slices: Sequence[VolumeSlice]) -> float:
    """Thickness of the slices, mm; their mean distance if the header does not tell."""
    stated = if_usable(Header(Path(), head).number, "SliceThickness", None)
    if stated is not None and stated > 0:
        return stated
    projections = [s.plane.projection for s in slices]
    return (max(projections) - min(projections)) / max(len(slices) - 1, 1) or 1.0


def _labels(
    outlines: SeriesOutlines, volume: Volume
) -> tuple[list[VolumeSlice], NDArray[np.uint8]]:
    """The slices with outlines, and the structure of each of their pixels, uint8 (K, H, W).

    An object has one size and one orientation, so slices that differ from most are left out.
    """

    def geometry(z: int) -> tuple[object, ...]:
        one = volume.slices[z]
        return one.shape, one.group, one.plane.row, one.plane.column, one.plane.spacing

    counts = Counter(map(geometry, outlines.outlined))
    usual = max(counts, key=lambda g: counts[g])
    kept = [z for z in outlines.outlined if geometry(z) == usual]
    return [volume.slices[z] for z in kept], np.stack([outlines.label_map(volume, z) for z in kept])


def _segments(
    structures: Sequence[Structure], origin: Origin, volume: Volume, version: str
) -> list[SegmentDescription]:
    import highdicom as hd
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    algorithm = hd.AlgorithmIdentificationSequence(
        name=MAKER, version=version, family=codes.NEURAL_NETWORK
    )
    segments = []
    for number, structure in enumerate(structures, start=1):
        name = codes.STRUCTURE_OF[structure].meaning
        segments.append(
            SegmentDescription(
                segment_number=number,
                segment_label=name,
                segmented_property_category=codes.ANATOMY,
                segmented_property_type=codes.STRUCTURE_OF[structure],
                algorithm_type="AUTOMATIC",
                algorithm_identification=algorithm,
                tracking_uid=tracking_uid(origin.study_uid, f"{volume.series_id}/{structure.name}"),
                tracking_id=name,
                display_color=CIELabColor.from_rgb(*_COLOURS[structure]),
            )
        )
    return segments


def _image(image: ImageReference, one: VolumeSlice, volume: Volume, origin: Origin) -> Dataset:
    """The header of an image as far as a segmentation needs it."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = image.sop_class, image.sop_instance
    header.StudyInstanceUID, header.SeriesInstanceUID = origin.study_uid, image.series_uid
    header.Modality = "MR"
    header.InstanceNumber = one.instance_number
    header.Rows, header.Columns = one.shape
    if volume.frame_of_reference:
        header.FrameOfReferenceUID = volume.frame_of_reference
    plane = one.plane
    header.ImagePositionPatient = list(plane.position)
    header.ImageOrientationPatient = [*plane.row, *plane.column]
    header.PixelSpacing = list(plane.spacing)
    for element in origin.patient:
        # highdicom checks the values of patients; those of the images are added afterwards
        setattr(header, element.keyword, None)
    return header
