"""Write the outlines of a series as a DICOM segmentation, one object per series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from lumbargrade.dicom.header import Header, if_usable
from lumbargrade.dicom.slices import MAKER
from lumbargrade.dicom.study import Study
from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import ImageReference, Origin, references, tracking_uid
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

    Series of several stacks, such as axial slices tilted to each disc, get none: viewers compare a
    segmentation with the first image of its series, and refuse one in another direction.

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
        volume = next(v for v in study.volumes if v.series_id == outlines.series_id)
        head = study.heads.get(volume.series_id)
        if head is None or len({one.group for one in volume.slices}) > 1:
            continue
        source = Source(volume, head, graded.version)
        try:
            made = make_segmentation(outlines, source, origin, number + 1)
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


@dataclass(frozen=True)
class Source:
    """What a segmentation is made from.

    Attributes:
        volume: the series.
        head: header of one of its images.
        version: version of the program that outlined.
    """

    volume: Volume
    head: Dataset
    version: str


def make_segmentation(
    outlines: SeriesOutlines, source: Source, origin: Origin, number: int
) -> Segmentation | None:
    """Return the outlines of a series on the pixels of its images.

    Returns:
        The object; None if nothing is outlined.

    Args:
        outlines: the outlines.
        source: the series, of one orientation.
        origin: what the object refers to.
        number: number of the segmentation in its study, from 1.

    Raises:
        ValueError: if the images do not say where they are, or have several sizes.
    """
    import highdicom as hd
    from highdicom.seg import Segmentation

    volume, version = source.volume, source.version
    slices = [volume.slices[z] for z in outlines.outlined]
    labels = np.stack([outlines.label_map(volume, z) for z in outlines.outlined])
    present = [s for s in codes.STRUCTURE_OF if (labels == s).any()]
    if not present:
        return None
    if not volume.frame_of_reference:
        raise ValueError("the images have no FrameOfReferenceUID")
    numbered = np.zeros_like(labels)
    for index, structure in enumerate(present, start=1):
        numbered[labels == structure] = index
    images = [origin.images[volume.series_id, s.instance_number] for s in slices]
    headers = [_image(*pair, volume, origin) for pair in zip(images, slices, strict=True)]
    for header in headers:
        header.SliceThickness = _thickness(source.head, slices)
    made = Segmentation(
        source_images=headers,
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
    _refer(made, images)
    origin.put_patient(made)
    return made


def _stand_in(image: ImageReference) -> str:
    """UID of an image; of a frame, that of an image in its place."""
    return f"2.25.{image.frame}" if image.frame else image.sop_instance


def _refer(made: Segmentation, images: Sequence[ImageReference]) -> None:
    """Refer to the images themselves, of which highdicom was given stand-ins.

    highdicom refers to all frames of an object only, in one orientation, and takes any image of an
    enhanced class for one with frames.
    """
    by_stand_in = {_stand_in(image): image for image in images}

    def correct(item: Dataset) -> None:
        image = by_stand_in.get(str(item.ReferencedSOPInstanceUID))
        if image is None:  # groups share items, and this one is correct
            return
        item.ReferencedSOPClassUID = image.sop_class
        item.ReferencedSOPInstanceUID = image.sop_instance
        if image.frame:
            item.ReferencedFrameNumber = image.frame

    for group in made.PerFrameFunctionalGroupsSequence:
        correct(group.DerivationImageSequence[0].SourceImageSequence[0])
    for item in made.SourceImageSequence:
        correct(item)
    series = made.ReferencedSeriesSequence[0]
    instances = {i.sop_instance: i.sop_class for i in images}
    series.ReferencedInstanceSequence = references(instances)


def _thickness(head: Dataset, slices: Sequence[VolumeSlice]) -> float:
    """Thickness of the slices, mm; their mean distance if the header does not tell."""
    stated = if_usable(Header(Path(), head).number, "SliceThickness", None)
    if stated is not None and stated > 0:
        return stated
    projections = [s.plane.projection for s in slices]
    return (max(projections) - min(projections)) / max(len(slices) - 1, 1) or 1.0


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
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, _stand_in(image)
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
