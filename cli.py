"""The `mmearth` command: joins the folders' commands, logs, maps errors to exit codes."""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click
from click.shell_completion import shell_complete

import mmearth
from mmearth.catalog.errors import (
    FAILING_DISK,
    FULL_DISK,
    ConfigError,
    MMEarthError,
    StorageError,
    printable,
)
from mmearth.catalog.extras import missing_sentence

_GROUPS = {
    "curate": "Places and labels in, observations on disk out.",
    "catalog": "What exists: modalities, tasks, splits, the published catalogue.",
    "packaging": "Observations in, shards and manifests out.",
    "loaders": "Manifests in, batches out.",
    "benchmark": "Batches in, results out.",
}
_ABOVE = {
    "curate": ("mmearth.build_command", "mmearth.export_command"),
    "packaging": ("mmearth.verify_command", "mmearth.merge_command"),
    "benchmark": ("mmearth.predict_command",),
}
"""Commands that cross the folders: from places to a sealed dataset, from it to its source, and to
pictures of what SQL chooses."""
_DOCTOR = "What is installed, and what Earth Engine would be asked with."
_COMPLETE = "_MMEARTH_COMPLETE"
"""The environment variable by which a shell asks what may follow (docs/commands.md)."""
_INTERRUPTED, _UNREAD, _TERMINATED = 130, 141, 143
_LOG = logging.getLogger("mmearth")


class _Folders(click.Group):
    """Loads a folder's commands when they are asked for: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_GROUPS, "doctor"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "doctor":
            alone: click.Command = importlib.import_module("mmearth.doctor_command").command
            return alone
        if cmd_name not in _GROUPS:
            return None
        group: click.Group = importlib.import_module(f"mmearth.{cmd_name}.cli").cli
        for name in _ABOVE.get(cmd_name, ()):
            group.add_command(importlib.import_module(name).command)
        return group

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the folders that have a verb, where it was given without its folder."""
        if args and self.get_command(ctx, args[0]) is None:
            folders = [name for name in _GROUPS if _has_verb(self.get_command(ctx, name), args[0])]
            if folders:
                tries = " or ".join(f"`mmearth {folder} {args[0]}`" for folder in folders)
                raise click.UsageError(
                    f"there is no command {args[0]!r}; did you mean {tries}?", ctx
                )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*_GROUPS.items(), ("doctor", _DOCTOR)])


def _has_verb(group: click.Command | None, verb: str) -> bool:
    return isinstance(group, click.Group) and verb in group.commands


class _Terminated(SystemExit):
    """SIGTERM arrived."""


@click.group(cls=_Folders, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mmearth.__version__, prog_name="mmearth")
@click.option("-v", "--verbose", count=True, help="Say more; twice: where errors come from.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--log-file", type=click.Path(dir_okay=False), help="Write the log there too.")
def root(verbose: int, quiet: bool, log_file: str | None) -> None:
    """Build, query, stream and benchmark multimodal Earth-observation datasets."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO)[min(verbose, 1)]
    # What a library warns of, such as GDAL of a file that we refuse in a sentence, is for `-v`.
    others = logging.ERROR if quiet or not verbose else logging.WARNING
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        try:
            handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise StorageError(
                f"--log-file {log_file} cannot be written ({exc}); name a file in a folder of yours"
            ) from exc
    logging.basicConfig(
        level=others, handlers=handlers, format="%(levelname)s %(name)s: %(message)s"
    )
    _LOG.setLevel(logging.DEBUG if verbose > 1 else level)


def main() -> None:
    """Run the command line and exit with a documented code (docs/exit-codes.md)."""
    signal.signal(signal.SIGTERM, _terminate)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it, as with `>&-`
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    sys.exit(run())


def run() -> int:
    """Carry out the command line; return its exit code instead of exiting."""
    try:
        _check_working_directory()
        code = _call()
        sys.stdout.flush()
        return code
    except click.ClickException as exc:
        _report(exc.exit_code, exc.format_message(), _hint(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        _report(_INTERRUPTED, "interrupted; what was done is kept", "")
        return _INTERRUPTED
    except _Terminated:
        _report(_TERMINATED, "terminated; what was done is kept", "")
        return _TERMINATED
    except BrokenPipeError:
        return _unread()
    except Exception as exc:  # noqa: BLE001 - the only one: a bug of ours must not look like the user's
        return _explain(exc)


def _check_working_directory() -> None:
    """Refuse to begin in a directory that was deleted: every other name would seem to be wrong.

    Raises:
        StorageError: It has gone.
    """
    try:
        Path.cwd()
    except FileNotFoundError as exc:
        raise StorageError("the working directory was deleted; go to another with `cd`") from exc


def _call() -> int:
    """Call what was asked for: not by `root.main`, which exits alike for much that is not alike."""
    if asked := os.environ.get(_COMPLETE):
        return shell_complete(root, {}, "mmearth", _COMPLETE, asked)
    try:
        with root.make_context("mmearth", sys.argv[1:]) as context:
            result = root.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.ctx.get_help() if exc.ctx is not None else str(exc))
        return 0


def _explain(exc: Exception) -> int:
    """Report an error that a command did not handle; return its exit code."""
    if isinstance(exc, ImportError) and not isinstance(exc, MMEarthError):
        sentence = missing_sentence(exc)
        exc = exc if sentence is None else ConfigError(sentence)
    if isinstance(exc, MMEarthError):
        _report(exc.exit_code, str(exc), "; ".join(getattr(exc, "__notes__", [])))
        _LOG.debug("where it came from", exc_info=exc)
        return exc.exit_code
    refusing = {**dict.fromkeys(FULL_DISK, "the output"), **dict.fromkeys(FAILING_DISK, "the disk")}
    if isinstance(exc, OSError) and (exc.filename is not None or exc.errno in refusing):
        refused = f"{exc.filename or refusing[exc.errno or 0]}: {str(exc.strerror).lower()}"
        _report(StorageError.exit_code, f"{refused}; look at that place, then run it again", "")
        _drop_output()
        _LOG.debug("where it came from", exc_info=exc)
        return StorageError.exit_code
    _LOG.error("internal error", exc_info=exc)
    _report(1, f"internal error: {type(exc).__name__}: {exc}; please report it", "")
    return 1


def _unread() -> int:
    """Leave without a word: whoever read our output has gone, as `head` does."""
    _drop_output()
    return _UNREAD


def _drop_output() -> None:
    """Lose what could not be written: Python would complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hint(exc: click.ClickException) -> str:
    context = getattr(exc, "ctx", None)
    return f"see `{context.command_path} --help`" if context is not None else ""


def _report(code: int, message: str, hint: str) -> None:
    """Say what went wrong on standard error, as JSON when the command was asked for JSON."""
    message, hint = printable(message), printable(hint)
    if "--json" in sys.argv:
        error = {"code": code, "message": message, **({"hint": hint} if hint else {})}
        click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
        return
    click.echo(f"mmearth: {message}", err=True)
    if hint:
        click.echo(f"  ({hint})", err=True)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Leave through the same doors as Ctrl-C, with the code that schedulers expect."""
    raise _Terminated(_TERMINATED)
