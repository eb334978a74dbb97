"""Dask over TLS: a daemon works with a scheduler whose authority it knows, and says what is wrong with any other."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.daemon.executors.settings import ExecutorSettings
from tests.clusters import DaskCluster
from tests.conftest import Arbctl, Daemons, wait_until

pytest.importorskip("distributed", reason="the extra `dask` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("openssl") is None, reason="openssl, which makes the certificates, is not installed"
    ),
]

JOB = """
session_id: s
objective: {python: "samples:slow"}
metric: value
tuning:
  method: sobol
  search_space: {x: {type: float, bounds: [0, 1]}}
  max_iterations: 20
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path) -> Path:
    """An authority of its own, and what it signed for everybody on this machine: `dask.yaml` names it for a daemon."""
    folder.mkdir()
    short = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        folder, "req", "-x509", *short, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"
    )
    openssl(folder, "req", *short, "-subj", "/CN=127.0.0.1", "-keyout", "host.key", "-out", "host.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(folder, "x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "host.pem")  # fmt: skip
    (folder / "dask.yaml").write_text("tls_ca_file: ca.pem\ntls_client_cert: host.pem\ntls_client_key: host.key\n")
    (folder / "dask.yaml").chmod(0o600)
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    made = DaskCluster(tmp_path / "cluster", tls=authority(tmp_path / "tls"))
    yield made
    made.stop()


def test_a_session_is_evaluated_over_tls_and_who_has_another_authority_or_none_is_told(
    arbctl: Arbctl, daemons: Daemons, cluster: DaskCluster, tmp_path: Path
) -> None:
    from arbd.daemon.executors.kinds.dask import DaskExecutor

    (tmp_path / "job.yaml").write_text(JOB)
    cluster.start_scheduler()
    cluster.start_worker()
    of_others = ExecutorSettings(
        kind="dask", scheduler=cluster.address, secret_file=authority(tmp_path / "others") / "dask.yaml", slots=1
    )
    without = ExecutorSettings(kind="dask", scheduler=cluster.address.replace("tls:", "tcp:"), slots=1)
    for settings in (of_others, without):
        stranger = DaskExecutor(settings)
        try:
            view = stranger.look()
            assert view.ready == 0
            assert f"the scheduler at {settings.scheduler}: " in view.waits_for
        finally:
            stranger.close()
    daemons.config.write_text(
        f"{daemons.config.read_text()}executor: {{kind: dask, scheduler: '{cluster.address}', slots: 1, "
        f"secret_file: {tmp_path / 'tls' / 'dask.yaml'}}}\n"
    )
    daemons.start("far", slots=0)
    assert arbctl("submit", tmp_path / "job.yaml")[0] == 0
    wait_until(lambda: json.loads(arbctl("status", "s", "--json")[1]).get("state") == "done", what="the end")
    assert json.loads(arbctl("status", "s", "--json")[1])["done"] == 20
