# %% [markdown]
# # The starter as a MONAI bundle
# Writes a folder that follows the MONAI bundle specification: `configs/metadata.json` says what
# goes in and out, `configs/inference.json` grades a study, `models/` has the networks. With MONAI
# and fire installed:
#
#     python -m monai.bundle run --config_file BUNDLE/configs/inference.json \
#         --bundle_root BUNDLE --study STUDY

# %%
import json
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from lumbargrade import __version__
from lumbargrade.domain.outlines import AXIAL_STRUCTURES, SAGITTAL_STRUCTURES, Mark, Segment
from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade
from lumbargrade.grading.findings_file import NOTICE
from lumbargrade.starter.model import open_starter
from lumbargrade.starter.weights_file import MANIFEST, SHIPPED

BUNDLE = Path(sys.argv[1])
starter = open_starter()
networks = starter.weights.networks

# %% What the channels of each output are
NAMES = {
    "sagittal.structures": [s.name.lower() for s in SAGITTAL_STRUCTURES],
    "sagittal.segments": [s.label for s in Segment],
    "sagittal.marks": [m.name.lower() for m in Mark],
    "axial.structures": [s.name.lower() for s in AXIAL_STRUCTURES],
    "axial.recesses": ["left recess", "right recess"],
}
TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(bool)": "bool"}
SLICES = ["the slice before", "the slice", "the slice after"]


def installed(package: str) -> str:
    """The version of a package, or "not needed": only MONAI's own tools use torch and MONAI."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not needed"


def tensor(shape: list, channels: list[str], kind: str, layout: str, dtype: str) -> dict:
    """The description of a tensor; the shape is that of the file, without the batch."""
    return {
        "type": kind,
        "format": layout,
        "modality": "MR" if kind == "image" else "n/a",
        "num_channels": shape[0],
        "spatial_shape": shape[1:] or ["*"],
        "dtype": dtype,
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(i): text for i, text in enumerate(channels)},
    }


# %% Inputs and outputs, read from the files
inputs, outputs = {}, {}
for name, network in networks.items():
    for given in network.session.get_inputs():
        shape = ["*" if isinstance(n, str) else n for n in given.shape[1:]]
        is_image = len(given.shape) > 3
        what = SLICES if shape[0] == len(SLICES) else [given.name] * int(shape[0])
        inputs[f"{name}.{given.name}"] = tensor(
            shape,
            what,
            "image" if is_image else "tuples",
            "magnitude" if is_image else "indices",
            TYPES[given.type],
        )
    for made in network.session.get_outputs():
        key = f"{name}.{made.name}"
        shape = ["*" if isinstance(n, str) else n for n in made.shape[1:]]
        if key in NAMES:
            outputs[key] = tensor(shape, NAMES[key], "image", "classes", "float32")
        else:
            targets = [t.column for t in TARGETS[Condition[made.name.upper()]]]
            outputs[key] = tensor(shape, targets, "probabilities", "classes", "float32")

# %%
metadata = {
    "name": "lumbargrade starter",
    "version": __version__,
    "changelog": {__version__: "written by examples/monai_bundle.py"},
    "monai_version": installed("monai"),
    "pytorch_version": installed("torch"),
    "numpy_version": version("numpy"),
    "required_packages_version": {"lumbargrade": __version__},
    "optional_packages_version": {"onnxruntime": version("onnxruntime")},
    "task": "Grading of lumbar-spine MRI",
    "description": (
        "Grades spinal canal, foraminal and subarticular stenosis at L1/L2 to L5/S1 as "
        f"{', '.join(g.label.lower() for g in Grade)}. {starter.about}"
    ),
    "authors": "The lumbargrade developers",
    "copyright": "Copyright (c) The lumbargrade authors, MIT licence",
    "intended_use": NOTICE,
    "data_source": "synthetic phantoms of lumbargrade; no images of patients",
    "data_type": "DICOM",
    "network_data_format": {"inputs": inputs, "outputs": outputs},
}

# %% The steps of inference: MONAI's parser replaces @name and evaluates what follows $
inference = {
    "imports": [
        "$from pathlib import Path",
        "$from lumbargrade import grade_study",
        "$from lumbargrade.grading.findings_tables import write_findings_csv",
        "$from lumbargrade.grading.graded import GradedStudy",
        "$from lumbargrade.starter.model import open_starter",
    ],
    "bundle_root": ".",
    "study": "STUDY",
    "output": "findings.csv",
    "starter": "$open_starter(Path(@bundle_root) / 'models')",
    "prediction": "$grade_study(@study, @starter)",
    "graded": "$GradedStudy(@prediction, (), @starter.flips, '', @starter.about)",
    "run": ["$write_findings_csv(Path(@output), @graded)"],
}

# %%
for folder in ("configs", "models", "docs"):
    (BUNDLE / folder).mkdir(parents=True, exist_ok=True)
for name, content in (("metadata", metadata), ("inference", inference)):
    text = json.dumps(content, indent=4, ensure_ascii=False) + "\n"
    (BUNDLE / "configs" / f"{name}.json").write_text(text, encoding="utf-8")
for name in (MANIFEST, *starter.weights.manifest.files):
    shutil.copyfile(SHIPPED / name, BUNDLE / "models" / name)
readme = f"""# lumbargrade starter

{metadata["description"]}

{NOTICE}

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --study STUDY

`STUDY` is a folder with the DICOM files of one study; `--output` names the table of findings.
`models/{MANIFEST}` says how each network was trained and evaluated.
"""
(BUNDLE / "docs" / "README.md").write_text(readme, encoding="utf-8")
licence = distribution("lumbargrade").read_text("licenses/LICENSE")
for path in (BUNDLE / "LICENSE", BUNDLE / "docs" / "license.txt"):
    path.write_text(licence, encoding="utf-8")
print(f"{BUNDLE}: {len(networks)} networks, {len(inputs)} inputs, {len(outputs)} outputs")
