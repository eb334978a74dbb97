"""The daemon's settings: `arbd.yaml`, the environment, the command line; the later overrides the earlier."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbd.daemon.executors.settings import ExecutorSettings
from arbd.daemon.notices.settings import NotifySettings, parse_targets
from arbd.errors import UsageError
from arbd.mirror.settings import RedisSettings
from arbd.near_names import nearest
from arbd.spool.retention_rules import RetentionSettings, parse_rules
from arbd.spool.user_limits import UserLimits, parse_limits
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.strict_yaml import Document

SYSTEM_CONFIG = Path("/etc/arbd/arbd.yaml")
# As many as a claim record can tell.
MAX_REMOTE_SLOTS = 4096
DEFAULT_SPOOL = Path("/var/lib/arbd/spool")


def default_slots() -> int:
    """One per processor that this process may use."""
    return len(os.sched_getaffinity(0))


def default_worker_id() -> str:
    """The host's name without its domain."""
    return socket.gethostname().split(".")[0] or "worker"


def default_cache_dir() -> Path:
    """Where systemd says, else a folder of the user's."""
    told = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if told:
        return Path(told)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arbd"


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """Where else results go."""

    redis: RedisSettings = field(default_factory=RedisSettings)


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """How monitoring gets at the figures: `listen` is `host:port` or a port, `textfile` a file; empty is off."""

    listen: str = ""
    textfile: str = ""
    textfile_s: float = 15.0

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on, loopback unless a host is named; ValueError when it is neither."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError("expected host:port or a port, for example 127.0.0.1:9464")
        return host or "127.0.0.1", int(port)


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting; the comments of `etc/arbd.yaml` say what each is for."""

    spool: Path = DEFAULT_SPOOL
    worker_id: str = field(default_factory=default_worker_id)
    slots: int = field(default_factory=default_slots)
    cache_dir: Path = field(default_factory=default_cache_dir)
    cache_max_gb: float = 50.0
    allow: tuple[str, ...] = ("paper",)
    objective_paths: tuple[Path, ...] = ()
    data_dirs: tuple[Path, ...] = ()
    allowed_submitters: tuple[str, ...] = ()
    limits: Mapping[str, UserLimits] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    max_iterations: int = 100_000_000
    watch: str = "auto"
    scan_s: float = 1.0
    settle_s: float = 1.0
    intake_timeout_s: float = 300.0
    intake_memory_mb: int = 4096
    intake_read_gb: int = 256
    beat_s: float = 1.0
    lease_s: float = 60.0
    chunk_target_s: float = 2.0
    drain_timeout_s: float = 30.0
    log_level: str = "info"
    log_style: str = "auto"
    mirror: MirrorSettings = field(default_factory=MirrorSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)

    @property
    def all_slots(self) -> int:
        """Those of this host, and as many of an executor's as may be used."""
        return self.slots + (self.executor.slots if self.executor.kind else 0)


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "watch": ("auto", "inotify", "polling"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_style": ("auto", "text", "json", "journal"),
}


# Less memory does not hold what checks a job of no data at all.
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "slots": (1, 1024),
    "intake_memory_mb": (256, 1 << 30),
    "intake_read_gb": (1, 1 << 20),
}


def load_config(path: Path | None, environment: Mapping[str, str] | None = None) -> Config:
    """Read the file named, or `$ARBD_CONFIG`, or the system's if it exists; then `$ARBD_SPOOL` and the like.

    UsageError names the file, the line and the setting that is wrong.
    """
    env = os.environ if environment is None else environment
    told = path if path is not None else Path(env["ARBD_CONFIG"]) if env.get("ARBD_CONFIG") else None
    config = Config()
    if told is not None or SYSTEM_CONFIG.is_file():
        config = _read(config, told if told is not None else SYSTEM_CONFIG)
    if env.get("ARBD_SPOOL"):
        config = replace(config, spool=Path(env["ARBD_SPOOL"]).absolute())
    if env.get("ARBD_WORKER_ID"):
        config = replace(config, worker_id=env["ARBD_WORKER_ID"])
    return config


def override(config: Config, **settings: Any) -> Config:
    """The command line's settings over the rest; None means not given."""
    given = {name: value for name, value in settings.items() if value is not None}
    return _checked(replace(config, **given), "the command line")


def _read(config: Config, path: Path) -> Config:
    from arbd import strict_yaml  # noqa: PLC0415 - PyYAML is not needed where no file is read

    document = strict_yaml.load(path)
    settings = document.value if document.value is not None else {}
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: expected settings as `name: value` lines, see etc/arbd.yaml")
    if "executor" in settings and "slots" not in settings:
        # Who names somebody else's slots means those; this host's own are added by name.
        config = replace(config, slots=0)
    return _checked(_section(config, settings, path, document, ()), str(path))


def _section(before: Any, settings: Mapping[Any, Any], path: Path, document: Document, above: tuple[str, ...]) -> Any:
    """A settings dataclass with what the file says in place of what was there."""
    known = {item.name: getattr(before, item.name) for item in fields(before)}
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        line = document.locate((*above, name))[0]
        full = ".".join((*above, str(name)))
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
            raise UsageError(f"{path}, line {line}: unknown setting {full!r}{hint}")
        place = f"{path}, line {line}: {full}"
        if name == "limits" and not above:
            changed[name] = parse_limits(value, place)
        elif name == "labels" and not above:
            changed[name] = _labels(value, place)
        elif full == "retention.rules":
            changed[name] = parse_rules(value, place)
        elif full == "notify.targets":
            changed[name] = parse_targets(value, place)
        elif is_dataclass(known[name]):
            if not isinstance(value, dict):
                raise UsageError(
                    f"{place}: expected settings as `name: value` lines below it, got {_shown(value, place)}"
                )
            changed[name] = _section(known[name], value, path, document, (*above, name))
        else:
            changed[name] = _converted(known[name], value, place, path.parent)
    return replace(before, **changed)


