"""A command group that imports a command's module only when that command is called."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from tongqu.app.messages import t

COMMANDS: dict[str, str] = {
    "sync": "sync",
    "run": "run",
    "undo": "undo",
    "plan": "plan",
    "apply": "apply",
    "pull": "pull",
    "promote": "promote",
    "versions": "versions",
    "lineage": "lineage",
    "trace": "trace",
    "docs": "docs",
    "mapping": "mapping",
    "check": "check",
    "cdc": "cdc",
    "diff": "diff",
    "profile": "profile",
    "assess": "assess",
    "test": "test",
    "record": "record",
    "connectors": "connectors",
    "connect": "connect",
    "mock": "mock",
    "schema": "schema",
    "secret": "secret",
    "client": "client",
    "token": "token",
    "user": "user",
    "access": "access",
    "policy": "policy",
    "privacy": "privacy",
    "quarantine": "quarantine",
    "calls": "calls",
    "agent": "agent",
    "runs": "runs",
    "schedule": "schedule",
    "reconcile": "reconcile",
    "twoway": "twoway",
    "audit": "audit",
    "drill": "drill",
    "load": "load",
    "demo": "demo",
    "serve": "serve",
    "worker": "worker",
    "api": "api",
    "draft": "draft",
    "webhook": "webhook",
    "intake": "intake",
    "queue": "queue",
}
"""Every command and the module of this package that holds it, in the order of the help page."""

GROUPS = frozenset(
    {
        "agent",
        "api",
        "draft",
        "audit",
        "quarantine",
        "calls",
        "runs",
        "schedule",
        "reconcile",
        "twoway",
        "versions",
        "mapping",
        "secret",
        "connect",
        "record",
        "client",
        "token",
        "user",
        "access",
        "policy",
        "webhook",
        "intake",
        "queue",
        "privacy",
        "cdc",
    }
)
"""Commands that have commands of their own."""


class LazyGroup(TyperGroup):
    """Lists commands from `COMMANDS` and their one-line help from the catalogue, without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All commands, in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported now; None if there is none of this name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(f"tongqu.app.cli.{COMMANDS[cmd_name]}")
            command = get_command(module.app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        del ctx
        with formatter.section(t("help.commands")):
            formatter.write_dl([(name, t(f"command.{name}")) for name in COMMANDS])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the parent's, with suggestions from all commands and not only the imported ones."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS)
            known = t("usage.did_you_mean", name=near[0]) if near else t("usage.commands", names=", ".join(COMMANDS))
            ctx.fail(f"{t('usage.no_command', name=args[0])} {known}")
        return super().resolve_command(ctx, args)


def application() -> Any:
    """The whole command line as one command object."""
    app = typer.Typer(
        name="tongqu",
        cls=LazyGroup,
        help=t("command.tongqu"),
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
    )

    def root(version: bool = typer.Option(False, "--version", help=t("option.version"))) -> None:
        if version:
            from tongqu import __version__

            typer.echo(f"tongqu {__version__}")
            raise typer.Exit

    app.callback(invoke_without_command=True)(root)
    return get_command(app)
