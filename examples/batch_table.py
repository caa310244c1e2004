# %% [markdown]
# # From the results of many studies to one table
# First grade them: `lumbargrade grade FOLDER --out RESULT`. This reads the tables in `RESULT`.

# %%
import sys
from pathlib import Path

import pandas as pd

RESULT, TABLE = Path(sys.argv[1]), Path(sys.argv[2])

# %% A row per finding; ids are text, although some look like numbers
findings = pd.read_csv(RESULT / "findings.csv", dtype={"study_id": str, "folder": str})
order = ["normal_mild", "moderate", "severe"]
findings["grade"] = pd.Categorical(findings["grade"], order, ordered=True)
print(findings.groupby("condition", observed=True)["grade"].value_counts())

# %% A row per study, a column per finding; empty where a finding is not graded
grades = findings.pivot(index="study_id", columns="finding", values="grade").astype("string")

# %% Why findings are not graded
print(findings["not_graded"].dropna().value_counts())

# %% Studies with a severe finding, the most probable one first
severe = findings[findings["grade"] == "severe"].sort_values("severe", ascending=False)
print(severe[["study_id", "finding", "severe"]].head(10).to_string(index=False))

# %% The smallest dural sac of each study, mm2, beside the grades
path = RESULT / "measurements.csv"
if path.exists():
    measured = pd.read_csv(path, dtype={"study_id": str, "folder": str})
    sac = measured[measured["quantity"] == "dural_sac_area"]
    grades["smallest_dural_sac_mm2"] = sac.groupby("study_id")["value"].min()

# %%
grades.to_csv(TABLE)
print(f"{TABLE}: {len(grades)} studies, {grades.shape[1]} columns")
