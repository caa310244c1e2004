"""The two-stage system as a predictor: a study in, findings with places out."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from tqdm import tqdm

from lumbargrade.domain.errors import NothingDone, Problem, described
from lumbargrade.domain.findings import EngineUse, Finding, ModelSource, StudyPrediction
from lumbargrade.domain.geometry import triple
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import no_series
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, Condition, SeriesKind, Target
from lumbargrade.domain.volume import Volume, locate
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.flow import GRADES, StudyFlow
from lumbargrade.team_two_stage.groups import Network
from lumbargrade.team_two_stage.members import RECIPE, Member
from lumbargrade.team_two_stage.progress import Progress
from lumbargrade.team_two_stage.series import read_case
from lumbargrade.team_two_stage.state import Array, member_key

log = logging.getLogger(__name__)

#: Studies that a sweep holds in memory at once, about 60 MB each.
STUDIES_AT_ONCE = 16


class Networks(Protocol):
    """The networks that are there; each is opened when it is needed."""

    @property
    def engine(self) -> str:
        """What runs the networks, in words."""

    @property
    def members(self) -> Sequence[Member]:
        """The checkpoints that are there."""

    def open(self, member: Member) -> Network:
        """Load a network; its memory is free again when it is not used any more.

        Raises:
            BadModel: if it is damaged.
        """

    def fingerprint(self, member: Member) -> str:
        """Return a text that changes if a checkpoint changes."""


#: A study's id, and what reads its series.
Unread = tuple[str, Callable[[], Sequence[Volume]]]


@dataclass(frozen=True)
class TwoStage:
    """The released networks, one in memory at a time (a `Predictor` of `grading`).

    Attributes:
        networks: those that are there.
        choice: which of them are used, and how.
        progress: where outputs are kept; None if they are not kept.
        fold: fold of the networks, if all have one and their studies are to be validated.
    """

    networks: Networks
    choice: Choice = field(default_factory=Choice)
    progress: Progress | None = None
    fold: int = -1

    calibrated = False
    flips = True
    about = ""

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The members that are used, in the order in which they run.

        Raises:
            UsageError: if the choice names networks that are not there.
        """
        return self.choice.of(self.networks.members)

    @property
    def groups(self) -> tuple[str, ...]:
        """The grading groups that are used."""
        there = {m.group for m in self.members}
        return tuple(group for group in GRADES if group in there)

    @property
    def sources(self) -> list[ModelSource]:
        """One source for each grading group: a finding has up to 155 networks behind it."""
        return [self.source(group) for group in self.groups]

    def source(self, group: str) -> ModelSource:
        return ModelSource(f"{RECIPE}/{self.choice.set_name}-{group}", self.fold)

    @property
    def conditions(self) -> set[Condition]:
        graded = {c for group in self.groups for c in GRADES[group]}
        return graded & set(self.choice.conditions)

    @property
    def kinds(self) -> set[SeriesKind]:
        return set(SeriesKind)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.choice).encode())
        for member in self.members:
            digest.update(f"{member_key(member)}|{self.networks.fingerprint(member)}\n".encode())
        return f"{RECIPE}|{digest.hexdigest()}"

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        """Predict a study: see `grading.predictor.Predictor`.

        Raises:
            NothingDone: if the study has no axial series and `Faults.missing_views_fail` is set.
            BadModel: if a network is damaged.
        """
        flow, key = self._start(study_id, volumes)
        for member in self.members:
            if not flow.done(member):
                flow.run(member, self.networks.open(member))
                self._keep(flow, key)
        return self._concluded(flow)

    def sweep(self, studies: Sequence[Unread], until: float | None = None) -> None:
        """Run every network over many studies, before they are predicted one by one.

        Each network is loaded once for `STUDIES_AT_ONCE` studies. What it says is kept at once, so
        that a run that was interrupted goes on where it was. A study that cannot be read is passed
        over; predicting it says why.

        Args:
            studies: the studies; each is read when its turn comes.
            until: when to stop, by `time.monotonic`; None for never.

        Raises:
            ValueError: if outputs are not kept.
            BadModel: if a network is damaged.
        """
        if self.progress is None:
            raise ValueError("a sweep needs a place for its outputs")
        with tqdm(total=len(studies), desc="two-stage networks", unit="study", disable=None) as bar:
            for first in range(0, len(studies), STUDIES_AT_ONCE):
                part = studies[first : first + STUDIES_AT_ONCE]
                started = [s for s in map(self._started, part) if s is not None]
                for member in self.members:
                    if until is not None and time.monotonic() >= until:
                        return
                    waiting = [s for s in started if not s[0].done(member)]
                    network = self.networks.open(member) if waiting else None
                    for flow, key in waiting:
                        if network is not None and self._tried(flow, member, network):
                            self._keep(flow, key)
                        else:
                            started = [s for s in started if s[0] is not flow]
                    del network  # its memory is free before the next one is opened
                bar.update(len(part))

    def _started(self, unread: Unread) -> tuple[StudyFlow, str] | None:
        study_id, read = unread
        try:
            return self._start(study_id, read())
        except Exception as error:  # predicting it says why; the other studies can be graded
            log.debug("study %s: %s", study_id, described(error), exc_info=True)
            return None

    def _tried(self, flow: StudyFlow, member: Member, network: Network) -> bool:
        try:
            flow.run(member, network)
        except Exception as error:  # as above
            log.debug("study %s: %s", flow.case.study_id, described(error), exc_info=True)
            return False
        return True

    def _start(self, study_id: str, volumes: Sequence[Volume]) -> tuple[StudyFlow, str]:
        """The flow of a study with what is known already, and what its outputs depend on."""
        case = read_case(study_id, volumes, large="axial" in self.groups)
        flow = StudyFlow(case, self.members, self.choice.set_name, self.choice.faults)
        if self.choice.faults.missing_views_fail and "fused" in self.groups and not case.axial:
            raise NothingDone(
                f"study {study_id}: {no_series([SeriesKind.AXIAL_T2])}, without which the "
                "published code fails; omit missing_views_fail to grade what can be graded"
            )
        key = ""
        if self.progress is not None:
            first = [m for m in self.members if m.group not in GRADES]
            depends = [case.digest, self.choice.set_name, str(self.choice.faults)]
            depends += [f"{member_key(m)}|{self.networks.fingerprint(m)}" for m in first]
            key = hashlib.sha256("\n".join(depends).encode()).hexdigest()
            stored = self.progress.load(study_id, key)
            names = {self._stored_name(m): member_key(m) for m in self.members}
            flow.outputs.update({names[n]: value for n, value in stored.items() if n in names})
        return flow, key

    def _keep(self, flow: StudyFlow, key: str) -> None:
        if self.progress is not None:
            there = [m for m in self.members if member_key(m) in flow.outputs]
            kept: dict[str, Array] = {
                self._stored_name(m): flow.outputs[member_key(m)] for m in there
            }
            self.progress.save(flow.case.study_id, key, kept)

    def _stored_name(self, member: Member) -> str:
        text = f"{member_key(member)}|{self.networks.fingerprint(member)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _concluded(self, flow: StudyFlow) -> StudyPrediction:
        findings: dict[Target, Finding] = {}
        absent: dict[Target, str] = {}
        for condition in Condition:
            if condition in self.conditions:
                found = self._findings(flow, condition)
                findings |= found
                for target in TARGETS[condition]:
                    if target not in found:
                        absent[target] = self._reason(flow, condition)
        used = {source for finding in findings.values() for source in finding.sources}
        sources = tuple(s for s in self.sources if s in used)
        return StudyPrediction(
            flow.case.study_id,
            findings,
            sources,
            (*flow.case.problems, *self._notes(flow)),
            absent,
            points={t: f.point for t, f in findings.items() if f.point is not None},
            engines=tuple(EngineUse(s, self.networks.engine) for s in sources),
        )

    def _findings(self, flow: StudyFlow, condition: Condition) -> dict[Target, Finding]:
        said = flow.logits(condition)
        if said is None:
            return {}
        logits = said[0].reshape(-1, 3)
        if not np.isfinite(logits).all():
            return {}
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exp / exp.sum(axis=1, keepdims=True)
        sources = tuple(self.source(group) for group in said[1])
        points = self._points(flow, condition)
        return {
            target: Finding(target, triple(p), points.get(target), sources)
            for target, p in zip(TARGETS[condition], probabilities, strict=True)
        }

    @staticmethod
    def _points(flow: StudyFlow, condition: Condition) -> dict[Target, Point]:
        """Places of a condition in our voxels, with their instances and patient mm."""
        found: dict[Target, Point] = {}
        places = flow.places(condition) or []
        for target, (series, point) in zip(TARGETS[condition], places, strict=False):
            found |= locate(series.volume, [target], np.array([series.voxel(point)]))
        return found

    def _reason(self, flow: StudyFlow, condition: Condition) -> str:
        """Why a condition that should be graded is not."""
        kind = KIND_OF[condition]
        if kind not in flow.kinds:
            return no_series([kind])
        if flow.logits(condition) is not None:
            return "the output of the two-stage networks is not finite"
        wanted = [flow.missing(group) for group in self.groups if condition in GRADES[group]]
        kinds = {k for k in wanted if k is not None}
        why = no_series(kinds) if kinds else "the networks given do not grade it"
        return f"{why}, which the two-stage networks need" if kinds else why

    def _notes(self, flow: StudyFlow) -> list[Problem]:
        """What is graded from fewer views, and how."""
        missing = [kind for kind in SeriesKind if kind not in flow.kinds]
        notes = []
        for kind in missing:
            if how := self._without(kind, flow.kinds):
                text = f"graded without {kind}: {'; '.join(how)}"
                notes.append(Problem(text, study=flow.case.study_id, fatal=False))
        return notes

    def _without(self, kind: SeriesKind, there: Collection[SeriesKind]) -> list[str]:
        """What the networks that are used do without a series; nothing if none needs it."""
        groups, published = self.groups, self.choice.faults.missing_views_fail
        axial = SeriesKind.AXIAL_T2 in there
        how = []
        if kind is SeriesKind.AXIAL_T2:
            if "fused" in groups:
                how.append("the fused networks were left out")
                if {"t1", "t2"} & set(groups):
                    how.append("canal and foramina are graded by those of one sagittal view")
            if published and "axial" in groups:
                how.append("the axial networks read grey crops in its place, as published")
            return how
        if published:
            return ["the networks read black and grey images in its place, as published"]
        if "fused" in groups and axial:
            how.append(
                "the fused networks read black slices in its place, and their grades of what only "
                "it shows were left out"
            )
        if kind is SeriesKind.SAGITTAL_T2 and axial and "axial" in groups:
            how.append("the axial networks read grey T2 crops in its place")
        # in set 8620 the points on T2 come from a network of both sagittal series
        joint = self.choice.set_name == "8620" and SeriesKind.SAGITTAL_T2 in there
        if joint and ("t2" in groups or (axial and "axial" in groups)):
            how.append("points on T2 were found beside black slices in its place")
        return how
