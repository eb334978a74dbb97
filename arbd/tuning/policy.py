"""Which objectives may run on this host. Keeps I7: what is not on the list does not run."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from arbd.tuning.jobspec import ObjectiveSpec


def pattern_of(objective: ObjectiveSpec) -> str:
    """How the list names exactly this objective: `paper`, `python:pkg.mod:function`, `command:/usr/bin/prog`."""
    return f"{objective.kind}:{objective.target[0]}" if objective.target else objective.kind


@dataclass(frozen=True, slots=True)
class ObjectivePolicy:
    """A list of patterns as of `pattern_of`, in which `*` and `?` stand for any characters."""

    allow: tuple[str, ...] = ("paper",)

    def check(self, objective: ObjectiveSpec) -> str | None:
        """None when the objective may run, else why not and what an administrator can do."""
        name = pattern_of(objective)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.allow):
            return None
        return (
            f"the objective {name} is not allowed on this host (allowed: {', '.join(self.allow) or 'nothing'}); "
            f"an administrator can add {name!r} to `allow` in the daemon's settings"
        )
