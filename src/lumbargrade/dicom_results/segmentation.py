"""Write the outlines of a series as a DICOM segmentation, one object per series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from lumbargrade.dicom.header import Header, if_usable
from lumbargrade.dicom.study import Study
from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import MAKER, ImageReference, Origin, tracking_uid
from lumbargrade.domain.errors import Problem, one_line
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.series_outlines import SeriesOutlines
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.files.writing import atomic_path
from lumbargrade.grading.graded import GradedStudy

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

#: Number of the first series of our segmentations, far from those of scanners.
SERIES_NUMBER = 9110

#: Colours in which viewers show the structures, red, green and blue.
_COLOURS = {
    Structure.BODY: (230, 200, 90),
    Structure.SACRUM: (240, 150, 60),
    Structure.DISC: (80, 160, 240),
    Structure.SAC: (60, 200, 160),
    Structure.FORAMEN: (220, 90, 200),
    Structure.FACET: (150, 120, 240),
}


def write_segmentations(
    folder: Path, study: Study, graded: GradedStudy, origin: Origin
) -> tuple[Problem, ...]:
    """Write what is outlined in each series, ``seg-1.dcm`` and so on, each atomically.

    Returns:
        Notes on series whose headers do not suffice.

    Args:
        folder: the folder.
        study: its series.
        graded: the result, with the outlines of the prediction.
        origin: what the objects refer to.

    Raises:
        OSError: if they cannot be written.
    """
    number = 0
    notes = []
    for outlines in graded.prediction.outlines:
        try:
            made = make_segmentation(outlines, study, origin, graded.version, number + 1)
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # of highdicom
            what = f"no DICOM segmentation: {one_line(error)}"
            place = (graded.prediction.study_id, outlines.series_id)
            notes.append(Problem(what, *place, fatal=False))
            continue
        if made is not None:
            number += 1
            with atomic_path(folder / f"seg-{number}.dcm") as temporary:
                made.save_as(temporary, enforce_file_format=True)
    return tuple(notes)


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

    Raises:
        ValueError: if the images do not say where they are.
    """
    import highdicom as hd
    from highdicom.seg import Segmentation

    volume = next(v for v in study.volumes if v.series_id == outlines.series_id)
    head = study.heads.get(volume.series_id)
    slices, labels = _labels(outlines, volume)
    present = [s for s in codes.STRUCTURE_OF if (labels == s).any()]
    if head is None or not present:
        return None
    if not volume.frame_of_reference:
        raise ValueError("the images have no FrameOfReferenceUID")
    numbered = np.zeros_like(labels)
    for index, structure in enumerate(present, start=1):
        numbered[labels == structure] = index
    images = [origin.images[volume.series_id, s.instance_number] for s in slices]
    thickness = _thickness(head, slices)
    sources = [_image(*pair, volume, origin) for pair in zip(images, slices, strict=True)]
    for source in sources:
        source.SliceThickness = thickness
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
    )
    if images[0].frame:
        _refer_to_frames(made, images)
    origin.put_patient(made)
    return made


def _stand_in(image: ImageReference) -> tuple[str, str]:
    """SOPClassUID and SOPInstanceUID of an image; of a frame, those of an image in its place.

    highdicom refers to all frames of an object only, in one orientation.
    """
    if not image.frame:
        return image.sop_class, image.sop_instance
    return MRImageStorage, f"2.25.{image.frame}"


def _refer_to_frames(made: Segmentation, images: Sequence[ImageReference]) -> None:
    """Replace references to stand-ins by references to frames of their object."""
    frames = {_stand_in(image)[1]: image for image in images}

    def correct(item: Dataset) -> None:
        image = frames.get(str(item.ReferencedSOPInstanceUID))
        if image is not None:  # groups share items
            item.ReferencedSOPClassUID = image.sop_class
            item.ReferencedSOPInstanceUID = image.sop_instance
            item.ReferencedFrameNumber = image.frame

    for group in made.PerFrameFunctionalGroupsSequence:
        correct(group.DerivationImageSequence[0].SourceImageSequence[0])
    for item in made.SourceImageSequence:
        correct(item)
    series = made.ReferencedSeriesSequence[0]
    whole = series.ReferencedInstanceSequence[0]
    whole.ReferencedSOPClassUID = images[0].sop_class
    whole.ReferencedSOPInstanceUID = images[0].sop_instance
    series.ReferencedInstanceSequence = [whole]


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
    header.SOPClassUID, header.SOPInstanceUID = _stand_in(image)
    header.StudyInstanceUID, header.SeriesInstanceUID = origin.study_uid, image.series_uid
    header.Modality = "MR"
    header.InstanceNumber = one.instance_number
    header.Rows, header.Columns = one.shape
    header.FrameOfReferenceUID = volume.frame_of_reference
    plane = one.plane
    header.ImagePositionPatient = list(plane.position)
    header.ImageOrientationPatient = [*plane.row, *plane.column]
    header.PixelSpacing = list(plane.spacing)
    for element in origin.patient:
        # highdicom checks the values of patients; those of the images are added afterwards
        setattr(header, element.keyword, None)
    return header
