"""A real Slurm on loopback: munged, slurmctld and a slurmd of the test's own, which end with it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from tests.beds.needs import SEARCH, require_programs, require_root, wait_for
from tests.clusters import free_port

CONFIG = """
ClusterName=arbdtest
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000
ReturnToService=2
KillWait=5
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


class SlurmBed:
    """`with SlurmBed(folder) as slurm:`; commands through `run`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> SlurmBed:
        require_root()
        require_programs({"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"})
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        (self.folder / "slurm.conf").write_text(
            CONFIG.format(folder=self.folder, ctld_port=free_port(), slurmd_port=free_port())
        )
        try:
            self._start("munged", "--foreground", "--force", "--key-file", key, "--socket", self.folder / "munge.socket",
                        "--pid-file", self.folder / "munge.pid", "--log-file", self.folder / "munge.log",
                        "--seed-file", self.folder / "munge.seed")  # fmt: skip
            wait_for((self.folder / "munge.socket").exists, 20, "munged")
            self._start("slurmctld", "-D", "-i", "-f", self.folder / "slurm.conf")
            self._start("slurmd", "-D", "-N", "localhost", "-f", self.folder / "slurm.conf")
            wait_for(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False), 60, "Slurm's node")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.run("scancel", "--full", "--signal=KILL", "--user=root", check=False)
        self._end()

    @property
    def environment(self) -> dict[str, str]:
        """With which Slurm's commands, and its jobs, find it."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": SEARCH}

    def run(self, *command: str | Path, check: bool = True) -> str:
        """What a command of Slurm's prints."""
        done = subprocess.run(
            [str(part) for part in command],
            check=check,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
        )
        return done.stdout

    def _start(self, *command: str | Path) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=self.environment, start_new_session=True,
                )
            )  # fmt: skip

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
