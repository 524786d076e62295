"""A YAML file → plain Python, in bounded memory and time: it may be a stranger's, or a slip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from mmearth.catalog.errors import ConfigError

_BYTES = 1 << 20
"""Of the largest file: ours have some kB, places stand in tables of their own."""
_DEPTH = 64
_VALUES = 100_000
"""Values with every alias written out: aliases of aliases double them, line by line."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OTHER = re.compile(r"[-+]?(0[0-7_]*[0-7]|[0-9_]+(:[0-9_]+)+(\.[0-9_]*)?)")
"""`010`, which is 8 to YAML 1.1, and `1:30`, which is 90."""
_STRANGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML raises for a value that is not of its tag, such as the day 2020-13-45."""


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds; anchors, aliases and merge keys may be used.

    Raises:
        FileNotFoundError, IsADirectoryError: It is not there, or is a directory.
        ConfigError: It cannot be read, is not YAML, has a key twice or a number such as 010, or is
            larger or deeper than a file of settings is.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    if len(data) > _BYTES:
        raise ConfigError(
            f"{path} is larger than {_BYTES / 1e6:.0f} MB, expected a file of settings; put places "
            "and labels into a table and name it"
        )
    try:
        loader = _Loader(data.decode())
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except _RefusedError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    except (yaml.YAMLError, RecursionError, *_STRANGE) as exc:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc


class _RefusedError(Exception):
    """What is wrong, without the file."""


class _Loader(yaml.SafeLoader):
    """Makes plain Python only; counts how deep it is, as it reads by recursion."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return a node, unless it is too deep or has a key twice."""
        self._depth += 1
        if self._depth > _DEPTH:
            line = self.get_mark().line + 1
            raise _RefusedError(f"line {line} is nested more than {_DEPTH} deep; expected settings")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node)
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS:
            self._refuse_other(node)
        return node

    def _refuse_other(self, node: yaml.ScalarNode) -> None:
        """Refuse a number that is another one to YAML 1.1 than to its reader."""
        if _OTHER.fullmatch(node.value):
            line = node.start_mark.line + 1
            base = "eights" if ":" not in node.value else "sixties"
            raise _RefusedError(
                f"line {line}: YAML counts {node.value} in {base}; write a number without leading "
                "zeros and colons, or put it in quotes"
            )


def _refuse_twice(node: yaml.MappingNode) -> None:
    seen: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            before = seen.setdefault(key.value, key)
            if before is not key:
                lines = [each.start_mark.line + 1 for each in (before, key)]
                raise _RefusedError(
                    f"key {key.value!r} stands in line {lines[0]} and in line {lines[1]}; leave "
                    "one out"
                )


def _count(node: Any, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return how many values a node has with its aliases written out, and how deep it is.

    Raises:
        _RefusedError: Too many, too deep, or it is inside itself.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            line = node.start_mark.line + 1
            raise _RefusedError(f"line {line}: an anchor holds an alias of itself; write it out")
        return found
    known[id(node)] = None
    values, depth = 1, 1
    parts = node.value if not isinstance(node, yaml.ScalarNode) else []
    for part in parts:
        for each in part if isinstance(part, tuple) else (part,):
            n, d = _count(each, known)
            values, depth = values + n, max(depth, d + 1)
    if values > _VALUES or depth > _DEPTH:
        line = node.start_mark.line + 1
        raise _RefusedError(
            f"line {line} stands for more than {_VALUES} values or {_DEPTH} levels, with its "
            "aliases written out; expected settings"
        )
    known[id(node)] = values, depth
    return values, depth
