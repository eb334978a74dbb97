"""Where `arbctl` starts: it can be interrupted from the first moment on, before the command line itself is loaded."""

from __future__ import annotations

import importlib
import sys

from arbd.cli.ending import STATUS, end


def main() -> None:
    """Entry point."""
    # `signal` itself takes a millisecond to load, in which one could be interrupted.
    system = importlib.import_module("_signal")
    is_ignored = system.getsignal(system.SIGINT) == system.SIG_IGN
    if not is_ignored:
        system.signal(system.SIGINT, end)
    from arbd.cli.interrupts import Interrupts

    interrupts = Interrupts(is_ignored)
    try:
        from arbd.cli.__main__ import call, prepare

        prepare()
        interrupts.raise_in_command()
        code = call(sys.argv[1:])
    except KeyboardInterrupt:
        end()
    except Exception:
        # A library that was interrupted in the middle may say so in its own words.
        if not interrupts.received:
            raise
        end()
    interrupts.end_at_once()
    sys.exit(STATUS if interrupts.received and code == 0 else code)


if __name__ == "__main__":
    main()
