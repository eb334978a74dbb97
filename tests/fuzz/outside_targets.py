"""What reads what other programs wrote: exchanges' dumps, folders of days, settings, Redis's replies, commands' output."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import redis

from arbd.daemon.host.config import load_config
from arbd.mirror.settings import RedisSettings
from arbd.mirror.state import StateManager
from arbd.mirror.sweep import SpoolMirror
from arbd.mirror.verify import verify
from arbd.objective.command import metrics_line
from arbd.objective.protocol import Trial, check_outcome
from arbd.paper.market.cache import load_days
from arbd.paper.market.days import DayFiles
from arbd.paper.market.importers import VenueOptions, import_venue, join_venues
from arbd.paper.market.importers.formats import FORMATS
from arbd.paper.market.importers.funding import read_funding
from arbd.paper.market.importers.funding_formats import FUNDING_FORMATS
from tests.conftest import REPOSITORY
from tests.fuzz.mutations import FLOATS, INTEGERS, TEXTS, hostile, mutate_bytes, mutate_job
from tests.fuzz.packed import repacked, zipped
from tests.fuzz.people import at_home, cleanly, mutated_table, sound
from tests.fuzz.seeds import quotes_file
from tests.fuzz.wrong_redis import answers, wrong_redis
from tests.paper.dumps import FILES, FUNDING_FILES, stored

DUMPS = [(name, *file) for name, files in FILES.items() for file in files]
FUNDING_DUMPS = [(name, *file) for name, files in FUNDING_FILES.items() for file in files]
# The shipped settings, with those that it leaves to the host.
SETTINGS = (
    (REPOSITORY / "etc" / "arbd.yaml").read_bytes()
    + b"""
