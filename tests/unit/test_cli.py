"""Every command has help, stands in the documentation, and fails in one sentence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from mmearth import cli
from mmearth.catalog import errors

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


def _commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_command_has_help_and_is_documented() -> None:
    documented = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    names = []
    for name, command in _commands(cli.root):
        names.append(name)
        assert command.help, f"mmearth {name} has no help"
        assert f"mmearth {name}" in documented, f"docs/commands.md does not mention mmearth {name}"
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name != "help":
                assert parameter.help, f"mmearth {name} {parameter.opts[0]} has no help"
    assert "curate build" in names
    assert "loaders query" in names


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("curate", "build", "nowhere.yaml", "-o", "x"), 2, "no configuration nowhere.yaml"),
        (("curate", "status", "nowhere"), 2, "holds no build"),
        (("curate", "view", "nowhere"), 2, "holds no build"),
        (("packaging", "verify", "nowhere"), 2, "nowhere"),
        (("catalog", "audit", "nowhere"), 2, "no manifests"),
        (("catalog", "validate", "nowhere"), 2, "no catalog.json"),
        (("loaders", "query", "nowhere", "SELECT 1"), 2, "nowhere"),
        (("curate", "build"), 2, "Missing argument"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_wrong_use_is_one_sentence(
    run_cli: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    found, out, err = run_cli(*arguments)
    assert found == code
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_errors_are_json_when_json_is_asked_for(run_cli: Run) -> None:
    code, _, err = run_cli("curate", "status", "nowhere", "--json")
    assert json.loads(err)["error"]["code"] == code == 2


def _tree(cls: type[errors.MMEarthError]) -> Iterator[type[errors.MMEarthError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


@pytest.mark.parametrize("cls", list(_tree(errors.MMEarthError)))
def test_errors_survive_pickling_and_stand_in_the_drawing(cls: type[errors.MMEarthError]) -> None:
    error = cls("found this, expected that; do so")
    error.add_note("tile 32633_500000_4649760")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert cls.__name__ in (errors.__doc__ or "")
    assert cls.exit_code in {1, 2, 3, 4, 5, 6}
