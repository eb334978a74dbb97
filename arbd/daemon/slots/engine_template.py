"""What the paper engine needs beside what evaluates: its own modules, and LLVM, which loads its machine code.

Imported by the server that slots are copies of, where the paper engine may be asked for; nowhere else.
"""

from __future__ import annotations

import gc

# As of `template`.
gc.disable()

from arbd.objective import paper as _objective  # noqa: E402, F401 - what the first task imports
from arbd.paper.kernel import parameter_sets as _engine  # noqa: E402, F401 - as above
from arbd.paper.machine_code import made_for  # noqa: E402

made_for()
gc.freeze()
gc.enable()
