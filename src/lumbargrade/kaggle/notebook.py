"""Make a Jupyter notebook (nbformat 4.5) from a script whose cells begin with ``# %%``."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_CELL = re.compile(r"^# %%(?P<kind> \[markdown\])?(?P<tags>(?: \w+)*)$", re.MULTILINE)


def notebook_of(script: str) -> dict[str, Any]:
    """Return a notebook as JSON data.

    Args:
        script: cells begin with a line ``# %%``, text cells with ``# %% [markdown]``; words after
            it are the cell's tags. What precedes the first cell is left out.
    """
    marks = list(_CELL.finditer(script))
    ends = [m.start() for m in marks[1:]] + [len(script)]
    cells = [
        _cell(number, mark, script[mark.end() : end].strip("\n"))
        for number, (mark, end) in enumerate(zip(marks, ends, strict=True))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": language},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(number: int, mark: re.Match[str], source: str) -> dict[str, Any]:
    text = bool(mark["kind"])
    if text:
        source = "\n".join(line.removeprefix("#").removeprefix(" ") for line in source.split("\n"))
    tags = mark["tags"].split()
    cell = {
        "cell_type": "markdown" if text else "code",
        "id": hashlib.sha256(f"{number}".encode()).hexdigest()[:8],
        "metadata": {"tags": tags} if tags else {},
        "source": source.splitlines(keepends=True),
    }
    return cell if text else {**cell, "execution_count": None, "outputs": []}
