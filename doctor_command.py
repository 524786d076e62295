"""`mmearth doctor`: what is installed, and what Earth Engine would be asked with."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from dataclasses import asdict
from typing import Any

import click

import mmearth
from mmearth.catalog import options
from mmearth.loaders.fetch.gather import IS_COMPILED

_EXTRAS = {
    "earthengine": ("ee", "earthengine-api", "collect from Google Earth Engine"),
    "gedi": ("h5py", "h5py", "read GEDI granules"),
    "dask": ("distributed", "distributed", "collect on many machines"),
    "croissant": ("mlcroissant", "mlcroissant", "validate croissant.json"),
}
"""Extra → module, package, what it is for."""


@click.command("doctor")
@click.option("--offline", is_flag=True, help="Do not send Earth Engine a request.")
@options.as_json
def command(offline: bool, as_json: bool) -> int:
    """Show what is installed, which Earth Engine account is in use, and what is missing."""
    extras = {name: _installed(module, package) for name, (module, package, _) in _EXTRAS.items()}
    engine: dict[str, Any] | None = None
    if extras["earthengine"] is not None:
        from mmearth.curate.sources.earthengine.access import access_of_environment
        from mmearth.curate.sources.earthengine.doctor import diagnose

        engine = asdict(diagnose(access_of_environment(), ask=not offline))
    code = int(engine.pop("exit_code")) if engine is not None else 0
    versions = {"mmearth": mmearth.__version__, "python": platform.python_version()}
    reading = "compiled" if IS_COMPILED else "NumPy"
    if as_json:
        found = {**versions, "reading": reading, "extras": extras}
        options.echo_json({**found, "earthengine": engine, "exit_code": code})
    else:
        lacking = "" if IS_COMPILED else "; with a C compiler, pip install mmearth again: faster"
        _show({**versions, "reading": f"{reading}{lacking}"}, extras, engine)
    return code


def _installed(module: str, package: str) -> str | None:
    """Return the version of a package, or None where it cannot be imported."""
    if importlib.util.find_spec(module) is None:
        return None
    return importlib.metadata.version(package)


def _show(
    versions: dict[str, str], extras: dict[str, str | None], engine: dict[str, Any] | None
) -> None:
    rows: list[tuple[str, str]] = list(versions.items())
    for name, version in extras.items():
        lacking = f"not installed: to {_EXTRAS[name][2]}, pip install 'mmearth[{name}]'"
        rows.append((name, version or lacking))
    options.echo_table(["package", "version"], rows)
    if engine is None:
        return
    click.echo("\nEarth Engine")
    for name in ("identity", "project", "endpoint", "limits", "quota", "answer"):
        click.echo(f"  {name:<9} {engine[name]}")
    for sentence in engine["missing"]:
        click.echo(f"  missing   {sentence}")
