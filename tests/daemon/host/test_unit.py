"""The drop-in that fits the systemd unit to the settings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from arbd.daemon.__main__ import cli
from arbd.daemon.host import unit as units
from arbd.daemon.host.config import Config, load_config
from arbd.daemon.host.unit import drop_in, require_own, unit_name, write
from arbd.errors import SpoolError, UsageError
from tests.conftest import REPOSITORY


def lines(config: Config) -> list[str]:
    return [line for line in drop_in(config).splitlines() if line and not line.startswith("#")]


def settings(tmp_path: Path, text: str) -> Config:
    (tmp_path / "arbd.yaml").write_text(text)
    return load_config(tmp_path / "arbd.yaml", {})


def test_the_shipped_settings_open_nothing() -> None:
    assert lines(load_config(REPOSITORY / "etc/arbd.yaml", {})) == [
        "[Unit]", "RequiresMountsFor=/var/lib/arbd/spool", "[Service]", "TimeoutStopSec=60",
    ]  # fmt: skip


def test_what_the_settings_name_is_opened(tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        "spool: /mnt/nas/spool\ndata_dirs: [/mnt/nas/data, /home/quant/my data]\nobjective_paths: [/srv/50%]\n"
        "drain_timeout_s: 120\ncache_dir: /scratch/arbd\n"
        "mirror: {redis: {url: 'rediss://user:secret@cache.lan:6380/0'}}\n"
        "metrics: {listen: '0.0.0.0:9464', textfile: /var/lib/prometheus/node-exporter/arbd.prom}\n",
    )
    assert lines(config) == [
        "[Unit]",
        'RequiresMountsFor=/mnt/nas/spool /mnt/nas/data "/home/quant/my data" /srv/50%%',
        "[Service]",
        "TimeoutStopSec=150",
        "ReadWritePaths=/mnt/nas/spool /scratch/arbd /var/lib/prometheus/node-exporter",
        "ProtectHome=tmpfs",
        'BindReadOnlyPaths="/home/quant/my data"',
        "IPAddressDeny=",
        "IPAddressAllow=",
    ]
    text = drop_in(config)
    assert "mirror.redis.url rediss://user:***@cache.lan:6380/0, metrics.listen 0.0.0.0:9464" in text
    assert "secret" not in text


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379", "redis://[::1]:6379", "redis://localhost", "unix:///run/r"])
def test_a_redis_on_this_host_needs_no_network(tmp_path: Path, url: str) -> None:
    assert "IPAddressDeny=" not in lines(
        settings(tmp_path, f"mirror: {{redis: {{url: '{url}'}}}}\nmetrics: {{listen: '9464'}}\n")
    )


def test_a_spool_in_a_home_is_bound_writable(tmp_path: Path) -> None:
    assert "BindPaths=/root/spool" in lines(settings(tmp_path, "spool: /root/spool\n"))


def test_a_path_that_no_unit_can_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be named in a systemd unit"):
        drop_in(settings(tmp_path, 'spool: "/mnt/a\\nExecStartPre=/bin/false"\n'))


def test_it_is_written_whole_and_for_an_instance_too(tmp_path: Path) -> None:
    assert write("text\n", None, tmp_path) == tmp_path / "arbd.service.d" / "settings.conf"
    assert (tmp_path / "arbd.service.d" / "settings.conf").read_text() == "text\n"
    assert write("other\n", "second", tmp_path).parent.name == "arbd@second.service.d"
    assert [path.name for path in (tmp_path / "arbd.service.d").iterdir()] == ["settings.conf"]
    with pytest.raises(UsageError, match="instance '../x' is not usable"):
        unit_name("../x")
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="cannot be written: Not a directory"):
        write("text\n", None, tmp_path / "file")


def test_the_command_shows_it_and_tells_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "arbd.yaml").write_text("spool: /mnt/nas/spool\n")
    shown = CliRunner().invoke(cli, ["unit", "--config", str(tmp_path / "arbd.yaml")])
    assert (shown.exit_code, "RequiresMountsFor=/mnt/nas/spool\n" in shown.output) == (0, True)
    (tmp_path / "arbd.yaml").write_text("spoool: /mnt/nas/spool\n")
    refused = CliRunner().invoke(cli, ["unit", "--config", str(tmp_path / "arbd.yaml")])
    assert (refused.exit_code, "did you mean 'spool'" in refused.output) == (2, True)


def test_systemd_accepts_unit_and_drop_in(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze on this machine")
    config = settings(
        tmp_path, 'spool: /mnt/nas/spool\ndata_dirs: ["/home/x/my data"]\nmetrics: {listen: "0.0.0.0:9464"}\n'
    )
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o755)
    for name in ("arbd.service", "arbd@.service"):
        text = (REPOSITORY / "systemd" / name).read_text().replace("/opt/arbd/bin/arbd", str(tmp_path / "run"))
        # The manual pages are where the package is installed.
        text = "\n".join(line for line in text.splitlines() if not line.startswith("Documentation="))
        target = tmp_path / name.replace("@.", "@one.")
        target.write_text(text + "\n")
        write(drop_in(config), "one" if "@" in name else None, tmp_path)
        command = [tool, "verify", "--man=no", str(target)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("executor", "needs_network"),
    [
        ("{kind: dask, scheduler: 'tls://head:8786'}", True),
        ("{kind: dask, scheduler: 'tcp://127.0.0.1:8786'}", False),
        ("{kind: dask, scheduler: 'localhost:8786'}", False),
        ("{kind: factory, factory: 'cluster:executor'}", True),
    ],
)
def test_an_executor_beyond_this_host_is_let_at_the_network(tmp_path: Path, executor: str, needs_network: bool) -> None:
    assert ("IPAddressDeny=" in lines(settings(tmp_path, f"executor: {executor}\n"))) is needs_network


def test_archives_are_written_and_those_who_are_told_are_reached(tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        "spool: /var/lib/arbd/spool\n"
        "retention: {archive_dir: /mnt/archive, rules: [{action: archive, older_than: 1d}]}\n"
        "notify:\n"
        "  smtp: {host: 127.0.0.1, sender: a@b.c, user: x, security: tls, password_file: /home/arbd/password}\n"
        "  targets: {here: {webhook: 'http://127.0.0.1:9/secret'}, anna: {mail: anna@b.c}}\n",
    )
    assert lines(config) == [
        "[Unit]",
        "RequiresMountsFor=/var/lib/arbd/spool /mnt/archive",
        "[Service]",
        "TimeoutStopSec=60",
        "ReadWritePaths=/mnt/archive",
        "ProtectHome=tmpfs",
        "BindReadOnlyPaths=/home/arbd/password",
    ]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("{webhook: 'https://hooks.lan/secret'}", "notify.targets.desk webhook https://hooks.lan/..."),
        ("{exec: [/usr/local/bin/page, --token, secret]}", "notify.targets.desk exec /usr/local/bin/page"),
        ("{mail: [anna@b.c]}", "notify.targets.desk mail to anna@b.c"),
    ],
)
def test_whom_to_tell_beyond_this_host_opens_the_network_and_shows_no_secret(
    tmp_path: Path, target: str, told: str
) -> None:
    config = settings(tmp_path, f"notify: {{smtp: {{host: mail.lan, sender: a@b.c}}, targets: {{desk: {target}}}}}\n")
    text = drop_in(config)
    assert f"# Beyond loopback: {told}.\nIPAddressDeny=" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("config", "instance", "allowed"),
    [
        (None, None, True),
        (None, "second", True),
        ("/etc/arbd/arbd.yaml", None, True),
        ("/etc/arbd/second.yaml", "second", True),
        ("/etc/arbd/second.yaml", None, False),
        ("/etc/arbd/arbd.yaml", "second", False),
        ("/home/anna/new.yaml", None, False),
    ],
)
def test_no_unit_is_written_from_settings_that_it_does_not_read(
    config: str | None, instance: str | None, allowed: bool
) -> None:
    path = Path(config) if config is not None else None
    if allowed:
        require_own(path, instance)
    else:
        with pytest.raises(UsageError, match="is left as it is"):
            require_own(path, instance)
    if config == "/etc/arbd/second.yaml" and instance is None:
        with pytest.raises(UsageError, match="--instance second"):
            require_own(path, instance)


def test_a_drop_in_that_settings_have_left_behind_is_found_before_a_daemon_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "SYSTEM_CONFIG", tmp_path / "arbd.yaml")
    for name, instance in (("arbd", None), ("second", "second")):
        (tmp_path / f"{name}.yaml").write_text("spool: /mnt/nas/spool\n")
        write(drop_in(load_config(tmp_path / f"{name}.yaml", {})), instance, tmp_path / "units")
    assert units.stale(tmp_path / "units") == []
    (tmp_path / "second.yaml").write_text("spool: /mnt/other\n")
    ((unit, remedy),) = units.stale(tmp_path / "units")
    assert unit == "arbd@second.service"
    assert remedy == "sudo arbd unit --instance second --write && sudo systemctl restart arbd@second.service"


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize(
    ("settings", "is_shut_out"),
    [
        ("spool: /mnt/nas/spool\n", True),
        ("spool: /home/desk/spool\n", True),
        ("spool: /var/lib/arbd/two\n", False),
        ("spool: /var/lib/arbd/two\nmetrics: {listen: '0.0.0.0:9100'}\n", True),
        ("spool: /var/lib/arbd/two\ndata_dirs: [/home/desk/data]\n", True),
    ],
)
def test_a_unit_that_was_never_fitted_to_its_settings_is_told_where_its_sandbox_shuts_it_out(
    is_enabled: bool, settings: str, is_shut_out: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "SYSTEM_CONFIG", tmp_path / "arbd.yaml")
    (tmp_path / "two.yaml").write_text(settings)
    wants = tmp_path / "units" / "multi-user.target.wants"
    wants.mkdir(parents=True)
    if is_enabled:
        (wants / "arbd@two.service").symlink_to("/lib/systemd/system/arbd@.service")
    told = [unit for unit, _ in units.stale(tmp_path / "units")]
    assert told == (["arbd@two.service"] if is_enabled and is_shut_out else [])
