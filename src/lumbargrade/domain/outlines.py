"""What is outlined in an image, and which disc of the spine a pixel belongs to.

Phantoms are labelled with these classes, the starter's networks predict them, and measurements are
taken from them. The integers are class indices of network outputs and of label maps.
"""

from __future__ import annotations

from enum import IntEnum

from lumbargrade.domain.vocabulary import Level


class Structure(IntEnum):
    """A structure with an outline in a sagittal or axial image."""

    OTHER = 0
    BODY = 1
    """a vertebral body above the sacrum"""
    SACRUM = 2
    """a sacral body (S1 to S5)"""
    DISC = 3
    """a disc above the sacrum"""
    SAC = 4
    """the dural sac: CSF, roots and cord"""
    FORAMEN = 5
    """the opening of a neural foramen: fat and root"""
    FACET = 6
    """bone of a facet joint, both articular processes"""


class Segment(IntEnum):
    """The part of the spine that belongs to a disc: from mid-body to mid-body.

    ``HIGHER`` is everything above T11/T12, ``LOWER`` everything below S1/S2.
    """

    NONE = 0
    HIGHER = 1
    T11_T12 = 2
    T12_L1 = 3
    L1_L2 = 4
    L2_L3 = 5
    L3_L4 = 6
    L4_L5 = 7
    L5_S1 = 8
    S1_S2 = 9
    LOWER = 10

    @property
    def label(self) -> str:
        """Name as readers write it, for example ``L1/L2``."""
        return self.name.replace("_", "/")


class Mark(IntEnum):
    """A point that the sagittal network finds wherever it is, whatever its level."""

    CANAL = 0
    """middle of the dural sac at the height of a disc"""
    FORAMEN = 1
    """the root in a neural foramen, on the slices that show it"""
    DISC = 2
    """centre of a disc"""
    BODY = 3
    """centre of a vertebral body"""


#: The segment of each graded level.
SEGMENT_OF: dict[Level, Segment] = {level: Segment[level.name] for level in Level}

#: Structures that are outlined in sagittal slices, in the order of labels and network outputs.
SAGITTAL_STRUCTURES: tuple[Structure, ...] = tuple(Structure)[: Structure.FORAMEN + 1]
#: Structures that are outlined in axial slices, in the order of labels and network outputs.
AXIAL_STRUCTURES: tuple[Structure, ...] = (
    *(Structure.OTHER, Structure.BODY, Structure.DISC, Structure.SAC, Structure.FACET),
)

#: Side of the pixels of the grid that sagittal slices are outlined on, mm.
SAGITTAL_MM = 1.5
#: Side of the pixels (mm), and pixels a side, of the grid that axial slices are outlined on.
AXIAL_MM, AXIAL_SIZE = 0.75, 128
