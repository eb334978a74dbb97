"""Whether any standing job of a spool is to be looked at, from their logs alone: no job is read, no data file touched."""

from __future__ import annotations

from dataclasses import field

from arbd.errors import ArbdError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.standing.firing import Standing, standing_of
from arbd.spool.standing.folder import StandingFolder, standing_names
from arbd.spool.standing.records import StandingState
from arbd.spool.system import Clock
from arbd.values import dataclass


@dataclass(slots=True)
class StandingWatch:
    """For the daemon, between the times at which its intake runs. Not thread-safe."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    _folders: dict[str, StandingFolder] = field(default_factory=dict)

    def look(self) -> tuple[Standing, ...]:
        """All but those that were removed. OSError when the spool cannot be read."""
        names = standing_names(self.files, self.layout)
        self._folders = {
            name: self._folders.get(name) or StandingFolder(self.files, self.layout, name) for name in names
        }
        found = []
        for name, folder in self._folders.items():
            try:
                state = folder.refresh()
                if state.state is not StandingState.REMOVED:
                    found.append(standing_of(state, self.clock.wall_ns()))
            except ArbdError as error:
                # Another version's, or of a time zone that this host does not know.
                found.append(Standing(name, "unreadable", trouble=str(error)))
        return tuple(found)
