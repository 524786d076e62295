"""The `mmearth` command: joins the folders' commands, logs, maps errors to exit codes."""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
from types import FrameType

import click

import mmearth
from mmearth.catalog.errors import MMEarthError

_GROUPS = {
    "curate": "Places and labels in, observations on disk out.",
    "catalog": "What exists: modalities, tasks, splits, the published catalogue.",
    "packaging": "Observations in, shards and manifests out.",
    "loaders": "Manifests in, batches out.",
    "benchmark": "Batches in, results out.",
}
_ABOVE = {"curate": ("mmearth.build_command",), "packaging": ("mmearth.verify_command",)}
"""Commands that cross the folders: from places to a sealed dataset, and from it to its source."""
_DOCTOR = "What is installed, what Earth Engine would be asked with, what is missing."
_INTERRUPTED, _TERMINATED = 130, 143
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*_GROUPS.items(), ("doctor", _DOCTOR)])


@click.group(cls=_Folders, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mmearth.__version__, prog_name="mmearth")
@click.option("-v", "--verbose", count=True, help="Say more; twice: everything.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--log-file", type=click.Path(dir_okay=False), help="Write the log there too.")
def root(verbose: int, quiet: bool, log_file: str | None) -> None:
    """Build, query, stream and benchmark multimodal Earth-observation datasets."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO)[min(verbose, 1)]
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    logging.basicConfig(
        level=level, handlers=handlers, format="%(levelname)s %(name)s: %(message)s"
    )
    _LOG.setLevel(logging.DEBUG if verbose > 1 else level)


def main() -> None:
    """Run the command line and exit with a documented code (docs/exit-codes.md)."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run())


def run() -> int:
    """Carry out the command line; return its exit code instead of exiting."""
    try:
        result = root.main(standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as exc:
        _report(exc.exit_code, exc.format_message(), _hint(exc))
        return exc.exit_code
    except MMEarthError as exc:
        _report(exc.exit_code, str(exc), "; ".join(getattr(exc, "__notes__", [])))
        _LOG.info("where it came from", exc_info=True)
        return exc.exit_code
    except (KeyboardInterrupt, click.Abort):
        _report(_INTERRUPTED, "interrupted; what was done is kept", "")
        return _INTERRUPTED
    except SystemExit:  # of _terminate; click itself is not in standalone mode
        _report(_TERMINATED, "terminated; what was done is kept", "")
        return _TERMINATED
    except BrokenPipeError:
        # The reader of our output has gone; that is no error. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as exc:  # noqa: BLE001 - the only one: a bug of ours must not look like the user's
        _LOG.error("internal error", exc_info=True)
        _report(1, f"internal error: {type(exc).__name__}: {exc}; please report it", "")
        return 1


def _hint(exc: click.ClickException) -> str:
    context = getattr(exc, "ctx", None)
    return f"see `{context.command_path} --help`" if context is not None else ""


def _report(code: int, message: str, hint: str) -> None:
    """Say what went wrong on standard error, as JSON when the command was asked for JSON."""
    if "--json" in sys.argv:
        error = {"code": code, "message": message, **({"hint": hint} if hint else {})}
        click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
        return
    click.echo(f"mmearth: {message}", err=True)
    if hint:
        click.echo(f"  ({hint})", err=True)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Leave through the same doors as Ctrl-C, with the code that schedulers expect."""
    raise SystemExit(_TERMINATED)
