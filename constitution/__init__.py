"""What the model is asked to be: schema, loading, lint and choice of principles.

The public names are imported on first use, so that `import constitution` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from constitution.faults import BadInput, CharterError, Fault

if TYPE_CHECKING:
    from constitution.choice import check_count, check_revision, draw_comparison_principles, draw_principle
    from constitution.hashing import content_hash
    from constitution.loading import built_in_names, load_constitution, to_yaml
    from constitution.schema import Constitution, Principle, PrincipleTest, Proposition

_HOMES = {
    "Constitution": "schema",
    "Principle": "schema",
    "PrincipleTest": "schema",
    "Proposition": "schema",
    "built_in_names": "loading",
    "check_count": "choice",
    "check_revision": "choice",
    "content_hash": "hashing",
    "draw_comparison_principles": "choice",
    "draw_principle": "choice",
    "load_constitution": "loading",
    "to_yaml": "loading",
}
"""Public names, and the module of this package that holds each."""

__all__ = [
    "BadInput",
    "CharterError",
    "Constitution",
    "Fault",
    "Principle",
    "PrincipleTest",
    "Proposition",
    "built_in_names",
    "check_count",
    "check_revision",
    "content_hash",
    "draw_comparison_principles",
    "draw_principle",
    "load_constitution",
    "to_yaml",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'constitution' has no attribute '{name}'")
    return getattr(importlib.import_module(f"constitution.{_HOMES[name]}"), name)
