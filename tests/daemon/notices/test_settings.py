"""What `notify:` of the settings may say; and that no error and no text shows its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arbd.daemon.host.config import load_config
from arbd.daemon.notices.message import notices_of
from arbd.daemon.notices.settings import Happening, MailSettings, NotifySettings, Target, parse_targets
from arbd.errors import UsageError
from arbd.spool.provenance import Submission
from arbd.spool.session_index import Ended

SECRET = "https://user:pw@hooks.example.org/T000/s3cret?token=s3cret"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("desk", "at most 20 targets"),
        ({"Desk!": {"webhook": SECRET}}, "a target's name"),
        ({"desk": SECRET}, "expected settings"),
        ({"desk": {}}, "one way"),
        ({"desk": {"webhook": SECRET, "exec": ["/bin/true"]}}, "one way"),
        ({"desk": {"webhook": f"ftp{SECRET}"}}, "http://"),
        ({"desk": {"webhook": "https://:99999999/s3cret"}}, "http://"),
        ({"desk": {"exec": "tell"}}, "absolute path"),
        ({"desk": {"mail": ["anna"]}}, "no mail address"),
        ({"desk": {"mail": ["anna@example.org\nBcc: x@example.org"]}}, "no mail address"),
        ({"desk": {"webhook": SECRET, "events": ["ended"]}}, "did you mean 'end'"),
        ({"desk": {"webhook": SECRET, "failed_pct": 101}}, "0 to 100"),
        ({"desk": {"webhook": SECRET, "attempts": 0}}, "1 to 100"),
        ({"desk": {"webhook": SECRET, "attempts": 2.5}}, "integer"),
        ({"desk": {"webhook": SECRET, "event": ["end"]}}, "did you mean 'events'"),
        ({"desk": {"exec": "/bin/true", "token_file": "/x"}}, "for a webhook"),
    ],
)
def test_a_target_that_cannot_be_meant_is_told_by_its_place_and_without_its_secrets(settings: Any, said: str) -> None:
    with pytest.raises(UsageError, match=r"a.yaml, line 2: notify.targets") as error:
        parse_targets(settings, "a.yaml, line 2: notify.targets")
    assert said in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("smtp", "said"),
    [
        (MailSettings(), "host and sender"),
        (MailSettings("mail", sender="arbd"), "an address"),
        (MailSettings("mail", sender="a@b.c", security="ssl"), "none, starttls, tls"),
        (MailSettings("mail", sender="a@b.c", port=0), "1 to 65535"),
        (MailSettings("mail", sender="a@b.c", user="arbd"), "password_file"),
        (MailSettings("mail", sender="a@b.c", user="arbd", password_file="/pw"), "starttls or tls"),
    ],
)
def test_mail_that_could_not_be_sent_is_refused_beforehand(smtp: MailSettings, said: str) -> None:
    with pytest.raises(UsageError, match=r"notify.smtp") as error:
        NotifySettings((Target("desk", mail=("a@b.c",)),), smtp).check("a.yaml")
    assert said in str(error.value)


def test_nothing_that_is_printed_of_a_target_shows_its_url(tmp_path: Path) -> None:
    path = tmp_path / "arbd.yaml"
    path.write_text(f"notify: {{targets: {{desk: {{webhook: '{SECRET}', events: [failure, end]}}}}}}\n")
    config = load_config(path, {})
    (target,) = config.notify.targets
    assert target.events == (Happening.END, Happening.FAILURE)
    assert target.shown == "webhook https://hooks.example.org/..."
    for text in (repr(config), repr(target), target.shown):
        assert "s3cret" not in text
        assert "pw" not in text


def ended(counts: tuple[int, int, int, int], **more: Any) -> Ended:
    return Ended(session_id="s", n=10, counts=counts, **more)


@pytest.mark.parametrize(
    ("target", "entry", "expected"),
    [
        (Target("t", events=tuple(Happening)), ended((10, 0, 0, 0)), "end verdict"),
        (Target("t", events=tuple(Happening)), ended((4, 2, 2, 2)), "end failure verdict"),
        (Target("t", events=tuple(Happening)), ended((5, 1, 0, 0), cancelled=True), "end"),
        (Target("t", events=(Happening.FAILURE,), failed_pct=0), ended((9, 1, 0, 0)), "failure"),
        (Target("t", events=(Happening.FAILURE,), failed_pct=0), ended((9, 0, 0, 0)), ""),
        (Target("t", events=(Happening.FAILURE,)), ended((0, 0, 0, 0), cancelled=True), ""),
        (Target("t", user=("bob",)), ended((1, 0, 0, 0)), ""),
        (Target("t", user=("bob",)), ended((1, 0, 0, 0), submission=Submission(user="bob")), "end"),
        (Target("t", label=("desk=btc",)), ended((1, 0, 0, 0), labels={"desk": "eth"}), ""),
        (Target("t", label=("desk",)), ended((1, 0, 0, 0), labels={"desk": "eth"}), "end"),
    ],
)
def test_a_target_is_told_of_what_it_asks_for(target: Target, entry: Ended, expected: str) -> None:
    assert " ".join(notice.happening.value for notice in notices_of(target, entry)) == expected


@pytest.mark.parametrize(
    "other",
    [{"n": 11}, {"epoch": 1}, {"cancelled": True}, {"started_ns": 5}, {"submission": Submission(user="x", wall_ns=7)}],
)
def test_another_end_has_another_key_and_what_comes_late_changes_none(other: dict[str, Any]) -> None:
    first = {"session_id": "s", "n": 10, "counts": (10, 0, 0, 0)}
    assert Ended(**first).end_key != Ended(**(first | other)).end_key
    late = {"ended_ns": 9, "duplicates": 3, "number": 4, "counts": (9, 1, 0, 0), "labels": {"a": "b"}}
    assert Ended(**first).end_key == Ended(**(first | late)).end_key
