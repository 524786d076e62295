"""YAML in bounded memory and time, with ordinary anchors."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.yaml_file import read_yaml


def _read(folder: Path, text: str | bytes) -> object:
    path = folder / "a.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(path)


def test_anchors_aliases_and_merge_keys(tmp_path: Path) -> None:
    text = """
base: &base {count: 5, buffer: &five [5, 5]}
soil: {<<: *base, count: 7}
again: *five
both: {<<: [*base, {extra: 1}]}
"""
    assert _read(tmp_path, text) == {
        "base": {"count": 5, "buffer": [5, 5]},
        "soil": {"count": 7, "buffer": [5, 5]},
        "again": [5, 5],
        "both": {"count": 5, "buffer": [5, 5], "extra": 1},
    }
    assert _read(tmp_path, "") is None
    assert _read(tmp_path, "- 1\n- é") == [1, "é"]


def _laughs(line: str, n: int = 30) -> str:
    rows = ["a0: &a0 [x, x]" if "[" in line else "a0: &a0 {x: 1}"]
    return "\n".join([*rows, *(line.format(i=i, j=i - 1) for i in range(1, n))])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (_laughs("a{i}: &a{i} [*a{j}, *a{j}]"), "stands for more than 100000 values or 64 levels"),
        (_laughs("a{i}: &a{i} {{<<: [*a{j}, *a{j}]}}"), "stands for more than 100000 values"),
        (_laughs("a{i}: &a{i} {{k: *a{j}}}", 80), "values or 64 levels, with its aliases"),
        ("a: &a [*a]", "line 1: an anchor holds an alias of itself"),
        ("a: &a {b: *a}", "line 1: an anchor holds an alias of itself"),
        ("[" * 20_000, "line 1 is nested more than 64 deep"),
        ("\n".join(" " * i + "a:" for i in range(200)), "line 6. is nested more than 64 deep"),
        ("a: 1\nb: 2\na: 3", "key 'a' stands in line 1 and in line 3; leave one out"),
        ("x: {a: 1, b: 2, a: 3}\ny: {c: 1}", r"key 'a' stands .* leave one out"),
        (b"#" * ((1 << 20) + 1), "is larger than 1 MB, expected a file of settings"),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML: could not determine"),
        ("a: 2020-13-45", "is not YAML: month must be in 1..12"),
        ("a: " + "9" * 5000, "is not YAML: Exceeds the limit"),
        ('a: !!int ""', "is not YAML"),
        ("a: !!bool x", "is not YAML"),
        ("a: !!timestamp x", "is not YAML"),
        ("a: *b", "is not YAML: found undefined alias"),
        (b"a: \xff", "is not YAML: 'utf-8' codec"),
        ("a: 1\n---\nb: 2", "is not YAML: expected a single document"),
    ],
)
def test_what_is_refused_at_once(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    before = time.process_time()
    with pytest.raises(ConfigError, match=sentence) as caught:
        _read(tmp_path, text)
    assert time.process_time() - before < 5
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("number", ["010", "-012", "1:30", "190:20:30.5", "00"])
def test_a_number_that_yaml_reads_otherwise_is_refused(number: str, tmp_path: Path) -> None:
    for text in (f"a: 1\nb: {number}\n", f"a: 1\n{number}: b\n"):
        with pytest.raises(ConfigError, match=f"line 2: YAML counts {number} in"):
            _read(tmp_path, text)
    assert _read(tmp_path, f"b: '{number}'\n") == {"b": number}


def test_plain_numbers_stay(tmp_path: Path) -> None:
    text = "[0, -0.0, 0.010, 10, 1_000, 0x10, 2020-01-02, 00:00 h]"
    assert _read(tmp_path, text) == [
        *(0, -0.0, 0.01, 10, 1000, 16),
        *(datetime.date(2020, 1, 2), "00:00 h"),
    ]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(IsADirectoryError):
        read_yaml(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        read_yaml(tmp_path / ("a" * 300))
