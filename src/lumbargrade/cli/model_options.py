"""Options that name models, shared by the commands that predict."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from lumbargrade.cli.places import PlaceOption

if TYPE_CHECKING:
    from lumbargrade.grading.ensembles import BlendedEnsembles, Ensemble
    from lumbargrade.grading.predictor import Predictor
    from lumbargrade.grading.two_stage import TwoStageUse
    from lumbargrade.team_two_stage.predictor import TwoStage


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which models predict, and how."""

    models: list[PlaceOption] = field(default_factory=list)
    """model or run folders, or their URLs; every model in them takes part"""
    guides: list[PlaceOption] = field(default_factory=list)
    """keypoint models that tell crop models (two_stage, subarticular) where to look"""
    blend: Path | None = None
    """blend file of `blend`, which names all models, their weights and calibration; give it instead
    of model folders. Or a published blend, with --models: two-stage, as-submitted or
    after-deadline"""
    flip: bool = True
    """also predict the mirrored volume and average; this applies only to models of sided conditions
    whose training exchanged left and right with flips"""
    unflipped: list[PlaceOption] = field(default_factory=list)
    """further model or run folders, whose models are used without flip averaging"""
    device: str = "auto"
    """device of torch: auto, cpu, cuda or cuda:N; exported models run on the CPU"""
    engine: Literal["auto", "torch", "onnx", "openvino"] = "auto"
    """what runs the models; auto: exported models run on what they were exported for, other models
    on an export in their folder (`lumbargrade export`) if there is one, otherwise on torch"""

    two_stage_set: Literal["", "8620", "666"] = ""
    """which set of the released two-stage networks; empty: that of the blend, or 8620"""
    networks: list[str] = field(default_factory=list)
    """of the released two-stage networks, use only these: groups (fused, t1, t2, axial), names of
    networks, folds (fold0 to fold4); the first stage that they need is added"""
    as_published: list[str] = field(default_factory=list)
    """faults of the published two-stage code to reproduce, or all; see docs/published.md"""
    logits: Path | None = None
    """folder that keeps what each released two-stage network says of each study: the networks then
    run one after the other over all studies, and an interrupted run resumes"""

    def require_models(self) -> None:
        """Check that either models or a blend is given, or a blend that takes models with models.

        Raises:
            UsageError: if neither is given, or both although the blend names its models.
        """
        from lumbargrade.domain.errors import UsageError
        from lumbargrade.grading.blend_file import read_blend

        if self.blend is None:
            if not (self.models or self.unflipped):
                raise UsageError(
                    "give either --models, the folders of the models to use, or --blend FILE"
                )
        elif self.unflipped or read_blend(self.blend).takes_models != bool(self.models):
            raise UsageError(
                "give either --models, the folders of the models to use, or --blend FILE; both "
                "only with a published blend, which takes its models from --models"
            )

    @property
    def names_models(self) -> bool:
        """Whether models or a blend are given."""
        return bool(self.models or self.unflipped or self.blend)

    def absolute(self) -> Self:
        """Return a copy with absolute paths, for processes that work in another folder."""
        return replace(self, **{f.name: _absolute(getattr(self, f.name)) for f in fields(self)})

    @property
    def two_stage_use(self) -> TwoStageUse:
        """How the released two-stage networks are used."""
        from lumbargrade.grading.two_stage import TwoStageUse

        return TwoStageUse(
            self.two_stage_set, tuple(self.networks), tuple(self.as_published), self.logits
        )

    def open_trained(self) -> Ensemble | BlendedEnsembles | TwoStage:
        """Load the models that are given.

        Raises:
            UsageError: if there are none, or they cannot be used together.
            BadModel: if one is damaged.
        """
        from lumbargrade.files.mirror import local_copy
        from lumbargrade.grading.ensembles import open_ensembles

        return open_ensembles(
            [local_copy(place) for place in self.models],
            self.blend,
            self.device,
            engine=self.engine,
            flip=self.flip,
            guides=[local_copy(place) for place in self.guides],
            unflipped=[local_copy(place) for place in self.unflipped],
            two_stage=self.two_stage_use,
        )

    def open_any(self) -> Predictor:
        """Load the models that are given, or the starter if none is.

        Raises:
            UsageError: if the options contradict each other.
            BadModel: if a model is damaged.
        """
        from lumbargrade.starter.model import open_starter

        if self.names_models:
            self.require_models()
            return self.open_trained()
        self.require_starter()
        return open_starter()

    def require_starter(self) -> None:
        """Check that the options fit the starter.

        Raises:
            UsageError: if they do not.
        """
        from lumbargrade.domain.errors import UsageError

        if self.guides:
            raise UsageError("--guides needs --models; the starter finds the levels itself")
        if self.device not in ("auto", "cpu"):
            raise UsageError(f"--device {self.device}: the starter runs on the CPU only; omit it")


def _absolute(value: Any) -> Any:
    if isinstance(value, Path):
        return value.resolve()
    if isinstance(value, list | tuple):
        return type(value)(_absolute(part) for part in value)
    return value
