# %% [markdown]
# # Draw findings and outlines on a slice
# Points and outlines are in native pixels of the DICOM image, so they can be drawn on it directly.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lumbargrade import grade_study, read_study
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.vocabulary import Condition, SeriesKind

STUDY, PICTURE = Path(sys.argv[1]), Path(sys.argv[2])

# %%
study = read_study(STUDY)
result = grade_study(study)

# %% The sagittal T2 series, and the slice in which most canal findings lie
volume = study.of(SeriesKind.SAGITTAL_T2)[0]
canal = [
    finding
    for target, finding in result.findings.items()
    if target.condition is Condition.CANAL
    and finding.point is not None
    and finding.point.series_id == volume.series_id
]
zs = volume.nearest_slices([finding.point.z for finding in canal])
z = int(np.bincount(zs).argmax())

# %% Outlines of this slice: a label map of the size of the image
outlines = next(o for o in result.outlines if o.series_id == volume.series_id)
labels = outlines.label_map(volume, z)

# %%
height, width = volume.slices[z].shape
dy, dx = volume.slices[z].plane.spacing
figure, axes = plt.subplots(figsize=(6, 8))
axes.imshow(volume.pixels[z, :height, :width], cmap="gray", aspect=dy / dx)
for structure in (Structure.BODY, Structure.DISC, Structure.SAC):
    if (labels == structure).any():
        axes.contour(labels == structure, [0.5], linewidths=0.8, colors=f"C{structure}")
for finding, slice_of_point in zip(canal, zs, strict=True):
    if slice_of_point == z:
        point = finding.point
        axes.plot(point.x, point.y, "o", markersize=5, color="orange")
        text = f"{finding.target.level.label} {finding.grade.label}"
        axes.annotate(text, (point.x, point.y), (8, 0), textcoords="offset points", color="orange")
axes.set_title(f"Sagittal T2, instance {volume.slices[z].instance_number}")
axes.set_axis_off()
figure.savefig(PICTURE, dpi=120, bbox_inches="tight")
plt.close(figure)
print(f"{PICTURE}: slice {z} of series {volume.series_id}")
