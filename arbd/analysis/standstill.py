"""Why sessions do not go on, as the workers say it in their heartbeats, for every command alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.liveness import Beat, is_held, read_beats, unread_beats
from arbd.spool.peers import silent_s
from arbd.values import dataclass

BLOCKED, FINISHING, HELD, LOADING = "blocked", "finishing", "held", "loading"
FINISHES = "its results are being put together"
NO_WORKER = "no worker runs on this spool: start one with `arbd run`"


@dataclass(frozen=True, slots=True)
class Standstill:
    """What workers that live say; `unread` is that others do whose heartbeats this version cannot read."""

    beats: tuple[Beat, ...]
    unread: bool = False

    def label(self, session_id: str, state: LedgerState) -> str:
        """As of the ledger, or `blocked` where no worker that lives can, or may, evaluate what is left of it."""
        label = state.label()
        waits = label in ("pending", "running") and not state.claims
        return BLOCKED if waits and self._all_blocked(session_id) else label

    def _all_blocked(self, session_id: str) -> bool:
        able = [beat for beat in self.beats if beat.about.get("only") in (None, session_id)]
        stopped = (beat.about.get("halted") or session_id in _of(beat, BLOCKED) for beat in able)
        return bool(able) and not self.unread and all(stopped)

    def reason(self, session_id: str, state: LedgerState) -> str:
        """One line on why it does not go on, or not everywhere; '' where nothing is known to be wrong."""
        loading = [f"{beat.worker_id}: {what}" for beat in self.beats if (what := _of(beat, LOADING).get(session_id))]
        return self._reason(session_id, state, loading, [FINISHES])

    def why_still(self, session_id: str, state: LedgerState) -> str:
        """As `reason`, without what comes to an end by itself: quotes that are read, results that are put together."""
        return self._reason(session_id, state, [], [])

    def _reason(self, session_id: str, state: LedgerState, loading: list[str], finishing: list[str]) -> str:
        if state.over:
            return ""
        told = [f"{beat.worker_id}: {why}" for beat in self.beats if (why := _of(beat, BLOCKED).get(session_id))]
        told += loading
        if not state.claims and self._all_blocked(session_id):
            told += self._halted
        if not state.claims:
            # What all say alike, of a session that another may work on, is no news of each.
            told += dict.fromkeys(why for beat in self.beats if (why := _of(beat, HELD).get(session_id)))
        label = state.label()
        if label == FINISHING:
            failed = [
                f"{beat.worker_id} could not put its results together, and tries again: {why}"
                for beat in self.beats
                if (why := _of(beat, FINISHING).get(session_id))
            ]
            told = [*failed, *told] or ([] if self._nobody else finishing)
        if not told and self._nobody and label in ("pending", "running", FINISHING):
            return NO_WORKER
        return "; ".join(told)

    @property
    def _halted(self) -> list[str]:
        """Why workers work on nothing; what holds for all of them once."""
        whys = [str(beat.about.get("halted", "")) for beat in self.beats]
        if len(set(whys)) == 1:
            return [whys[0]] if whys[0] else []
        return [f"{beat.worker_id} is {why}" for beat, why in zip(self.beats, whys, strict=True) if why]

    @property
    def _nobody(self) -> bool:
        return not self.beats and not self.unread


def _of(beat: Beat, key: str) -> Mapping[str, str]:
    said = beat.about.get(key, {})
    return said if isinstance(said, dict) else {}


def standstill_of(beats: Iterable[tuple[Beat, bool]], *, unread: bool) -> Standstill:
    """From heartbeats, each with whether its worker lives. Who has fallen silent works on nothing that one could count on."""
    alive = [beat for beat, alive in beats if alive]
    silent = silent_s(alive)
    return Standstill(tuple(beat for beat in alive if beat.worker_id not in silent), unread)


def read_standstill(files: Files, layout: SpoolLayout) -> Standstill:
    """As it is now."""
    beats = ((beat, is_held(files, layout, beat.worker_id)) for beat in read_beats(files, layout))
    unread = any(is_held(files, layout, worker_id) for worker_id in unread_beats(files, layout))
    return standstill_of(beats, unread=unread)
