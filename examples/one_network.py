# %% [markdown]
# # One network alone
# The sagittal network of the starter outlines bodies, discs, dural sac and foramina. Here it runs
# on one series, without the steps that follow: no numbering, no points, no grades.

# %%
import sys
from pathlib import Path

import numpy as np

from lumbargrade import read_study
from lumbargrade.domain.outlines import SAGITTAL_MM, SAGITTAL_STRUCTURES, Structure
from lumbargrade.starter.grid import SagittalGrid, neighbours
from lumbargrade.starter.weights_file import open_weights

STUDY = Path(sys.argv[1])

# %% The network is an ONNX file; opening it checks its SHA-256
network = open_weights().networks["sagittal"]
print({i.name: i.shape for i in network.session.get_inputs()})
print({o.name: o.shape for o in network.session.get_outputs()})

# %% A sagittal series on the grid of the network: upright, square pixels, without coil shading
study = read_study(STUDY)
volume = next(v for v in study.volumes if v.kind is not None and v.kind.sagittal)
grid = SagittalGrid.of(volume)
images = grid.images[neighbours(grid.groups)]
print(f"{volume.kind}: {images.shape} (slices, neighbours, rows, columns), {SAGITTAL_MM} mm")

# %% Logits to classes: a structure for each pixel
structures = network(images)["structures"]
classes = structures.argmax(axis=1)

# %% Area of each structure in the middle slice
middle = len(classes) // 2
for index, structure in enumerate(SAGITTAL_STRUCTURES):
    if structure is not Structure.OTHER:
        area = np.count_nonzero(classes[middle] == index) * SAGITTAL_MM**2
        print(f"{structure.name.lower()}: {area:.0f} mm2")
