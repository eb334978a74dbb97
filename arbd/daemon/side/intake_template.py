"""What the process that takes jobs up needs beside what evaluates: what reads and resolves them.

Imported by the server that it and slots are copies of, where jobs are taken up; nowhere else.
"""

from __future__ import annotations

import gc

# As of `arbd.daemon.slots.template`.
gc.disable()

from arbd.daemon.side.intake_process import warm_up  # noqa: E402

warm_up()
gc.freeze()
gc.enable()
