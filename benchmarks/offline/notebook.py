"""Run the code cells of a notebook without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Run before the cells: a network other than the loopback is an error of the test.
_NO_NETWORK = """\
import pathlib
devices = [line.split(":")[0].strip() for line in
           pathlib.Path("/proc/net/dev").read_text().splitlines() if ":" in line]
assert devices == ["lo"], f"there is a network: {devices}"
"""


def offline() -> list[str] | None:
    """The beginning of a command that runs without a network; None if that is not permitted."""
    for options in (["-n"], ["-r", "-n"]):
        command = ["unshare", *options]
        if shutil.which("unshare") is None:
            return None
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def script_of(notebook: Path, parameters: Mapping[str, object]) -> str:
    """The code cells one after the other; parameters follow the cell that is tagged so."""
    parts = [_NO_NETWORK]
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        parts.append("".join(cell["source"]))
        if "parameters" in cell["metadata"].get("tags", ()):
            parts += [f"{name} = {value!r}" for name, value in parameters.items()]
    return "\n\n".join(parts) + "\n"


def run_notebook(
    notebook: Path,
    python: Path,
    inputs: Path,
    working: Path,
    *,
    rerun: bool,
    **parameters: object,
) -> subprocess.CompletedProcess[str]:
    """Run a notebook's cells in another Python, without a network.

    Args:
        notebook: the notebook.
        python: the interpreter.
        inputs, working: in place of ``/kaggle/input`` and ``/kaggle/working``.
        rerun: as on the hidden studies, or as in the author's own run.
        parameters: other parameters of the notebook.
    """
    unshare = offline()
    assert unshare is not None, "no network namespace can be made here"
    working.mkdir(parents=True, exist_ok=True)
    script = working.parent / f"{working.name}.py"
    places = {"INPUT": str(inputs), "WORKING": str(working)}
    script.write_text(script_of(notebook, {**places, **parameters}))
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    variables["PIP_CONFIG_FILE"] = os.devnull  # folders of wheels that this machine has
    if rerun:
        variables["KAGGLE_IS_COMPETITION_RERUN"] = "1"
    return subprocess.run(
        [*unshare, str(python), str(script)],
        cwd=working,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
