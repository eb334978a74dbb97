"""What the paper engine needs beside what evaluates: its own modules, and LLVM, which loads its machine code.

Imported by the server that slots are copies of, where the paper engine may be asked for; nowhere else.
"""

from __future__ import annotations

import gc

from arbd.objective import paper as _objective  # noqa: F401 - what the first task imports
from arbd.paper.kernel import parameter_sets as _engine  # noqa: F401 - as above
from arbd.paper.machine_code import made_for

made_for()
gc.collect()
gc.freeze()
