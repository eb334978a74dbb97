"""What the process that takes jobs up needs beside what evaluates: what reads and resolves them.

Imported by the server that it and slots are copies of, where jobs are taken up; nowhere else.
"""

from __future__ import annotations

import gc

from arbd.daemon.side import intake_process as _process  # noqa: F401 - what the copy begins with
from arbd.daemon.side.intake import warm_up

warm_up()
gc.collect()
gc.freeze()
