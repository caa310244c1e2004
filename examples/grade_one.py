# %% [markdown]
# # Grade one study
# The starter comes with the package. It was trained on synthetic phantoms only: see its model card.

# %%
import sys
from pathlib import Path

from lumbargrade import grade_study, read_study
from lumbargrade.domain.vocabulary import Grade, target_from_column

STUDY = Path(sys.argv[1])

# %% The series that can be used, and what was left out
study = read_study(STUDY)
for volume in study.volumes:
    print(volume.kind, volume.pixels.shape, volume.series_id)
for problem in study.problems:
    print("note:", problem)

# %% The findings. In a notebook, the last line shows them as a grid.
result = grade_study(study)
result  # noqa: B018

# %% Findings that are at least moderate, with the probability of each grade and the place, LPS mm
for target, finding in result.findings.items():
    if finding.grade >= Grade.MODERATE:
        shares = ", ".join(f"{p:.2f}" for p in finding.shown)
        place = finding.point.patient if finding.point is not None else ()
        millimetres = ", ".join(f"{x:.1f}" for x in place)
        print(f"{target.column}: {finding.grade.label} ({shares}) at ({millimetres})")

# %% A finding is graded, or absent with a reason. It is never filled.
canal = target_from_column("spinal_canal_stenosis_l4_l5")
if canal in result.findings:
    print("canal at L4/L5:", result.findings[canal].grade.label)
else:
    print("canal at L4/L5: not graded, because", result.absent[canal])

# %% How the levels were named, and what was measured
print("numbering:", result.numbering)
for measurement in result.measurements[:10]:
    unit = measurement.quantity.unit
    print(f"{measurement.site.name}: {measurement.value:.1f} {unit} ({measurement.quality})")
