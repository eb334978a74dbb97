"""What code this process runs, and whether it may evaluate a session with it.

Keeps I5 between processes and over time: a session's code is what its record says, a process that loaded something else
is not asked, and rows are never written under the name of other code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from arbd.errors import CodeChangedError
from arbd.job.code import ENGINE, MODULE, REMEDY, base_parts, command_parts, differences, engine, read_engine
from arbd.job.spec import JobSpec
from arbd.objective.modules import ObjectiveModules, StaleEngineError, StaleProcessError


class RunningCode:
    """The code of this process: arbd's own as it was when this was made, and the modules that objectives loaded.

    A process serves one Python objective, because nobody could tell afterwards which of two loaded a shared helper.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._base = base_parts()
        self._objective = ""
        self.modules = ObjectiveModules.of_this_process()
        self.modules.look_in(self.folders)

    def parts_for(self, spec: JobSpec) -> dict[str, str]:
        """The parts that rows of a job depend on, as far as they are loaded."""
        own: Mapping[str, str] = {}
        if spec.objective.kind == "python" and not spec.objective.interpreter:
            own = self.modules.parts()
        elif spec.objective.kind == "command":
            own = command_parts(spec)
        return {**self._base, **own}

    def prepare(
        self, spec: JobSpec, expected: Mapping[str, str], engine_files: Callable[[str], Mapping[str, str]]
    ) -> None:
        """Get ready to load a session's objective; `engine_files` looks up what code of arbd's own has a digest.

        StaleProcessError when a fresh process is needed for it, CodeChangedError when this host has other code.
        """
        own = {part: expected[part] for part in self._base if part in expected}
        found = differences(own, self._base, ())
        if found:
            changed = found[0].part == ENGINE
            if changed:
                found = differences(own, self._base, (), engine_files(own[ENGINE]))
            remedy = ". A daemon under which arbd was upgraded has to be restarted" if changed else ""
            raise CodeChangedError(f"{'; '.join(each.text for each in found)}; {REMEDY}{remedy}")
        self.require_engine()
        if spec.objective.kind != "python" or spec.objective.interpreter:
            # Nothing of it is loaded in this process.
            return
        module = spec.objective.target[0].partition(":")[0]
        if self._objective not in ("", module):
            raise StaleProcessError(f"this process has loaded the objective module {self._objective}")
        self.modules.require_current(_by_name(expected))
        self._objective = module
        self.serve(expected)

    def serve(self, expected: Mapping[str, str]) -> None:
        """From now on modules are loaded for a session with these parts."""
        if self.modules.refusal:
            raise StaleProcessError(self.modules.refusal)
        self.modules.expected = _by_name(expected)

    def require_engine(self) -> None:
        """StaleEngineError when arbd's own files are not those any more that this process began with."""
        now = read_engine()
        if now != engine():
            names = [name for name, digest in now.files.items() if engine().files.get(name) != digest]
            raise StaleEngineError(
                f"arbd's own code on this host was changed while it ran ({', '.join(names[:3]) or 'files are gone'}): "
                "restart the daemon"
            )

    @property
    def refusal(self) -> str:
        """Why something that an objective asked for was not run; it may have gone on without, so its results do not count."""
        return self.modules.refusal


def _by_name(parts: Mapping[str, str]) -> dict[str, str]:
    return {part.removeprefix(MODULE): digest for part, digest in parts.items() if part.startswith(MODULE)}
