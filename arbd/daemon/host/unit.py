"""What the systemd unit must know of the settings: which mounts to wait for, what may be written, which network.

The unit that is shipped lets the daemon into its own folders and loopback. This is the drop-in that opens what the
settings ask for, and nothing else.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from arbd.atomic_file import replace_file
from arbd.daemon.host.config import SYSTEM_CONFIG, Config, default_cache_dir, load_config
from arbd.errors import SpoolError, UsageError
from arbd.spool.layout import check_name

DROP_IN_ROOT = Path("/etc/systemd/system")
# What of a drop-in opens the sandbox.
OPENINGS = ("ReadWritePaths=", "ProtectHome=", "IPAddress")
DROP_IN_NAME = "settings.conf"
OWN_FOLDERS = (Path("/var/lib/arbd"), Path("/var/cache/arbd"))
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))
# After drain_timeout_s: final records in the spool, of the mirror, ends of processes.
AFTER_DRAIN_S = 30


def drop_in(config: Config) -> str:
    """The text of the drop-in. UsageError when a path cannot be had in a unit file."""
    archives = [Path(config.retention.archive_dir)] if config.retention.archive_dir else []
    readable = [config.spool, *config.data_dirs, *config.objective_paths, *archives]
    lines = [
        "# Made by `arbd unit --write` from the settings. Run it again when spool, data_dirs, objective_paths,",
        "# mirror, metrics, executor, retention, notify or drain_timeout_s change; then `systemctl restart`.",
        "[Unit]",
        f"RequiresMountsFor={' '.join(_quoted(path) for path in dict.fromkeys(readable))}",
        "",
        "[Service]",
        f"TimeoutStopSec={config.drain_timeout_s + AFTER_DRAIN_S:g}",
    ]
    writable = [path for path in _writable(config) if not _within(path, OWN_FOLDERS)]
    if writable:
        lines.append(f"ReadWritePaths={' '.join(_quoted(path) for path in dict.fromkeys(writable))}")
    hidden = [path for path in (*readable, *writable, *_read_by_notices(config)) if _within(path, HIDDEN)]
    if hidden:
        lines += [
            "# Homes are hidden from the service but for these.",
            "ProtectHome=tmpfs",
            *(
                f"{'BindPaths' if path in writable else 'BindReadOnlyPaths'}={_quoted(path)}"
                for path in dict.fromkeys(hidden)
            ),
        ]
    reasons = list(_beyond_loopback(config))
    if reasons:
        lines += [f"# Beyond loopback: {', '.join(reasons)}.", "IPAddressDeny=", "IPAddressAllow="]
    return "\n".join(lines) + "\n"


def _writable(config: Config) -> Iterator[Path]:
    yield config.spool
    # Unless the settings name another, the cache is where the unit says, whatever the environment of this shell.
    if config.cache_dir != default_cache_dir():
        yield config.cache_dir
    if config.metrics.textfile:
        yield Path(config.metrics.textfile).parent
    if config.retention.archive_dir:
        yield Path(config.retention.archive_dir)


def _read_by_notices(config: Config) -> Iterator[Path]:
    for target in config.notify.targets:
        yield from (Path(name) for name in (*target.exec[:1], target.token_file) if name)
    if config.notify.smtp.password_file:
        yield Path(config.notify.smtp.password_file)


def _beyond_loopback(config: Config) -> Iterator[str]:
    """What needs the network outside of this host."""
    redis = config.mirror.redis
    if redis and urlsplit(redis.url).scheme != "unix" and not _is_loopback(urlsplit(redis.url).hostname or ""):
        yield f"mirror.redis.url {redis.shown_url}"
    address = config.metrics.address
    if address is not None and not _is_loopback(address[0]):
        yield f"metrics.listen {config.metrics.listen}"
    scheduler = config.executor.scheduler
    host = urlsplit(scheduler if "://" in scheduler else f"//{scheduler}").hostname or ""
    # Where the executor of a function goes to is not known.
    if config.executor.kind and not (scheduler and _is_loopback(host)):
        yield f"executor {scheduler or config.executor.factory}"

    for target in config.notify.targets:
        # Where a program goes to is not known either.
        host = config.notify.smtp.host if target.mail else urlsplit(target.webhook).hostname or ""
        if target.exec or not _is_loopback(host):
            yield f"notify.targets.{target.name} {target.shown}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _within(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _quoted(path: Path) -> str:
    """A path as a unit file has it."""
    text = str(path)
    if any(ord(c) < 32 for c in text) or not path.is_absolute():
        raise UsageError(f"{text!r} cannot be named in a systemd unit: use an absolute path without control characters")
    text = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if any(c in text for c in " '\\") else text


def unit_name(instance: str | None) -> str:
    """`arbd.service`, or `arbd@INSTANCE.service`."""
    return f"arbd@{check_name(instance, 'instance')}.service" if instance else "arbd.service"


def settings_of(instance: str | None) -> Path:
    """The settings that a unit reads."""
    return SYSTEM_CONFIG.with_name(f"{instance}.yaml") if instance else SYSTEM_CONFIG


def require_own(config_path: Path | None, instance: str | None) -> None:
    """UsageError when settings are not those of the unit whose drop-in would be written from them."""
    own = settings_of(instance)
    if config_path is None or config_path.absolute() == own:
        return
    name = config_path.stem
    other = config_path.absolute().parent == own.parent and name != SYSTEM_CONFIG.stem
    remedy = (
        f"--instance {name} is the one that does" if other else "put them there, or leave --write out and look at them"
    )
    raise UsageError(f"{unit_name(instance)} reads {own}, not {config_path}, and is left as it is: {remedy}")


def stale(root: Path = DROP_IN_ROOT) -> list[tuple[str, str]]:
    """Units whose drop-in is not what their settings ask for now, and the command that writes it.

    One that begins at boot without a drop-in is told too, where the sandbox of the unit alone does not let it work.
    """
    found = []
    fitted = {path.name.removesuffix(".d") for path in root.glob("arbd*.service.d") if (path / DROP_IN_NAME).is_file()}
    for unit in sorted(fitted | {path.name for path in root.glob("*.wants/arbd*.service")}):
        instance = unit.removeprefix("arbd").removesuffix(".service").removeprefix("@") or None
        settings = settings_of(instance)
        if not settings.is_file():
            continue
        wanted = drop_in(load_config(settings, {}))
        if unit in fitted:
            is_stale = (root / f"{unit}.d" / DROP_IN_NAME).read_text() != wanted
        else:
            is_stale = any(line.startswith(OPENINGS) for line in wanted.splitlines())
        if is_stale:
            command = f"sudo arbd unit {f'--instance {instance} ' if instance else ''}--write"
            found.append((unit_name(instance), f"{command} && sudo systemctl restart {unit_name(instance)}"))
    return found


def write(text: str, instance: str | None, root: Path = DROP_IN_ROOT) -> Path:
    """Put the drop-in in its place; its path. SpoolError when that may not be written."""
    folder = root / f"{unit_name(instance)}.d"
    path = folder / DROP_IN_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        who = "" if os.getuid() == 0 else "; run it as root"
        raise SpoolError(f"{path} cannot be written: {error.strerror}{who}") from error
    return path


def tell_systemd() -> None:
    """Have systemd read its units again, where it runs."""
    if Path("/run/systemd/system").is_dir():
        done = subprocess.run(["systemctl", "daemon-reload"], check=False, capture_output=True, text=True)  # noqa: S607
        if done.returncode:
            raise SpoolError(f"systemctl daemon-reload: {done.stderr.strip()}")
