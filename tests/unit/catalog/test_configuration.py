"""What every configuration refuses, whatever its keys are."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from mmearth.catalog.configuration import AnyNumber, Strict, read_config
from mmearth.catalog.errors import ConfigError


class _Inner(Strict):
    is_on: bool = False
    share: float | None = None


class _Config(Strict):
    count: int = 1
    rates: float | tuple[float, ...] = 1.0
    where: dict[str, str | int | bool] | None = None
    nodata: AnyNumber | None = None
    inner: _Inner | None = None
    names: tuple[str, ...] = ()
    classes: dict[int, str | _Inner] | tuple[str, ...] | None = None
    bands: dict[str, int | str] | None = None
    corners: tuple[tuple[float, float], ...] = ()


def _read(tmp_path: Path, text: str) -> BaseModel:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return read_config(path, _Config, "examples/demo.yaml")


@pytest.mark.parametrize(
    "text",
    [
        *("count: yes", "rates: off", "rates: [1, on]", "inner: {share: true}", "names: [no, yes]"),
        *("classes: {no: a, yes: b}", "classes: [no, yes]", "bands: {B1: yes}", "bands: {on: 1}"),
        *("classes: {1: {share: yes}}", "corners: [[1, yes]]"),
    ],
)
def test_words_that_yaml_reads_as_true_are_no_numbers(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="reads yes, no, on and off as true and false"):
        _read(tmp_path, text)


@pytest.mark.parametrize("text", ["rates: .nan", "rates: [1, -.inf]", "inner: {share: .inf}"])
def test_numbers_are_finite(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="a finite number"):
        _read(tmp_path, text)


def test_true_and_absence_where_they_belong(tmp_path: Path) -> None:
    text = "count: '7'\nwhere: {a: yes}\nnodata: .nan\ninner: {is_on: on}\nnames: ['no']"
    text += "\nclasses: {1: {is_on: yes}, 2: 'yes'}"
    found = _read(tmp_path, text)
    assert isinstance(found, _Config) and found.inner == _Inner(is_on=True)
    assert (found.count, found.where, found.names) == (7, {"a": True}, ("no",))
    assert found.classes == {1: _Inner(is_on=True), 2: "yes"}