def _labels(value: object, place: str) -> dict[str, str]:
    """Labels of this host; numbers and the like are taken as they are written."""
    if not isinstance(value, dict) or not all(isinstance(item, str | int | float) for item in value.values()):
        raise UsageError(f"{place}: expected labels as `name: value` lines below it")
    return {str(name): str(item).lower() if isinstance(item, bool) else str(item) for name, item in value.items()}


def _shown(value: object, place: str) -> str:
    """A value in an error; of what may hold a password only what kind of value it is."""
    secret = ": mirror" in place or ": notify" in place
    return f"a {type(value).__name__}" if secret else repr(value)


def _converted(default: object, value: object, place: str, folder: Path) -> object:
    """`value` in the type of `default`; relative paths are relative to the file's folder."""
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{place}: expected a list of strings, got {_shown(value, place)}")
        return (
            tuple(value)
            if place.endswith((": allow", ": allowed_submitters"))
            else tuple(folder / item for item in value)
        )
    if isinstance(default, Path):
        if not isinstance(value, str):
            raise UsageError(f"{place}: expected a path, got {_shown(value, place)}")
        return folder / value
    if isinstance(default, str):
        if place.endswith(": metrics.listen") and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise UsageError(f"{place}: expected a string, got {_shown(value, place)}")
        return value
    return _number(default, value, place)


def _number(default: object, value: object, place: str) -> object:
    """`value` as a number, or a truth value, of the type of `default`."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise UsageError(f"{place}: expected true or false, got {_shown(value, place)}")
        return value
    if isinstance(value, bool) or not isinstance(value, int if isinstance(default, int) else int | float):
        raise UsageError(
            f"{place}: expected {'an integer' if isinstance(default, int) else 'a number'}, got {_shown(value, place)}"
        )
    if not math.isfinite(value):
        raise UsageError(f"{place}: expected a finite number, got {_shown(value, place)}")
    return type(default)(value)  # type: ignore[call-arg]


def _checked(config: Config, source: str) -> Config:
    from arbd.spool.layout import check_name  # noqa: PLC0415 - keeps the import of this module light

    check_name(config.worker_id, f"{source}: worker_id")
    _check_executor(config.executor, source)
    for name, choices in _CHOICES.items():
        if getattr(config, name) not in choices:
            raise UsageError(f"{source}: {name} is {getattr(config, name)!r}; it can be {', '.join(choices)}")
    for name, (least, most) in _BOUNDS.items():
        if name == "slots" and config.executor.kind:
            least = 0  # noqa: PLW2901 - an executor has slots enough
        if not least <= getattr(config, name) <= most:
            raise UsageError(f"{source}: {name} is {getattr(config, name)}; it can be {least} to {most}")
    for name in _positive():
        if getattr(config, name) <= 0:
            raise UsageError(f"{source}: {name} is {getattr(config, name)!r}; it must be more than 0")
    config.mirror.redis.check(source)
    config.retention.check(source, config.spool)
    config.notify.check(source)
    _check_metrics(config.metrics, source)
    if config.lease_s < 3 * config.beat_s:
        raise UsageError(
            f"{source}: lease_s ({config.lease_s:g}) must be at least three times beat_s ({config.beat_s:g})"
        )
    return config


def _check_executor(settings: ExecutorSettings, source: str) -> None:
    if not settings.kind:
        if settings != ExecutorSettings():
            raise UsageError(f"{source}: executor needs a kind")
        return
    from arbd.daemon.executors import EXECUTORS  # noqa: PLC0415 - few have one

    if settings.kind not in EXECUTORS.names():
        raise UsageError(f"{source}: executor.kind: {EXECUTORS.unknown_text(settings.kind)}")
    if not 1 <= settings.slots <= MAX_REMOTE_SLOTS:
        raise UsageError(f"{source}: executor.slots is {settings.slots}; it can be 1 to {MAX_REMOTE_SLOTS:,}")
    if wrong := EXECUTORS.get(settings.kind).check(settings):
        raise UsageError(f"{source}: executor.{wrong}")


def _check_metrics(metrics: MetricsSettings, source: str) -> None:
    try:
        metrics.address  # noqa: B018 - asked for its error
    except ValueError as error:
        raise UsageError(f"{source}: metrics.listen is {metrics.listen!r}; {error}") from error
    if metrics.textfile_s <= 0:
        raise UsageError(f"{source}: metrics.textfile_s is {metrics.textfile_s!r}; it must be more than 0")
    if metrics.textfile and not metrics.textfile.endswith(".prom"):
        raise UsageError(f"{source}: metrics.textfile is {metrics.textfile!r}; node_exporter reads NAME.prom only")


def _positive() -> Sequence[str]:
    return (
        "scan_s",
        "settle_s",
        "beat_s",
        "lease_s",
        "chunk_target_s",
        "cache_max_gb",
        "drain_timeout_s",
        "max_iterations",
        "intake_timeout_s",
    )
