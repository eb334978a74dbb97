"""The section `executor` of the settings: what is refused, with the reason, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.daemon.executors import EXECUTORS
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.daemon.executors.versions import unfitness
from arbd.daemon.host.config import load_config
from arbd.errors import UsageError


def loaded(folder: Path, text: str):  # type: ignore[no-untyped-def]
    path = folder / "arbd.yaml"
    path.write_text(text)
    return load_config(path, {})


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786", "127.0.0.1:8786"]
)
def test_a_scheduler_on_loopback_needs_no_tls(tmp_path: Path, address: str) -> None:
    config = loaded(tmp_path, f"executor: {{kind: dask, scheduler: '{address}'}}\n")
    assert config.executor == ExecutorSettings("dask", scheduler=address)


@pytest.mark.parametrize(
    "address", ["tcp://head:8786", "head:8786", "ws://10.0.0.1:80", "tcp://127.0.0.1.evil.example:8786"]
)
def test_a_scheduler_of_another_host_without_tls_is_refused_unless_it_is_allowed(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="not encrypted"):
        loaded(tmp_path, f"executor: {{kind: dask, scheduler: '{address}'}}\n")
    assert (
        loaded(tmp_path, f"executor: {{kind: dask, scheduler: '{address}', unencrypted: true}}\n").executor.kind
        == "dask"
    )
    encrypted = address.replace("tcp://", "tls://") if "tcp://" in address else f"tls://{address.removeprefix('ws://')}"
    assert loaded(tmp_path, f"executor: {{kind: dask, scheduler: '{encrypted}'}}\n").executor.scheduler == encrypted


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("{kind: dask}", "scheduler is missing"),
        ("{kind: dask, scheduler: 'tls://head'}", "with a port"),
        ("{kind: factory}", "expected module:function"),
        ("{kind: factory, factory: module}", "expected module:function"),
        ("{kind: dsak, scheduler: 'tls://head:1'}", "did you mean 'dask'"),
        ("{scheduler: 'tls://head:1'}", "executor needs a kind"),
        ("{kind: dask, scheduler: 'tls://head:1', slots: 0}", "executor.slots is 0"),
        ("{kind: dask, schedulr: 'tls://head:1'}", "did you mean 'scheduler'"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused_with_the_reason(tmp_path: Path, section: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        loaded(tmp_path, f"executor: {section}\n")
    assert reason in str(refused.value)


def test_the_processes_of_this_host_are_used_beside_an_executor_only_if_they_are_named(tmp_path: Path) -> None:
    section = "executor: {kind: dask, scheduler: 'tls://head:1', slots: 200}\n"
    assert (loaded(tmp_path, section).slots, loaded(tmp_path, section).all_slots) == (0, 200)
    assert loaded(tmp_path, f"slots: 4\n{section}").all_slots == 204
    with pytest.raises(UsageError, match="slots is 0"):
        loaded(tmp_path, "slots: 0\n")


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    secret = tmp_path / "dask.yaml"
    secret.write_text("tls_ca_file: ca.pem\ntls_client_cert: a.pem\ntls_client_key: a.key\n")
    secret.chmod(0o644)
    settings = ExecutorSettings("dask", scheduler="tls://127.0.0.1:1", secret_file=secret)
    with pytest.raises(UsageError, match="chmod 600"):
        EXECUTORS.get("dask").make(settings)
    secret.write_text("tls_ca: ca.pem\n")
    with pytest.raises(UsageError, match="expected tls_ca_file"):
        EXECUTORS.get("dask").make(settings)


def test_a_factory_that_cannot_be_imported_says_where_it_was_looked_for() -> None:
    for factory in ("no_such_module:make", "json:no_such_function", "json:__doc__"):
        with pytest.raises(UsageError, match=r"executor\.factory"):
            EXECUTORS.get("factory").make(ExecutorSettings("factory", factory=factory))


def test_what_differs_is_named_and_nothing_else() -> None:
    here = {"arbd": "a" * 64, "python": "3.11.7", "numpy": "2.0.0"}
    assert unfitness(here, here) == ""
    assert unfitness(here, {**here, "numpy": "1.26.0"}) == "NumPy is 1.26.0 there, and 2.0.0 here"
    assert unfitness(here, {}).count(" is missing there") == 3
