"""`mmearth doctor`: what is installed, plug-ins too, and what Earth Engine would be asked with."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

import click

import mmearth
from mmearth.catalog import options
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import EXTRAS, versions
from mmearth.catalog.plugins import GROUPS, load, place_of, plugins
from mmearth.loaders.fetch.gather import IS_COMPILED

_ENGINE = "earthengine"


@click.command("doctor")
@click.argument("needed", nargs=-1, type=click.Choice(list(EXTRAS)), metavar="[EXTRA]...")
@click.option("--offline", is_flag=True, help="Do not send Earth Engine a request.")
@options.as_json
def command(needed: tuple[str, ...], offline: bool, as_json: bool) -> int:
    """Show what is installed, and how Earth Engine is reached.

    Plug-ins of other packages are loaded to see whether they can be.

    Exits with 0, unless an EXTRA is named that is not installed (2), or `earthengine` is named and
    a build could not begin (6: nobody is signed in).

    mmearth doctor benchmark
    """
    extras = {name: versions(name) for name in EXTRAS}
    is_whole = all((*extras["curate"].values(), *extras[_ENGINE].values()))
    engine = _engine(ask=not offline) if is_whole else None
    state = 0 if engine is None else int(engine.pop("exit_code"))
    code = state if _ENGINE in needed else 0
    if any(None in extras[name].values() for name in needed):
        code = ConfigError.exit_code
    here = {
        "mmearth": mmearth.__version__,
        "python": platform.python_version(),
        "reading": "compiled" if IS_COMPILED else "NumPy",
        "accelerator": _accelerator() if extras["torch"]["torch"] else None,
    }
    found = _plugins()
    if as_json:
        told = {"extras": extras, "plugins": found, "earthengine": engine, "exit_code": code}
        options.echo_json({**here, **told})
    else:
        _show(here, extras)
        _show_plugins(found)
        if engine is not None:
            _show_engine(engine)
    return code


def _plugins() -> list[dict[str, str | None]]:
    """Return every plug-in, with the reason where it cannot be loaded."""
    return [
        {**asdict(each), "problem": _problem(each.group, each.name, each.place)}
        for group in GROUPS
        for each in plugins(group)
    ]


def _problem(group: str, name: str, place: str) -> str | None:
    try:
        place_of(group, name)
        load(group, place)
    except ConfigError as exc:
        return str(exc)
    return None


def _engine(ask: bool) -> dict[str, Any]:
    from mmearth.curate.sources.earthengine.access import access_of_environment
    from mmearth.curate.sources.earthengine.doctor import diagnose

    return asdict(diagnose(access_of_environment(), ask=ask))


def _accelerator() -> str:
    """Return what PyTorch would compute on, in words."""
    try:
        import torch
    except (ImportError, OSError) as exc:  # a build of PyTorch for another system
        return f"PyTorch cannot be loaded ({exc}); install it again"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return f"none: {'no CUDA device is seen' if built else 'PyTorch is built for the CPU'}"
    count, name = torch.cuda.device_count(), torch.cuda.get_device_name(0)
    return f"{count} × {name}, CUDA {torch.version.cuda}"


def _show(here: dict[str, str | None], extras: dict[str, dict[str, str | None]]) -> None:
    for name, value in here.items():
        if value is not None:
            click.echo(f"{name:<11} {value}")
    if not IS_COMPILED:
        click.echo("            with a C compiler, pip install mmearth again: reading is faster")
    click.echo("\nextras")
    for name, found in extras.items():
        lacking = [package for package, version in found.items() if version is None]
        has = ", ".join(f"{package} {version}" for package, version in found.items() if version)
        todo = f"to {EXTRAS[name].purpose}, pip install 'mmearth[{name}]'"
        shown = f"lacks {', '.join(lacking)}: {todo}" if lacking else has
        click.echo(f"  {name:<11} {shown}")


def _show_plugins(found: list[dict[str, str | None]]) -> None:
    if found:
        click.echo("\nplug-ins")
    for each in found:
        what = GROUPS[str(each["group"])]
        click.echo(f"  {what:<11} {each['name']} = {each['place']}, {each['package']}")
        if each["problem"]:
            click.echo(f"  {'':<11} {each['problem']}")


def _show_engine(engine: dict[str, Any]) -> None:
    click.echo("\nEarth Engine")
    for name in ("identity", "project", "endpoint", "limits", "quota", "answer"):
        click.echo(f"  {name:<9} {engine[name]}")
    for sentence in engine["missing"]:
        click.echo(f"  missing   {sentence}")
