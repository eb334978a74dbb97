"""`arbctl completion`: what makes a shell complete commands, options and session ids."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL. Commands, options and the ids of sessions are completed.

    \b
    Examples:
      arbctl completion bash > ~/.local/share/bash-completion/completions/arbctl
      arbctl completion zsh > ~/.zfunc/_arbctl          # a folder of $fpath
      arbctl completion fish > ~/.config/fish/completions/arbctl.fish
    """
    from arbd.cli.__main__ import cli

    click.echo(script(cli, "arbctl", shell), nl=False)


def script(command: click.Command, program: str, shell: str) -> str:
    """The script of a program for a shell; it asks the program itself at every TAB."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    # That of the base class: the one of bash looks at the version of the bash that is here.
    return ShellComplete.source(kind(command, {}, program, f"_{program.upper()}_COMPLETE")).strip() + "\n"
