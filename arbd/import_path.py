"""Where modules are imported from: never from the folder that somebody happens to be in.

Keeps I7 for imports: a daemon, an `arbctl run` and the processes of both take modules from Python's own places, from
absolute folders in `PYTHONPATH`, and (in slots) from `objective_paths`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SAFE_PATH = "PYTHONSAFEPATH"
# Any value has the same effect; this one says who set it.
OURS = "arbd"


def leave_current_folder() -> None:
    """At the start of a command: take the folder of the script, the current one and relative ones out of `sys.path`.

    Processes that it starts begin like that.
    """
    home = str(Path(__file__).parent.parent)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep) if "PYTHONPATH" in os.environ else []
    absolute = [entry for entry in given if Path(entry).is_absolute()]
    unsafe = {str(Path(entry).absolute()) for entry in given} - set(absolute) - {home}
    if not sys.flags.safe_path and sys.path:
        # What Python puts first because of how it was started; without it the same folder may stand further behind.
        started_from = {"", str(Path.cwd()), str(Path(sys.argv[0]).absolute().parent)}
        if sys.path[0] in started_from:
            del sys.path[0]
    sys.path[:] = [entry for entry in sys.path if Path(entry).is_absolute() and entry not in unsafe]
    os.environ.setdefault(SAFE_PATH, OURS)
    if given:
        os.environ["PYTHONPATH"] = os.pathsep.join(absolute)


def spare_own_processes() -> None:
    """In a slot: programs that an objective starts find the modules beside them, unless the user forbade it."""
    if os.environ.get(SAFE_PATH) == OURS:
        del os.environ[SAFE_PATH]
