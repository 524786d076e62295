"""Walking an expression graph: every node once a scope, functions by name, lambdas as closures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmearth.tests.earthengine.evaluate.coercion import accepted, signature
from mmearth.tests.earthengine.evaluate.nouns import Lambda, refuse
from mmearth.tests.earthengine.evaluate.values import truth

Node = Mapping[str, Any]


def _parts(node: Node) -> tuple[str, Any]:
    """Return the kind of a node and what it holds."""
    return next(iter(node.items()), ("", None))


class Scope:
    """The arguments of one call of a lambda, and what was computed with them."""

    __slots__ = ("arguments", "done", "outer")

    def __init__(self, arguments: Mapping[str, Any], outer: Scope | None) -> None:
        self.arguments = arguments
        self.outer = outer
        self.done: dict[int, Any] = {}

    def binding(self, names: frozenset[str]) -> Scope:
        """Return the innermost scope that binds one of some names; the outermost for none."""
        scope = self
        while scope.outer is not None and not any(name in scope.arguments for name in names):
            scope = scope.outer
        return scope

    def argument(self, name: str) -> Any:
        """Return what an argument of this or an outer lambda is.

        Raises:
            ServiceError: No lambda around has it.
        """
        scope: Scope | None = self
        while scope is not None:
            if name in scope.arguments:
                return scope.arguments[name]
            scope = scope.outer
        raise refuse(f"Argument '{name}' is not bound.")


class Graph:
    """One expression, evaluated once."""

    def __init__(self, expression: Node, functions: Mapping[str, Lambda]) -> None:
        if "values" not in expression or "result" not in expression:
            raise refuse("An expression needs 'result' and 'values'.")
        self._values: Mapping[str, Node] = expression["values"]
        self._result: str = expression["result"]
        self._functions = functions
        self._free: dict[int, frozenset[str]] = {}
        self._kinds: dict[str, Callable[[Any, Scope], Any]] = {
            "argumentReference": lambda name, scope: scope.argument(name),
            "arrayValue": self._list,
            "bytesValue": lambda value, _: value,
            "constantValue": lambda value, _: value,
            "dictionaryValue": self._dictionary,
            "functionDefinitionValue": self._lambda,
            "integerValue": lambda value, _: int(value),
            "valueReference": self._referred,
        }

    def evaluate(self) -> Any:
        """Return what the expression is worth.

        Raises:
            ServiceError: It cannot be evaluated.
        """
        try:
            return self._referred(self._result, Scope({}, None))
        except RecursionError as error:
            raise refuse("Expression is nested too deeply.") from error

    def _node(self, node: Node, scope: Scope) -> Any:
        if "functionInvocationValue" in node:
            home = scope.binding(self._names(node))
            key = id(node)
            if key not in home.done:
                home.done[key] = self._call(node["functionInvocationValue"], home)
            return home.done[key]
        kind, content = _parts(node)
        if kind not in self._kinds:
            raise refuse(f"Unrecognized kind of value '{kind}'.")
        return self._kinds[kind](content, scope)

    def _referred(self, name: str, scope: Scope) -> Any:
        if name not in self._values:
            raise refuse(f"The expression has no value '{name}'.")
        return self._node(self._values[name], scope)

    def _list(self, content: Any, scope: Scope) -> list[Any]:
        return [self._node(node, scope) for node in content.get("values", ())]

    def _dictionary(self, content: Any, scope: Scope) -> dict[str, Any]:
        values: Mapping[str, Node] = content.get("values", {})
        return {key: self._node(node, scope) for key, node in values.items()}

    def _lambda(self, content: Any, scope: Scope) -> Lambda:
        names, body = content["argumentNames"], content["body"]

        def call(*values: Any) -> Any:
            if len(values) != len(names):
                raise refuse(f"A function of {len(names)} arguments was given {len(values)}.")
            return self._referred(body, Scope(dict(zip(names, values, strict=True)), scope))

        return call

    def _call(self, call: Mapping[str, Any], scope: Scope) -> Any:
        name, given = call.get("functionName", ""), call.get("arguments", {})
        if name not in self._functions:
            raise refuse(f"Unrecognized function '{name}'")
        parameters = signature(name)
        unknown = set(given) - {parameter.name for parameter in parameters}
        if unknown:
            raise refuse(f"{name}: Unrecognized argument '{min(unknown)}'.")
        if name == "If":  # the case that is not chosen may be one that fails
            return self._choose(given, scope)
        arguments = []
        for parameter in parameters:
            node = given.get(parameter.name)
            value = None if node is None else self._node(node, scope)
            arguments.append(accepted(name, parameter, value))
        return self._functions[name](*arguments)

    def _choose(self, given: Mapping[str, Node], scope: Scope) -> Any:
        condition = given.get("condition")
        holds = condition is not None and truth(self._node(condition, scope))
        node = given.get("trueCase" if holds else "falseCase")
        return None if node is None else self._node(node, scope)

    def _names(self, node: Node) -> frozenset[str]:
        """Return the arguments of lambdas around that a node depends on."""
        key = id(node)
        if key not in self._free:
            self._free[key] = self._find_names(node)
        return self._free[key]

    def _names_of(self, reference: str) -> frozenset[str]:
        known = reference in self._values
        return self._names(self._values[reference]) if known else frozenset()

    def _find_names(self, node: Node) -> frozenset[str]:
        kind, content = _parts(node)
        if kind == "argumentReference":
            return frozenset([content])
        if kind == "valueReference":
            return self._names_of(content)
        if kind == "functionDefinitionValue":
            return self._names_of(content["body"]) - frozenset(content["argumentNames"])
        if kind == "functionInvocationValue":
            parts = content.get("arguments", {}).values()
        elif kind == "arrayValue":
            parts = content.get("values", ())
        elif kind == "dictionaryValue":
            parts = content.get("values", {}).values()
        else:
            return frozenset()
        return frozenset().union(*(self._names(part) for part in parts))
