"""What `blend` prints: per condition its members, the blend, calibration; the any-severe part."""

from __future__ import annotations

from typing import Any

from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.structures import plain
from lumbargrade.report.text import text_table
from lumbargrade.scoring.any_severe import AnySevereChoice
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.validation.fit_blend import BlendFit, ConditionFit

_WEIGHTS = ("condition", "", "weight", "findings", "own loss", "loss", "nested")
_CALIBRATION = ("condition", "method", "as they are", "calibrated, nested")
_ANY_SEVERE = ("", "canal", "any severe", "mean")

_WORDS = {
    Origin.FITTED: "fitted weights",
    Origin.EQUAL: "equal weights: fitted ones gain nothing on held-out studies",
    Origin.SINGLE: "the best member alone: no blend is better on held-out studies",
    Origin.FIXED: "weights as given",
}


def blend_text(fit: BlendFit) -> str:
    """Tables for people; losses are lower is better."""
    weights = [row for c, one in fit.conditions.items() for row in _weight_rows(c, one)]
    calibration = [
        [c.value, one.calibration.calibration.method.value, one.calibration.before, nested]
        for c, one in fit.conditions.items()
        for nested in [one.calibration.nested]
    ]
    parts = [
        "weighted log loss out of fold (own loss: on the findings that a member predicts; nested:\n"
        "by weights not fitted to the studies that they are judged on)",
        text_table(_WEIGHTS, weights),
        *(f"{c.value}: {_words(one)}" for c, one in fit.conditions.items()),
        "\nunweighted log loss of the blend's probabilities",
        text_table(_CALIBRATION, calibration),
    ]
    if fit.any_severe is not None:
        parts += ["\nany-severe correction, official parts", _any_severe_text(fit.any_severe)]
    return "\n".join(parts)


def _words(fit: ConditionFit) -> str:
    return "the only member" if len(fit.members) == 1 else _WORDS[fit.weights.origin]


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
    kept = f"{c.rule} of strength {c.strength:.3f}" if c.strength > 0 else "none: it does not help"
    return f"{table}\nkept: {kept}"


def blend_as_dict(fit: BlendFit, path: str) -> dict[str, Any]:
    """The same as plain data; a number that is not known is null."""
    conditions = {}
    for condition, one in fit.conditions.items():
        w, c = one.weights, one.calibration
        conditions[condition.value] = {
            "origin": w.origin.value,
            "weights": dict(zip(one.members, w.weights, strict=True)),
            "members": {
                name: {"findings": count, "own_loss": own, "loss": loss}
                for name, count, own, loss in zip(
                    one.members, w.counts, w.own, w.members, strict=True
                )
            },
            "best_single": one.members[w.best_single],
            "equal": w.equal,
            "fitted": w.fitted,
            "nested": w.nested,
            "blend": w.blend,
            "findings": c.findings,
            "calibration": plain(c.calibration),
            "log_loss": c.before,
            "log_loss_calibrated": c.nested,
        }
    return {
        "blend": path,
        "members": [m.name for m in fit.members],
        "conditions": conditions,
        "any_severe": None if fit.any_severe is None else _any_severe_as_dict(fit.any_severe),
    }


def _any_severe_as_dict(choice: AnySevereChoice) -> dict[str, Any]:
    def parts(of: Any) -> dict[str, float]:
        return {"canal": of.canal, "any_severe": of.any_severe, "mean": of.mean}

    return {
        "rule": choice.correction.rule.value,
        "strength": choice.correction.strength,
        "before": parts(choice.before),
        "held_out": {rule.value: parts(p) for rule, p in choice.held_out.items()},
        "nested": None if choice.nested is None else parts(choice.nested),
    }