worker_id: host-a
slots: 8
cache_dir: cache
data_dirs: [data]
allowed_submitters: [alice, "@quants"]
limits: {"@interns": {slots: 4, sessions: 2}, "*": {queued: 500}}
labels: {gpu: "yes", site: tokyo}
"""
)
for _empty in (b"data_dirs: []\n", b"allowed_submitters: []\n", b"limits: {}\n", b"labels: {}\n"):
    SETTINGS = SETTINGS.replace(_empty, b"")
LINES = [
    b"", b"{}", b"[]", b"null", b"1", b"NaN", b'{"value": 1}', b'{"value": 1.5, "other": null}', b'{"value": "1"}', b'{"value": true}',
    b'{"value": 1e999}', b'{"value": -Infinity}', b'{"value": ' + b"9" * 400 + b"}", b'{"value": ' + b"9" * 5_000 + b"}", b'{"": 1}',
    b'{"v\\u0000": 1}', b'{"v\\ud800": 1}', b'{"' + b"v" * 300 + b'": 1}', b'{"value": 1, "value": 2}', b"[" * 50_000, b'{"a":' * 50_000,
    b'{"value": [1]}', b'{"value": {"a": 1}}', b"\xff\xfe", b'\xef\xbb\xbf{"value": 1}', b'{"value": 1}\x00', b"'value'",
    b"{" + b",".join(b'"m%d": 1' % i for i in range(1_001)) + b"}",
]  # fmt: skip

# What stands before the file itself.
DEEP = [
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xef\xbb\xbf",
    b"\n" * 1_000,
    b"null\n",
    b'{"a":1,"a":2}\n',
    b"[]",
    b"\x00",
    b"[[]]\n",
]


def _packed(rng: random.Random, name: str, data: bytes) -> tuple[str, bytes]:
    kind = rng.random()
    if kind >= 0.25:
        return name, data
    if kind >= 0.1:
        return f"{name}{rng.choice(['.gz', '.zip', '.tar.gz', '.tgz', '.zst'])}", repacked(rng, data)
    packed = zipped(name, data)
    return f"{name}.zip", mutate_bytes(rng, packed) if rng.random() < 0.5 else packed


def _mutated_dump(rng: random.Random, name: str, content: str | bytes) -> tuple[str, bytes]:
    data = content.encode() if isinstance(content, str) else content
    if name.endswith(".npz"):
        return name, mutate_bytes(rng, data)
    if name.endswith(".csv"):
        return _packed(rng, name, mutated_table(rng, data))
    return _packed(rng, name, _mutated_json(rng, data))


def _mutated_json(rng: random.Random, data: bytes) -> bytes:
    """Bytes of it, or one value or key in it that nobody expects."""
    if rng.random() < 0.5:
        return mutate_bytes(rng, data)
    text = data.decode()
    ends = [at for at, letter in enumerate(text) if letter in ",:]}"]
    if rng.random() < 0.1:
        return rng.choice(DEEP) + data
    for _ in range(rng.randint(1, 3)):
        at = rng.choice(ends)
        start = max(text.rfind(letter, 0, at) for letter in ",:[{") + 1
        odd = rng.choice(
            [
                *map(str, INTEGERS),
                "NaN",
                "1e999",
                "null",
                "true",
                "[]",
                "{}",
                '""',
                '"x"',
                '"' + "1" * 400 + '"',
                "9" * 5_000,
                "-0.0",
                '"NaN"',
                '"1e400"',
                '"\\ud800"',
                "1,1",
                '1,"ts":1,"T":2,"b":[],"a":[]',
                "[" * 5_000 + "]" * 5_000,
                "{" + ",".join(f'"k{i}":{i}' for i in range(300)) + "}",
                "[" * 40,
            ]
        )
        text = text[:start] + odd + text[at:]
        ends = [place for place, letter in enumerate(text) if letter in ",:]}"] or [0]
    return text.encode()


def import_dumps(bench: Any) -> None:
    """Every dump as it is: what compiles once is compiled."""
    folder: Path = bench.corpus.folder / "dumps"
    folder.mkdir()
    for name, file, content in DUMPS:
        path = stored(folder / file, content)
        half_spread = 1.0 if FORMATS.get(name).candles else None
        venue = import_venue(name, [path], VenueOptions(half_spread_bps=half_spread)).quotes
        join_venues(venue, venue, 1.0, "both", None)
    for name, file, content in FUNDING_DUMPS:
        read_funding(FUNDING_FORMATS.get(name), [stored(folder / file, content)])
    shutil.rmtree(folder)


@at_home
def dump(bench: Any, rng: random.Random, folder: Path) -> str:
    """A file of an exchange through its importer, or through another's; joined with itself."""
    name, file, content = rng.choice(DUMPS)
    if rng.random() < 0.05:
        name = rng.choice(list(FILES))
    file, data = _mutated_dump(rng, file, content)
    path = folder / file
    path.write_bytes(data)

    def step() -> None:
        half_spread = 1.0 if FORMATS.get(name).candles else None
        venue = import_venue(
            name, [path], VenueOptions(rng.choice(["refuse", "drop"]), half_spread_bps=half_spread)
        ).quotes
        sound(join_venues(venue, venue, 1.0, "both", rng.choice([None, 10**9])).quotes)

    return cleanly(step)


@at_home
def funding(bench: Any, rng: random.Random, folder: Path) -> str:
    """A file of funding rates through its importer."""
    name, file, content = rng.choice(FUNDING_DUMPS)
    file, data = _mutated_dump(rng, file, content)
    path = folder / file
    path.write_bytes(data)

    def step() -> None:
        found = read_funding(FUNDING_FORMATS.get(name), [path], rng.choice([None, "BTCUSDT"]))
        assert (np.diff(found.ts_ns) > 0).all() and (np.abs(found.rate) < 1).all()

    return cleanly(step)


