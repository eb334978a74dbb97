"""Makes the golden folder of a version: a spool with every kind of record, and what that version says of it.

    python -m tests.golden.make_spools NAME [--prefix ENVIRONMENT]

Everything is done through the commands of the environment, so that this script outlives what they are made of.
README.md beside it says when to run it, and what happens to its output: nothing, ever.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import yaml

from tests.golden import jobs
from tests.golden.places import ARCHIVES, EXPECTED, GOLDEN, HOME, SPOOL, home_of

OUTAGE, SLEEP_S = "ARBD_GOLDEN_OUTAGE", "ARBD_GOLDEN_SLEEP_S"
REPOSITORY = Path(__file__).resolve().parents[2]
# Of these only the compacted results are kept; the others keep what their workers wrote, too.
WITHOUT_SEGMENTS = ("batch", "cmaes", "bayesian", "scenarios")
ARCHIVED = ("grid", "paper", "tpe", "cancelled", "batch")
REPLAYED = 3


class Maker:
    """Works below `home`; `prefix` is the environment whose `arbctl` and `arbd` write the spool."""

    def __init__(self, name: str, prefix: Path) -> None:
        self.name = name
        self.bin = prefix / "bin"
        self.home = home_of(name)
        self.work = Path(f"{self.home}-work")
        self.spool = self.work / SPOOL
        self.settings = self.work / "arbd.yaml"

    def command(self, program: str, *arguments: str | Path, spool: Path | None = None) -> list[str]:
        given = list(map(str, arguments))
        if program == "arbd":
            return [str(self.bin / "arbd"), "run", "--config", str(self.settings), "--spool", str(self.spool), *given]
        return [
            str(self.bin / "arbctl"), "--config", str(self.settings), "--spool", str(spool or self.spool), *given
        ]  # fmt: skip

    def arbctl(self, *arguments: str | Path, spool: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            self.command("arbctl", *arguments, spool=spool),
            env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def document(self, *arguments: str | Path) -> Any:
        return json.loads(self.arbctl(*arguments, "--json"))

    def worker(self, session: str, worker_id: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
        """A worker that goes on by itself, for sessions that are shared or disturbed."""
        command = self.command(
            "arbctl", "run", self.job(session), "--session-id", session, "--worker-id", worker_id, "--workers", "1"
        )
        return subprocess.Popen(
            command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def job(self, session: str) -> Path:
        return self.home / "jobs" / f"{session}.yaml"

    def prepare(self) -> None:
        for folder in (self.home, self.work):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.home / "jobs", self.home / "market", self.spool, self.work / ARCHIVES):
            folder.mkdir(parents=True)
        shutil.copytree(
            REPOSITORY / "tests" / "golden" / "objectives", self.home / "objectives",
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
        self.settings.write_text(
            f"allow: ['*']\nobjective_paths: [{self.home / 'objectives'}]\ncache_dir: {self.work / 'cache'}\n"
            "settle_s: 0.1\nscan_s: 0.1\nbeat_s: 0.2\nlease_s: 5\nchunk_target_s: 0.2\n"
        )
        quotes = self.home / "market" / "quotes.csv.gz"
        self.arbctl("market", "synth", "--output", quotes, "--ticks", "900", "--span-s", "86400", "--seed", "5")
        shutil.copyfile(REPOSITORY / "etc/scenarios/profitable_spread.yaml", self.home / "market" / "spread.yaml")
        for session, job in (jobs.finished_jobs(self.home) | jobs.unfinished_jobs()).items():
            self.job(session).write_text(yaml.safe_dump(job, sort_keys=False))
        self.job("waiting").write_text(yaml.safe_dump(jobs.waiting_job(), sort_keys=False))

    def make(self) -> None:
        """Every session, in an order in which each finds what it builds on."""
        for session in jobs.finished_jobs(self.home):
            if session == "grid":
                self.share_and_retry(session)
            else:
                self.run(session, "golden-a")
        (self.spool / "incoming" / "bad.yaml").write_text(jobs.REJECTED)
        # Before there is unfinished work, which a daemon would finish.
        daemon = self.command("arbd", "--worker-id", "golden-daemon", "--slots", "1", "--burst")
        subprocess.run(daemon, check=True, timeout=120, capture_output=True)
        for session in jobs.unfinished_jobs():
            self.disturb(session)
        self.arbctl("submit", self.job("waiting"), "--session-id", "waiting")
        for session in WITHOUT_SEGMENTS:
            self.arbctl("purge", session, "--segments", "--yes")
        for session in ARCHIVED:
            self.arbctl("archive", session, "--output", self.work / ARCHIVES / f"{session}.tar.gz")

    def run(self, session: str, worker_id: str, *, spool: Path | None = None) -> None:
        self.arbctl(
            "run", self.job(session), "--session-id", session, "--worker-id", worker_id, "--workers", "2", spool=spool
        )

    def share_and_retry(self, session: str) -> None:
        """Two workers at once while something is broken; mended, what failed is ordered to run again."""
        env = {OUTAGE: "1", SLEEP_S: "0.05"}
        workers = [self.worker(session, name, env) for name in ("golden-a", "golden-b")]
        for worker in workers:
            if worker.wait(120):
                raise SystemExit(f"{session}: {worker.stderr.read() if worker.stderr else ''}")
        shares = self.document("status", session)["workers"]
        if len(shares) < len(workers):
            raise SystemExit(f"one worker alone did all of {session}: run this again")
        self.arbctl("retry", session)
        self.run(session, "golden-b")

    def disturb(self, session: str) -> None:
        """Catch a session half way, then run it undisturbed elsewhere: what it has to become when it goes on."""
        worker = self.worker(session, "golden-a" if session != "killed" else "golden-killed", {SLEEP_S: "0.15"})
        give_up = time.monotonic() + 120
        while True:
            try:
                found = self.document("status", session)
            except SystemExit:
                found = {"done": 0, "claimed": 0}
            if found["done"] >= 8 and found["claimed"]:
                break
            if time.monotonic() > give_up or worker.poll() is not None:
                raise SystemExit(f"{session}: it was never half way; run this again")
            time.sleep(0.05)
        if session == "killed":
            worker.send_signal(signal.SIGKILL)
        else:
            self.arbctl("cancel" if session == "cancelled" else "pause", session)
        worker.wait(60)
        self.run(session, "undisturbed", spool=self._elsewhere())

    def _elsewhere(self) -> Path:
        spool = self.work / "undisturbed"
        spool.mkdir(exist_ok=True)
        return spool

    def rows(self, session: str, spool: Path | None = None) -> list[dict[str, Any]]:
        output = self.work / "rows.msgpack"
        self.arbctl("export", session, "--format", "msgpack", "--output", output, spool=spool)
        with output.open("rb") as file:
            return list(msgpack.Unpacker(file, strict_map_key=False))

    def expected(self) -> dict[str, Any]:
        """What this version says of each session, through its commands."""
        listed = self.document("list")
        workers = self.document("workers")
        sessions = {}
        for session in sorted(found["session_id"] for found in listed["sessions"]):
            print(f"  {session}", file=sys.stderr)
            rows = self.rows(session)
            sessions[session] = {
                "status": self.document("status", session),
                "summary": self.document("summary", session, "--top-n", "3"),
                "best": self.document("best", session, "--format", "json"),
                "rows": rows,
                "replays": self.replays(session, rows),
            }
            if session in jobs.unfinished_jobs():
                sessions[session]["undisturbed"] = self.rows(session, self._elsewhere())
        rejected = {path.name: path.read_text() for path in sorted((self.spool / "rejected").glob("*.txt"))}
        return {"list": listed, "workers": workers, "rejected": rejected, "sessions": sessions}

    def replays(self, session: str, rows: list[dict[str, Any]]) -> list[int]:
        """A few completed iterations, for which a replay must give the metrics of their rows."""
        ran = [row["iteration"] for row in rows if row["status"] == "completed" and row["metrics"]]
        chosen = ran[:: max(1, len(ran) // REPLAYED)][:REPLAYED]
        for iteration in chosen:
            done = subprocess.run(
                self.command("arbctl", "replay", session, str(iteration)), capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"  {session}, iteration {iteration}: this version cannot reproduce it", file=sys.stderr)
        return chosen

    def write(self) -> Path:
        """Put everything into the golden folder, which must not be there yet."""
        target = GOLDEN / self.name
        written = {"arbd": self.arbctl("--version").split()[-1], "python": sys.version.split()[0]}
        document = {"written_by": written, **self.expected()}
        for folder in (HOME, SPOOL, ARCHIVES):
            source = self.home if folder == HOME else self.work / folder
            shutil.copytree(source, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
        # Version control keeps no empty folders.
        spool = target / SPOOL
        empty = [path for path in spool.rglob("*") if path.is_dir() and not any(path.iterdir())]
        files = sorted(path for path in target.rglob("*") if path.is_file())
        document["empty_folders"] = sorted(str(path.relative_to(spool)) for path in empty)
        document["files"] = {
            str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }
        (target / EXPECTED).write_text(_lines(document))
        return target


def _lines(value: Any, depth: int = 0) -> str:
    """JSON with a line for each small thing, so that a golden file can be read."""
    if isinstance(value, dict | list) and value and depth < 4:
        indent = " " * (depth + 1)
        items = (
            [f"{indent}{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items()]
            if isinstance(value, dict)
            else [f"{indent}{_lines(item, depth + 1)}" for item in value]
        )
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return f"{opening}\n" + ",\n".join(items) + f"\n{' ' * depth}{closing}"
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the golden folder: the version that writes it")
    parser.add_argument("--prefix", type=Path, default=Path(sys.prefix), help="the environment whose arbctl is used")
    given = parser.parse_args()
    if (GOLDEN / given.name).exists():
        raise SystemExit(f"{GOLDEN / given.name} is there: a golden folder is never written again")
    maker = Maker(given.name, given.prefix.absolute())
    maker.prepare()
    maker.make()
    target = maker.write()
    for folder in (maker.work, maker.home):
        shutil.rmtree(folder)
    print(f"{target}: {sum(path.stat().st_size for path in target.rglob('*') if path.is_file()):,} bytes")


if __name__ == "__main__":
    main()
