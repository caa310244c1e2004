"""Agreement and calibration of out-of-fold predictions, for the page and tables of `validate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.outputs.agreement_sections import agreement_sections
from lumbargrade.outputs.measure_tables import write_metrics_csv
from lumbargrade.outputs.page import Section
from lumbargrade.scoring.breakdown import Part, break_down
from lumbargrade.scoring.cohort import pair


def write_agreement(
    table: Path, studies: Sequence[StudyPrediction], store: VolumeStore
) -> tuple[list[Part], list[Section]]:
    """Measure the out-of-fold predictions of the ensemble and write the measures.

    Args:
        table: CSV for the measures; written atomically.
        studies: one prediction per study, by models that have not seen it.
        store: gives the true grades.

    Returns:
        The measures and the sections of a page on them; both are empty where nothing is graded.
    """
    truth = {str(study): grades for study, grades in store.grades.items()}
    graded = pair({p.study_id: p for p in studies}, truth).predicted
    parts = break_down(graded)
    write_metrics_csv(table, parts)
    return parts, agreement_sections(graded, parts) if parts else []
