"""A question as it is sent: the JSON of an expression, and its hash."""

from __future__ import annotations

import json
import re
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
        plain = self.named("")
        return f'{{"result": {json.dumps(plain.result)}, "values": {{{plain.values}}}}}'

    @property
    def sha256(self) -> str:
        """Of the JSON."""
        return sha256_bytes(self.text.encode())

    def named(self, prefix: str) -> Asked:
        """Return the question with a prefix before the name of every node."""
        return Asked(self.result.replace(_NAME, prefix), self.values.replace(_NAME, prefix))


@dataclass(frozen=True, slots=True)
class Form:
    """A question with gaps, cut at them once: to fill it in is to join a few pieces."""

    result: str
    """As in `Asked`."""
    pieces: tuple[str, ...]
    """The nodes: text, mark, text, mark … text."""
    marks: tuple[str, ...]
    """What stands in the gaps."""

    def filled(self, texts: Sequence[str]) -> Asked:
        """Return the question with one text for each of `marks`."""
        by_mark = dict(zip(self.marks, texts, strict=True))
        return Asked(self.result, "".join([by_mark.get(piece, piece) for piece in self.pieces]))


def form(question: Asked, marks: Sequence[str]) -> Form:
    """Return a question cut at each of some texts, wherever it stands."""
    gaps = "|".join(map(re.escape, marks))
    return Form(question.result, tuple(re.split(f"({gaps})", question.values)), tuple(marks))


def asked(expression: Any) -> Asked:
    """Return an expression of the client's as it is sent."""
    graph = ee.serializer.encode(expression, for_cloud_api=True)
    nodes = {f"{_NAME}{name}": _marked(node) for name, node in graph["values"].items()}
    return Asked(f"{_NAME}{graph['result']}", json.dumps(nodes, sort_keys=True)[1:-1])


def together(questions: Sequence[Asked]) -> Asked:
    """Return one question whose answer is the list of all their answers."""
    parts = [question.named(f"{i}_") for i, question in enumerate(questions)]
    answers = {"arrayValue": {"values": [{"valueReference": part.result} for part in parts]}}
    nodes = [f'"all": {json.dumps(answers)}', *(part.values for part in parts)]
    return Asked("all", ", ".join(nodes))


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
