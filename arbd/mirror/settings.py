"""Which Redis mirrors the results, and under which names. Imports nothing heavy: the settings file needs it."""

from __future__ import annotations

import re
from dataclasses import field
from pathlib import Path

from arbd.errors import UsageError
from arbd.values import dataclass

SCHEMES = ("redis", "rediss", "unix")
MODE = "paper"
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """`mirror: redis:` of the settings. Without a `url` there is no mirror."""

    # Not in what is printed of the settings: it may hold a password.
    url: str = field(default="", repr=False)
    password_file: str = ""
    env: str = "production"
    key_prefix: str = "arbitrage"

    def __bool__(self) -> bool:
        """True when there is a mirror."""
        return bool(self.url)

    @property
    def namespace(self) -> str:
        """What every key begins with: `tuning:{env}:{mode}`."""
        return f"tuning:{self.env}:{MODE}"

    @property
    def shown_url(self) -> str:
        """The URL without its password, for logs and people."""
        scheme, separator, rest = self.url.partition("://")
        if not separator:
            return "***"
        # Up to the last @, whatever is in it: a password may hold characters that end a host elsewhere.
        credentials, at, place = rest.rpartition("@")
        user, colon, _ = credentials.partition(":")
        host = re.split(r"[?#]", place, maxsplit=1)[0]
        return f"{scheme}://{user if colon else ''}{':***' if at else ''}{at}{host}"

    @property
    def target(self) -> str:
        """Eight characters that are the same for all workers that mirror to the same place."""
        import hashlib  # noqa: PLC0415 - as above

        place = f"{self.shown_url} {self.namespace} {self.key_prefix}"
        return hashlib.sha256(place.encode()).hexdigest()[:8]

    def password(self) -> str | None:
        """What `password_file` holds; UsageError when it cannot be read."""
        if not self.password_file:
            return None
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UsageError(f"mirror.redis.password_file {self.password_file} cannot be read: {reason}") from error

    def _is_url(self) -> bool:
        from urllib.parse import urlsplit  # noqa: PLC0415 - every arbctl imports this module, few have a URL

        try:
            parts = urlsplit(self.url)
            port = None if parts.scheme == "unix" else parts.port
        except ValueError:
            return False
        return port is None or port > 0

    def check(self, source: str) -> None:
        """UsageError unless it can be used; `source` names the file."""
        place = f"{source}: mirror.redis"
        if self.url and self.url.partition("://")[0] not in SCHEMES:
            raise UsageError(
                f"{place}.url is {self.shown_url!r}; it begins with redis://, rediss:// or unix://, "
                "for example redis://127.0.0.1:6379/0"
            )
        if self.url and not self._is_url():
            raise UsageError(f"{place}.url is {self.shown_url!r}, which has no valid host or port")
        for name in ("env", "key_prefix"):
            value = getattr(self, name)
            if not value or not set(value) <= NAME_CHARACTERS:
                raise UsageError(f"{place}.{name} is {value!r}; it is made of letters, digits, '.', '_' and '-'")
