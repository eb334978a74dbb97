"""Who may ask: names, origins, tokens, in every combination."""

from __future__ import annotations

import itertools

import pytest

from arbd.errors import UsageError
from arbd.page.access import Access, Listen

TOKEN = "a-token-of-some-length"
HERE = Listen("127.0.0.1", 8765)
GOOD_HOSTS = ("127.0.0.1:8765", "localhost:8765", "LOCALHOST:8765", "[::1]:8765")
BAD_HOSTS = (
    "",
    "evil.example",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.0.0.1.evil.example:8765",
    "localhost:8765.evil.example",
    "192.0.2.1:8765",
)
GOOD_ORIGINS = ("http://127.0.0.1:8765", "http://localhost:8765", "https://localhost:8765")
BAD_ORIGINS = ("null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:8765.evil.example", "file://")
TOKENS = (None, "", "wrong", TOKEN[:-1], TOKEN + "x", "a-token-of-some-lengtħ")


def headers(host: str, origin: str | None = None, token: str | None = None) -> dict[str, str]:
    return {
        "host": host,
        **({} if origin is None else {"origin": origin}),
        **({} if token is None else {"authorization": f"Bearer {token}"}),
    }


def access(listen: Listen = HERE, *names: str, token: str | None = TOKEN, control: bool = True) -> Access:
    return Access.of(listen, listen.port, names, token, control=control)


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_a_page_is_shown_by_its_own_names(host: str) -> None:
    assert access().refusal(headers(host), changes=False, is_data=True) is None


@pytest.mark.parametrize(("host", "changes", "is_data"), [(h, c, d) for h in BAD_HOSTS for c in (0, 1) for d in (0, 1)])
def test_a_foreign_name_gets_nothing_even_with_the_token(host: str, changes: int, is_data: int) -> None:
    refused = access().refusal(headers(host, GOOD_ORIGINS[0], TOKEN), changes=bool(changes), is_data=bool(is_data))
    assert refused is not None
    assert refused[0] == 403


@pytest.mark.parametrize(("origin", "changes"), [(o, c) for o in BAD_ORIGINS for c in (False, True)])
def test_a_foreign_page_gets_nothing_even_with_the_token(origin: str, changes: bool) -> None:
    assert access().refusal(headers(GOOD_HOSTS[0], origin, TOKEN), changes=changes, is_data=True) == (
        403, "requests of other pages are refused",
    )  # fmt: skip


def test_what_changes_anything_names_its_page() -> None:
    assert access().refusal(headers(GOOD_HOSTS[0], None, TOKEN), changes=True, is_data=True) is not None
    assert access().refusal(headers(GOOD_HOSTS[0], GOOD_ORIGINS[0], TOKEN), changes=True, is_data=True) is None


@pytest.mark.parametrize("token", TOKENS)
def test_what_changes_anything_takes_the_whole_token(token: str | None) -> None:
    refused = access().refusal(headers(GOOD_HOSTS[0], GOOD_ORIGINS[0], token), changes=True, is_data=True)
    assert refused is not None
    assert refused[0] == 401


def test_a_page_that_only_shows_changes_nothing_whatever_is_sent() -> None:
    for token in (None, TOKEN):
        shown = access(token=token, control=False)
        refused = shown.refusal(headers(GOOD_HOSTS[0], GOOD_ORIGINS[0], TOKEN), changes=True, is_data=True)
        assert refused is not None
        assert refused[0] == 403


@pytest.mark.parametrize(
    ("token", "is_data"), list(itertools.product((*TOKENS, TOKEN), (False, True))), ids=lambda value: repr(value)
)
def test_where_others_reach_it_data_takes_the_token_and_the_empty_page_does_not(
    token: str | None, is_data: bool
) -> None:
    wide = access(Listen("192.0.2.7", 80), control=False)
    refused = wide.refusal(headers("192.0.2.7", None, token), changes=False, is_data=is_data)
    assert (refused is None) == (token == TOKEN or not is_data)


def test_a_request_that_another_site_made_is_refused_without_an_origin_too() -> None:
    told = headers(GOOD_HOSTS[0]) | {"sec-fetch-site": "cross-site"}
    assert access().refusal(told, changes=False, is_data=True) is not None
    assert access().refusal(told, changes=False, is_data=False) is None  # a link to the page


def test_names_behind_a_proxy_are_added() -> None:
    proxied = access(HERE, "arbd.example.org", "other:443")
    for host in ("arbd.example.org", "ARBD.example.org", "arbd.example.org:8765", "other:443"):
        assert proxied.refusal(headers(host, f"https://{host.lower()}"), changes=False, is_data=True) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("8765", ("127.0.0.1", 8765)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("127.0.0.1", 0)),
    ],
)
def test_an_address_is_understood(text: str, found: tuple[str, int]) -> None:
    assert (Listen.of(text).host, Listen.of(text).port) == found
    assert Listen.of(text).is_loopback


@pytest.mark.parametrize(
    "text", ["", "x", "127.0.0.1:", "127.0.0.1:http", "host.example:80", "1.2.3:80", "127.0.0.1:65536", "-1"]
)
def test_a_wrong_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        Listen.of(text)
