"""Options that name models, for the commands that predict with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lumbargrade.grading.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which models predict, and how."""

    models: list[Path] = field(default_factory=list)
    """model or run folders; every model below them takes part"""
    guides: list[Path] = field(default_factory=list)
    """models that only place points, for models of crops (two_stage, subarticular) to start from"""
    blend: Path | None = None
    """instead of both: a blend file, which names all models, their weights and calibration"""
    flip: bool = True
    """average with the mirrored volume; only models of sided conditions are averaged, and only if
    flips in their training exchanged left and right"""
    unflipped: list[Path] = field(default_factory=list)
    """further model or run folders, whose models are used without flip averaging"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""

    def require_models(self) -> None:
        """Refuse what names no models, or names them twice.

        Raises:
            UsageError: saying what to give.
        """
        from lumbargrade.domain.errors import UsageError

        if bool(self.models or self.unflipped) == (self.blend is not None):
            raise UsageError(
                "give either --models, the folders of the models to use, or --blend FILE"
            )

    def open_predictor(self) -> Predictor:
        """Load the models.

        Raises:
            UsageError: if there are none, or they cannot be used together.
            BadModel: if one is damaged.
        """
        from lumbargrade.grading.predictor import open_predictor
        from lumbargrade.models.device import choose_device

        return open_predictor(
            self.models,
            self.blend,
            choose_device(self.device),
            flip=self.flip,
            guides=self.guides,
            unflipped=self.unflipped,
        )
