"""Which libraries suggestions depend on: two hosts compute the same bits only with the same versions of them."""

from __future__ import annotations

import importlib.metadata

import arbd

_LIBRARIES = {"bayesian": ("numpy", "scipy"), "cmaes": ("numpy", "cmaes")}


def sampler_versions(method: str) -> dict[str, str]:
    """Versions on this host of what computes the suggestions of a guided method."""
    libraries = _LIBRARIES.get(method, ("numpy",))
    return {"arbd": arbd.__version__, **{name: importlib.metadata.version(name) for name in libraries}}
