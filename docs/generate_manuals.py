"""Writes the manual pages and the shell completions from the commands.

python docs/generate_manuals.py [FOLDER]     writes FOLDER/man/*.1 and FOLDER/completion/* (default: here and etc/)
python docs/generate_manuals.py --check      exit 1 when a page or a script in the repository is not what the code says
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from arbd import __version__
from arbd.cli.__main__ import HOMES
from arbd.cli.__main__ import cli as arbctl
from arbd.cli.commands.completion import script
from arbd.daemon.__main__ import cli as arbd

ROOT = Path(__file__).resolve().parent.parent
EXIT_CODES = (
    ("0", "done"),
    ("1", "the thing asked about failed"),
    ("2", "bad usage or a bad job"),
    ("3", "not found"),
    ("4", "the spool is unreachable or unsafe"),
    ("130", "interrupted"),
)
ENVIRONMENT = (
    ("ARBD_SPOOL", "The shared folder, unless --spool names it."),
    ("ARBD_CONFIG", "The settings, unless --config names them; by default /etc/arbd/arbd.yaml."),
    ("ARBD_WORKER_ID", "The name of the worker, by default that of the host."),
)


def pages() -> Iterator[tuple[str, str]]:
    """File name and text of every page."""
    names = [f"arbctl-{name}" for name in HOMES]
    yield "arbctl.1", page("arbctl", arbctl, names)
    for name in HOMES:
        command = arbctl.get_command(click.Context(arbctl), name)
        assert command is not None
        yield f"arbctl-{name}.1", page(f"arbctl {name}", command, ["arbctl", "arbd"])
    own = [f"arbd-{name}" for name in arbd.commands]
    yield "arbd.1", page("arbd", arbd, ["arbctl", *own])
    for name, command in arbd.commands.items():
        yield f"arbd-{name}.1", page(f"arbd {name}", command, ["arbd", "arbctl"])


def page(name: str, command: click.Command, see_also: list[str]) -> str:
    """One manual page in man(7) macros."""
    title = name.replace(" ", "-")
    context = click.Context(command, info_name=name)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    first = " ".join(paragraphs[0].split())
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f'.TH {title.upper()} 1 "" "arbd {__version__}" "arbd"', ".SH NAME"]
    lines += [
        f"{escaped(title)} \\- {escaped(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {escaped(name)}",
        escaped(usage),
    ]
    lines += [".SH DESCRIPTION", *_prose(paragraphs)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for child, summary in _children(command):
            lines += [".TP", f".B {escaped(child)}", escaped(summary)]
    lines.append(".SH OPTIONS")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [".TP", f".B {escaped(record[0])}", escaped(record[1])]
    lines += [".SH ENVIRONMENT", *_list(ENVIRONMENT), ".SH EXIT STATUS", *_list(EXIT_CODES)]
    lines += [".SH SEE ALSO", ",\n".join(f"\\fB{escaped(other)}\\fR(1)" for other in see_also)]
    return "\n".join(lines) + "\n"


def _children(group: click.Group) -> Iterator[tuple[str, str]]:
    if group is arbctl:
        yield from ((name, summary) for name, (_, _, summary) in HOMES.items())
        return
    for name, child in group.commands.items():
        yield name, child.get_short_help_str(200)


def _prose(paragraphs: list[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *(escaped(line) for line in paragraph.splitlines()[1:]), ".fi")
        else:
            yield escaped(" ".join(paragraph.split()))


def _list(items: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, meaning in items:
        yield from (".TP", f".B {escaped(name)}", escaped(meaning))


def escaped(text: str) -> str:
    """Text that man(7) prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text


def files() -> Iterator[tuple[str, str]]:
    """Path (man/... or completion/...) and content of everything."""
    for name, text in pages():
        yield f"man/{name}", text
    for program, command in (("arbctl", arbctl), ("arbd", arbd)):
        for shell, name in (("bash", program), ("zsh", f"_{program}"), ("fish", f"{program}.fish")):
            yield f"completion/{name}", script(command, program, shell)


def main() -> int:
    """Write or compare."""
    check = "--check" in sys.argv
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("--")]
    stale = []
    for name, text in files():
        kind = name.partition("/")[0]
        path = (folders[0] if folders else ROOT / ("docs" if kind == "man" else "etc")) / name
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        # How options are written in help is click's business, and differs between its versions.
        elif not path.is_file():
            stale.append(name)
    if stale:
        sys.stderr.write(f"not there: {', '.join(stale)}; run python docs/generate_manuals.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
