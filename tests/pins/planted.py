"""Tables of labels in which every kind of fault that needs no image is planted once."""

from __future__ import annotations

from pathlib import Path

from lumbargrade.domain.vocabulary import Level, Side
from made_labels import canal, edited, foraminal, made_tables, write_tables


def plant_faults(folder: Path) -> Path:
    """Write the tables of forty studies and return the folder.

    One point lies in a corner and one is missing; two levels are exchanged, one series is a disc
    off, one has left and right exchanged, and one point lies on a stray slice.
    """
    tables = made_tables()
    tables = edited(tables, "105", [canal(Level.L2_L3)], lambda p: p._replace(x=5.0, y=5.0))
    tables = edited(tables, "120", [canal(Level.L5_S1)], lambda p: None)
    ys = {p.target: p.y for p in tables.points if p.study_id == "110"}
    one, two = canal(Level.L2_L3), canal(Level.L3_L4)
    tables = edited(
        tables, "110", [one, two], lambda p: p._replace(y=ys[one if p.target == two else two])
    )
    gap = ys[canal(Level.L2_L3)] - ys[canal(Level.L1_L2)]
    every = [canal(level) for level in Level]
    tables = edited(tables, "112", every, lambda p: p._replace(y=p.y + gap))
    both = [foraminal(level, side) for level in Level for side in Side]
    tables = edited(
        tables, "115", both, lambda p: p._replace(instance_number=14 - p.instance_number)
    )
    stray = foraminal(Level.L4_L5, Side.LEFT)
    tables = edited(tables, "118", [stray], lambda p: p._replace(instance_number=10))
    return write_tables(folder, tables)
