"""Inside a virtual machine: runs what it is told on a serial line, one JSON object a line, and answers in the same way.

Asked {"id", "argv", "env", "wait"}, answers {"id", "pid"} at once and, with `wait`, {"id", "status", "out", "err"}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import termios
import threading
import tty

SAID_BYTES = 20_000


def main(device: str) -> None:
    """Serve until the machine ends."""
    line = os.open(device, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line, termios.TCSANOW)
    speaking = threading.Lock()

    def answer(**fields: object) -> None:
        with speaking:
            data = (json.dumps(fields) + "\n").encode()
            while data:
                data = data[os.write(line, data) :]

    def run(errand: dict[str, object]) -> None:
        try:
            process = begin(errand)
        except OSError as error:
            answer(id=errand["id"], pid=0, status=127, out="", err=str(error))
            return
        if not errand["wait"]:
            answer(id=errand["id"], pid=process.pid)
        out, err = process.communicate()
        if errand["wait"]:
            told = {
                "out": out[-SAID_BYTES:].decode(errors="replace"),
                "err": err[-SAID_BYTES:].decode(errors="replace"),
            }
            answer(id=errand["id"], status=process.returncode, **told)

    def begin(errand: dict[str, object]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(word) for word in errand["argv"]],  # type: ignore[attr-defined]
            env={**os.environ, **errand["env"]},  # type: ignore[dict-item]
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/code",
        )

    answer(id=0, pid=os.getpid())
    with os.fdopen(os.dup(line), "rb", buffering=0) as file:
        waiting = b""
        while True:
            waiting += file.read(4096)
            *lines, waiting = waiting.split(b"\n")
            for text in filter(None, lines):
                threading.Thread(target=run, args=(json.loads(text),), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
