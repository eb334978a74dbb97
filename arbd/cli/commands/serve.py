"""`arbctl serve`: the live page over a spool."""

from __future__ import annotations

import secrets
import shlex
import signal
import stat
import threading
from pathlib import Path

import click

from arbd.arrays import load as load_numpy
from arbd.cli.app import App, json_option, pass_app
from arbd.errors import UsageError

DEFAULT_LISTEN = "127.0.0.1:8765"
MIN_TOKEN_CHARS = 16


@click.command()
@click.option(
    "--listen", default=DEFAULT_LISTEN, show_default=True, metavar="HOST:PORT", help="Port 0 takes a free one."
)
@click.option(
    "--host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Another name that browsers know this page by, as behind a proxy.",
)
@click.option("--allow-control", is_flag=True, help="Whoever has the token may pause, resume, cancel and retry.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A private file with the token; without it every start makes a new one.",
)
@json_option
@pass_app
def serve(app: App, listen: str, names: tuple[str, ...], allow_control: bool, token_file: Path | None) -> None:
    """Serve a live page: sessions with every figure while they run, iterations with equity and fills, workers.

    \b
    Examples:
      arbctl serve
      arbctl serve --allow-control
      ssh -L 8765:127.0.0.1:8765 HOST      from elsewhere, then open http://127.0.0.1:8765

    It only shows, unless --allow-control is given, and listens on this host alone. At an address that others reach
    (--listen 192.0.2.7:8765) the token is needed to read too. There is no TLS: put a proxy with it in front, and name it
    with --host.
    """
    load_numpy()
    from arbd.page.access import Access, Listen
    from arbd.page.routes import Routes
    from arbd.page.runs import Runs
    from arbd.page.server import PageServer
    from arbd.page.watch import SpoolWatch

    where = Listen.of(listen)
    token = _token(token_file) if allow_control or token_file is not None or not where.is_loopback else None
    layout, config = app.layout(), app.config()
    server = PageServer(where)
    access = Access.of(where, server.port, names, token, control=allow_control)
    address = f"http://{where.name}:{server.port}/" + (f"#token={token}" if token else "")
    watch = SpoolWatch(layout, app.bookmarks())
    runs = Runs(layout.root, config.cache_dir, config.data_dirs)
    server.routes = Routes(layout, watch, runs, access)
    # `shutdown` waits for the loop to end, which cannot be while this thread, which runs the loop, handles the signal.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    watch.start()
    try:
        app.show({"url": address, "control": allow_control}, lambda: _text(address, allow_control))
        server.serve_forever(poll_interval=0.5)
    finally:
        watch.stop()
        server.server_close()
        runs.close()


def _text(address: str, control: bool) -> str:
    rights = "whoever has this address may control sessions" if control else "it only shows"
    return f"{address}\n{rights}; Ctrl-C ends it"


def _token(file: Path | None) -> str:
    """The token of a private file, or a new one; UsageError for a file that others read, or a token that is guessed."""
    if file is None:
        return secrets.token_urlsafe(24)
    try:
        mode, text = file.stat().st_mode, file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file} cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"--token-file {file} can be read by others: chmod 600 {shlex.quote(str(file))}")
    if len(text) < MIN_TOKEN_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(
            f"--token-file {file} holds no token: write at least {MIN_TOKEN_CHARS} ASCII characters without blanks, for example "
            "`openssl rand -hex 24`"
        )
    return text
