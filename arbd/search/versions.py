"""What suggestions depend on: two hosts compute the same bits only with the same versions of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import arbd
from arbd.errors import PluginError
from arbd.installed import version_of
from arbd.search.samplers import METHODS, adaptive

# Before the name of a distribution that offers the method; libraries have their plain names.
PLUGIN = "plug-in "


def sampler_versions(method: str) -> dict[str, str]:
    """Versions on this host of what computes the suggestions of a method.

    That is arbd, the method's own revision, the libraries that it declares, and for one of another distribution that distribution with a
    digest of its code. UsageError when there is no such method on this host, PluginError when it, or a library that it needs,
    cannot be loaded.
    """
    plugin, declared, learns = METHODS.plugin(method), METHODS.get(method), adaptive(method)
    versions = {"arbd": arbd.__version__, **{name: _version(name, method) for name in declared.libraries}}
    if learns is not None:
        versions[f"method {method}"] = str(learns.revision)
    return versions if plugin is None else {**versions, PLUGIN + plugin.distribution: plugin.fingerprint()}


def _version(library: str, method: str) -> str:
    try:
        return version_of(library)
    except ModuleNotFoundError as error:
        raise PluginError(
            f"method {method} needs {library}, which is not installed for {sys.executable}: install it there (pip install {library})"
        ) from error


def differing(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """What is not as it was where a session began, for people; '' when all is."""
    names = [name for name in expected if expected[name] != found.get(name)]
    return ", ".join(f"{name} {found.get(name, '(none)')} instead of {expected[name]}" for name in names)


def of_plugins(versions: Mapping[str, str]) -> dict[str, str]:
    """Those of plug-ins alone: another version of a library changes last bits, one of a plug-in is another method."""
    return {name: version for name, version in versions.items() if name.startswith(PLUGIN)}
