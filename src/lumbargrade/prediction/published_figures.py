"""Published figures for comparison with ours: of one recipe, or of an ensemble."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import resources

from lumbargrade.config import Published, Recipe, structured

_FILE = "prediction/data/published_ensembles.toml"


@dataclass(frozen=True)
class PublishedEnsemble:
    """Recipes whose probabilities were averaged, with the figures of their mean."""

    recipes: tuple[str, ...]
    figures: Published


@dataclass(frozen=True)
class _Ensembles:
    ensemble: tuple[PublishedEnsemble, ...]


@cache
def published_ensembles() -> tuple[PublishedEnsemble, ...]:
    """All published ensembles, as ``data/published_ensembles.toml`` lists them."""
    text = (resources.files("lumbargrade") / _FILE).read_text("utf-8")
    return structured(tomllib.loads(text), _Ensembles, _FILE, "ensembles").ensemble


def figures_of(recipes: Collection[Recipe]) -> Published:
    """Published figures of one recipe, or of exactly these recipes averaged; empty if none."""
    if len(recipes) == 1:
        return next(iter(recipes)).published
    names = {r.name for r in recipes}
    known = (e.figures for e in published_ensembles() if set(e.recipes) == names)
    return next(known, Published())
