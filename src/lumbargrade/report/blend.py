"""Result of `blend`: members, weights and calibration per condition, the any-severe correction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.structures import plain
from lumbargrade.report.text import text_table
from lumbargrade.scoring.any_severe import AnySevereChoice, CanalParts
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.validation.fit_blend import BlendFit, ConditionFit

_WEIGHTS = ("condition", "", "weight", "findings", "own loss", "loss", "nested")
_CALIBRATION = ("condition", "method", "not calibrated", "calibrated, nested")
_ANY_SEVERE = ("", "canal", "any severe", "mean")

_ORIGINS = {
    Origin.FITTED: "fitted weights",
    Origin.EQUAL: "equal weights: fitted weights are not better on held-out studies",
    Origin.SINGLE: "the best member alone: no blend is better on held-out studies",
    Origin.FIXED: "weights as given",
}


@dataclass(frozen=True)
class BlendResult:
    """A fitted blend and its file.

    Attributes:
        out: the blend file.
        fit: weights, calibration and what they gain.
    """

    out: Path
    fit: BlendFit

    def text(self) -> str:
        """Tables of losses; lower is better."""
        fits = self.fit.conditions
        weights = [row for c, one in fits.items() for row in _weight_rows(c, one)]
        choices = {c.value: one.calibration for c, one in fits.items()}
        calibration = [
            [name, choice.calibration.method.value, choice.before, choice.nested]
            for name, choice in choices.items()
        ]
        parts = [
            "weighted log loss out of fold (own loss: on the findings that the member predicts;\n"
            "nested: with weights that were not fitted to the scored studies)",
            text_table(_WEIGHTS, weights),
            *(f"{c.value}: {_weights_from(one)}" for c, one in fits.items()),
            "\nunweighted log loss of the blend's probabilities",
            text_table(_CALIBRATION, calibration),
        ]
        if self.fit.any_severe is not None:
            parts.append("\nany-severe correction: its two parts of the official score")
            parts.append(_any_severe_text(self.fit.any_severe))
        return "\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data; an unknown number is None."""
        choice = self.fit.any_severe
        return {
            "blend": str(self.out),
            "members": [m.name for m in self.fit.members],
            "conditions": {c.value: _as_dict(one) for c, one in self.fit.conditions.items()},
            "any_severe": None if choice is None else _any_severe_as_dict(choice),
        }


def _weights_from(fit: ConditionFit) -> str:
    return "the only member" if len(fit.members) == 1 else _ORIGINS[fit.weights.origin]


def _weight_rows(condition: Condition, fit: ConditionFit) -> list[list[object]]:
    w = fit.weights
    findings = fit.calibration.findings
    rows: list[list[object]] = [
        [condition.value, name, weight, count, own, loss, None]
        for name, weight, count, own, loss in zip(
            fit.members, w.weights, w.counts, w.own, w.members, strict=True
        )
    ]
    if len(fit.members) > 1:
        rows.append([condition.value, "(equal weights)", None, findings, None, w.equal, None])
    if w.fitted is not None:
        rows.append([condition.value, "(fitted weights)", None, findings, None, w.fitted, w.nested])
    rows.append([condition.value, f"blend: {w.origin}", None, findings, None, w.blend, None])
    return rows


def _any_severe_text(choice: AnySevereChoice) -> str:
    lines = [("without", choice.before)]
    lines += [
        (f"{rule}, held out", parts) for rule, parts in choice.held_out.items() if rule != "none"
    ]
    if choice.nested is not None:
        lines.append(("chosen, nested", choice.nested))
    table = text_table(_ANY_SEVERE, [[n, p.canal, p.any_severe, p.mean] for n, p in lines])
    c = choice.correction
    kept = (
        f"{c.rule} of strength {c.strength:.3f}"
        if c.strength > 0
        else "none: no correction is better on held-out studies"
    )
    return f"{table}\nkept: {kept}"


def _as_dict(fit: ConditionFit) -> dict[str, Any]:
    w, c = fit.weights, fit.calibration
    losses = zip(fit.members, w.counts, w.own, w.members, strict=True)
    return {
        "origin": w.origin.value,
        "weights": dict(zip(fit.members, w.weights, strict=True)),
        "members": {
            name: {"findings": count, "own_loss": own, "loss": loss}
            for name, count, own, loss in losses
        },
        "best_single": fit.members[w.best_single],
        "equal": w.equal,
        "fitted": w.fitted,
        "nested": w.nested,
        "blend": w.blend,
        "findings": c.findings,
        "calibration": plain(c.calibration),
        "log_loss": c.before,
        "log_loss_calibrated": c.nested,
    }


def _any_severe_as_dict(choice: AnySevereChoice) -> dict[str, Any]:
    def parts(of: CanalParts) -> dict[str, float]:
        return {"canal": of.canal, "any_severe": of.any_severe, "mean": of.mean}

    return {
        "rule": choice.correction.rule.value,
        "strength": choice.correction.strength,
        "before": parts(choice.before),
        "held_out": {rule.value: parts(p) for rule, p in choice.held_out.items()},
        "nested": None if choice.nested is None else parts(choice.nested),
    }
