"""Mutants that live with a reason: tests/mutation/explained.toml."""

from __future__ import annotations

import tomllib

from tests.mirrored import ROOT

EXPLAINED = ROOT / "tests" / "mutation" / "explained.toml"


def why_it_lives() -> dict[tuple[str, str, str], str]:
    """By file, line and change: why no test beside the file can tell the mutant, or which test elsewhere kills it."""
    entries = tomllib.loads(EXPLAINED.read_text())["survivor"]
    return {(entry["file"], entry["was"], entry["change"]): entry["why"] for entry in entries if entry["why"]}
