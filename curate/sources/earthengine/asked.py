"""A question as it is sent: the JSON of an expression, and its hash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ee

from mmearth.catalog.files import sha256_bytes

_NAME = "@@"
"""Begins the name of every node, so that the nodes of several questions can be told apart."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression graph as text.

    Source:
        developers.google.com/earth-engine/reference/rest/v1/Expression
    """

    result: str
    """Name of the node that is asked for."""
    values: str
    """The nodes: what stands between the braces of a JSON object."""

    @property
    def text(self) -> str:
        """The whole JSON."""
        return self._named("")

    @property
    def sha256(self) -> str:
        """Of the JSON."""
        return sha256_bytes(self.text.encode())

    def replaced(self, marks: Sequence[str], by: Sequence[str]) -> Asked:
        """Return the question with some of its text replaced, mark by mark."""
        values = self.values
        for mark, text in zip(marks, by, strict=True):
            values = values.replace(mark, text)
        return Asked(self.result, values)

    def _named(self, prefix: str) -> str:
        result, values = (text.replace(_NAME, prefix) for text in (self.result, self.values))
        return f'{{"result": {json.dumps(result)}, "values": {{{values}}}}}'


def asked(expression: Any) -> Asked:
    """Return an expression of the client's as it is sent."""
    graph = ee.serializer.encode(expression, for_cloud_api=True)
    nodes = {f"{_NAME}{name}": _marked(node) for name, node in graph["values"].items()}
    return Asked(f"{_NAME}{graph['result']}", json.dumps(nodes, sort_keys=True)[1:-1])


def together(questions: Sequence[Asked]) -> Asked:
    """Return one question whose answer is the list of all their answers."""
    nodes = [q.values.replace(_NAME, f"{_NAME}{i}_") for i, q in enumerate(questions)]
    results = [q.result.replace(_NAME, f"{_NAME}{i}_") for i, q in enumerate(questions)]
    answers = {"arrayValue": {"values": [{"valueReference": name} for name in results]}}
    whole = f"{_NAME}all"
    return Asked(whole, ", ".join([f"{json.dumps(whole)}: {json.dumps(answers)}", *nodes]))


def _marked(node: Any) -> Any:
    """Return a node whose references carry the mark of names."""
    if isinstance(node, list):
        return [_marked(part) for part in node]
    if not isinstance(node, dict) or "constantValue" in node:
        return node
    if "valueReference" in node:
        return {"valueReference": f"{_NAME}{node['valueReference']}"}
    if "functionDefinitionValue" in node:
        names = node["functionDefinitionValue"]["argumentNames"]
        body = f"{_NAME}{node['functionDefinitionValue']['body']}"
        return {"functionDefinitionValue": {"argumentNames": names, "body": body}}
    return {name: _marked(part) for name, part in node.items()}