@at_home
def days(bench: Any, rng: random.Random, folder: Path) -> str:
    """A folder of one file for each day, some of them damaged, misnamed or of another kind."""
    home = folder / "days"
    home.mkdir()
    suffix = rng.choice([".csv", ".parquet"])
    for number in range(3):
        name = f"2025-01-0{number + 1}{suffix}"
        if rng.random() < 0.15:
            name = (
                rng.choice(["2025-13-01", "2025-01-01", "20250102", "x2025-01-02x", "2025-01-02 (copy)", "-"]) + suffix
            )
        path = home / name
        if path.exists():
            continue
        whole = quotes_file(suffix, number, 8, day=number)
        kind = rng.random()
        path.write_bytes(
            mutate_bytes(rng, whole)
            if kind < 0.2
            else mutated_table(rng, whole)
            if kind < 0.4 and suffix == ".csv"
            else whole
        )
        if rng.random() < 0.05:
            path.unlink()
            path.mkdir()

    def step() -> None:
        first, last = (rng.choice(["", "", "2025-01-01", "2025-01-02", "2025-02-30", "2025-01-03"]) for _ in range(2))
        found = DayFiles(home, rng.choice(["*", "*", "2025*", "*.csv", "?", "x", "\0", "\n*"]), first, last)
        assert DayFiles.parse(str(found)) == found
        sound(load_days(found, folder / "cache", rng.choice(["refuse", "drop"]))[0].quotes)

    return cleanly(step)


@at_home
def settings(bench: Any, rng: random.Random, folder: Path) -> str:
    """A file of settings."""
    path = folder / "arbd.yaml"
    path.write_bytes(mutate_job(rng, SETTINGS))
    return cleanly(lambda: load_config(path, {}))


def command_output(bench: Any, rng: random.Random) -> str:
    """What a program printed, as metrics of its iteration."""
    out = rng.choice(LINES) if rng.random() < 0.6 else mutate_bytes(rng, rng.choice(LINES))
    out = rng.choice([b"", b"working\n", b"\xff\n", b"\n" * 50]) + out + rng.choice([b"", b"\n", b"\r\n", b"\n\n  "])
    trial = Trial(1, 1, "s")

    def step() -> None:
        found = check_outcome(metrics_line(out, rng.choice([b"", b"oops\x1b[2J"])), trial)
        assert found.metrics and all(type(value) is float for value in found.metrics.values())

    return cleanly(step)


def redis_replies(bench: Any, rng: random.Random) -> str:
    """A mirror, its verifier and what asks how fit a Redis is, with one that answers nonsense."""
    with wrong_redis(answers(rng)) as place:
        # How long a mirror waits for half an answer is not the question.
        settings = RedisSettings(url=f"unix://{place}?socket_timeout=0.1", env="test")
        state = StateManager.connect(settings)

        def play(step: Callable[[], object]) -> str:
            try:
                return cleanly(step)
            except redis.RedisError as error:
                str(error).encode()
                return "refused"

        mirror = SpoolMirror(bench.files, bench.layout, state, settings)
        steps: list[Callable[[], object]] = [
            state.unfit,
            mirror.sweep,
            lambda: verify(bench.files, bench.layout.session("done"), state),
            lambda: state.remove_session("done"),
        ]
        try:
            return play(rng.choice(steps))
        finally:
            mirror.close()
            state.close()


def hostile_metrics(bench: Any, rng: random.Random) -> str:
    """What a function of a person's returned."""
    odd = [
        hostile(rng),
        rng.choice(FLOATS),
        rng.choice(INTEGERS),
        10**400,
        np.float32(1),
        np.array(1.0),
        np.array([1.0]),
        1j,
        object(),
    ]
    returned = rng.choice([hostile(rng), {rng.choice(["value", *TEXTS, 1, None]): rng.choice(odd)}])

    def step() -> None:
        found = check_outcome(returned, Trial(1, 1, "s"))
        assert found.metrics and all(type(value) is float for value in found.metrics.values())

    return cleanly(step)


OUTSIDE_TARGETS: dict[str, tuple[Callable[[Any, random.Random], str], float]] = {
    "dump": (dump, 0.2),
    "funding": (funding, 0.08),
    "days": (days, 0.05),
    "settings": (settings, 0.1),
    "command output": (command_output, 0.1),
    "metrics": (hostile_metrics, 0.05),
    "redis": (redis_replies, 0.05),
}
