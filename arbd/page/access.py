"""Who may ask the live page: names that it answers to, pages that it belongs to, and the token.

A browser lets any page on the net send requests to this host. So a request must name a host that this page is called
by (a foreign name that resolves to here is refused), come from no other origin, and where it changes anything, or where
others than this host can reach the page, carry the token, which no other page knows.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping

from arbd.errors import UsageError
from arbd.values import dataclass

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
SCHEME = "Bearer "


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen at."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Listen:
        """`127.0.0.1:8765`, `[::1]:8765`, `8765`; UsageError for anything else."""
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or int(port) > 65_535:
            raise UsageError(f"--listen {text!r} is not a valid address: write HOST:PORT, for example 127.0.0.1:8765")
        bare = (host or "127.0.0.1").removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address("127.0.0.1" if bare == "localhost" else bare)
        except ValueError as error:
            raise UsageError(
                f"--listen {text!r}: {bare!r} is not an IP address of this host; names go to --host"
            ) from error
        return cls("127.0.0.1" if bare == "localhost" else bare, int(port))

    @property
    def is_loopback(self) -> bool:
        """True when this host alone can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def name(self) -> str:
        """As it stands in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host


@dataclass(frozen=True, slots=True)
class Access:
    """The rules. `names` are lower-case values that the Host header may have; `origins` those of Origin.

    `control`: who has the token may change sessions. `token_to_read`: reading takes it too.
    """

    names: frozenset[str]
    origins: frozenset[str]
    token: str | None
    control: bool
    token_to_read: bool

    @classmethod
    def of(cls, listen: Listen, port: int, more_names: tuple[str, ...], token: str | None, *, control: bool) -> Access:
        """For an address, the port that was bound, and names that a proxy or other hosts know it by."""
        wide = ipaddress.ip_address(listen.host).is_unspecified
        hosts = {*(LOOPBACK_NAMES if listen.is_loopback or wide else ()), *(() if wide else (listen.name,))}
        names = {f"{host}:{port}" for host in hosts} | ({*hosts} if port == 80 else set())
        for name in more_names:
            bare = name.lower()
            names |= {bare, bare if ":" in bare else f"{bare}:{port}"}
        origins = {f"{scheme}://{name}" for name in names for scheme in ("http", "https")}
        return cls(frozenset(names), frozenset(origins), token, control, token is not None and not listen.is_loopback)

    def refusal(self, headers: Mapping[str, str], *, changes: bool, is_data: bool) -> tuple[int, str] | None:
        """Why a request is refused, with its HTTP status; None when it may pass.

        `headers` have lower-case names. `is_data`: it asks for something of the spool, not for the page's own files.
        """
        if headers.get("host", "").lower() not in self.names:
            return (
                403,
                "this page is not called by that name: open it at the address that `arbctl serve` printed, or use --host",
            )
        origin = headers.get("origin")
        if (origin is not None and origin.lower() not in self.origins) or (changes and origin is None):
            return 403, "requests of other pages are refused"
        if is_data and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "requests of other pages are refused"
        if changes and not self.control:
            return 403, "this page only shows: start `arbctl serve` with --allow-control"
        if (changes or (is_data and self.token_to_read)) and not self._has_token(headers):
            return (
                401,
                "the token is missing or wrong: open the page with the whole address that `arbctl serve` printed",
            )
        return None

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        given = headers.get("authorization", "")
        told = given.removeprefix(SCHEME) if given.startswith(SCHEME) else ""
        return self.token is not None and hmac.compare_digest(told.encode(), self.token.encode())
