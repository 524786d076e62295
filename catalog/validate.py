"""Validation of a dataset's STAC and Croissant metadata, without a network."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pystac
from jsonschema.exceptions import ValidationError
from pystac.errors import STACValidationError
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from referencing.exceptions import Unresolvable

from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import ConfigError, MMEarthError, printable
from mmearth.catalog.stac import read_items

_TYPES = {
    "Feature": pystac.STACObjectType.ITEM,
    "Collection": pystac.STACObjectType.COLLECTION,
    "Catalog": pystac.STACObjectType.CATALOG,
}


_STRANGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What documents that mmearth never wrote make Python and its libraries raise."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What was valid, what was not, and what could not be checked."""

    n_objects: int
    """Catalogues, collections and items looked at."""
    problems: tuple[str, ...]
    """One sentence each."""
    not_checked: tuple[str, ...]
    """Schemas that are not at hand."""


class _OfflineValidator(JsonSchemaSTACValidator):
    """Knows the core schemas that pystac ships and those of a directory; never asks the network."""

    def __init__(self, schemas: Path | None) -> None:
        super().__init__()
        if schemas is not None:
            for path in sorted(schemas.rglob("*.json")):
                url = f"https://{path.relative_to(schemas).as_posix()}"
                self.schema_cache.setdefault(url, _read_schema(path))
        self._compiled: dict[str, Any] = {}

    def knows(self, url: str) -> bool:
        """Return whether a schema is at hand."""
        return url in self.schema_cache

    def _get_schema(self, schema_uri: str) -> dict[str, Any]:
        if schema_uri not in self.schema_cache:
            raise ConfigError(
                f"the schema {schema_uri} is not at hand; give its directory by --schemas"
            )
        return super()._get_schema(schema_uri)

    def _validate_from_uri(
        self,
        stac_dict: dict[str, Any],
        stac_object_type: pystac.STACObjectType,
        schema_uri: str,
        href: str | None = None,
    ) -> None:
        # pystac compiles each schema anew for each object: 20 times slower over a whole catalogue.
        if schema_uri not in self._compiled:
            schema = self._get_schema(schema_uri)
            kind = jsonschema.validators.validator_for(schema)
            self._compiled[schema_uri] = kind(schema, registry=self.registry)
        errors = list(self._compiled[schema_uri].iter_errors(stac_dict))
        if errors:
            found = _most_specific(errors)
            where = ".".join(str(part) for part in found.absolute_path) or "the object"
            raise STACValidationError(f"{where}: {found.message[:300]} (by {schema_uri})")


def validate_stac(root: Path, schemas: Path | None) -> Validation:
    """Validate every STAC object below `root/stac` against the core and its extensions' schemas.

    Args:
        root: The dataset's directory.
        schemas: Directory of extension schemas, laid out as host/path; the core needs none.

    Raises:
        ConfigError: There is no catalogue.
    """
    home = root / "stac"
    if not (home / "catalog.json").exists():
        raise ConfigError(f"{home} has no catalog.json; make it with `mmearth catalog stac {root}`")
    validator = _OfflineValidator(schemas)
    problems: list[str] = []
    not_checked: set[str] = set()
    n_objects = 0
    paths = sorted(home.rglob("*.json"))
    for path in paths:
        n_objects += 1
        try:
            document = _read_object(path, root)
        except ValueError as exc:
            problems.append(f"{path}: it is not a JSON object ({exc})")
            continue
        problems += _problems(validator, document, path, str(path), not_checked)
    if not any(path.parts[len(home.parts) + 1 :][:1] == ("items",) for path in paths):
        table = home / "items.parquet"
        try:
            for item in read_items(root):
                n_objects += 1
                name = f"{table}: {item.get('id')}"
                problems += _problems(validator, item, table, name, not_checked)
        except (*_STRANGE, MMEarthError, pa.ArrowException) as exc:
            problems.append(f"{table}: it is not a table of STAC items ({printable(str(exc))})")
    return Validation(n_objects, tuple(problems), tuple(sorted(not_checked)))


def _problems(
    validator: _OfflineValidator,
    document: dict[str, Any],
    path: Path,
    name: str,
    not_checked: set[str],
) -> list[str]:
    """Return what is wrong with a STAC object, whose links are from a path."""
    try:
        extensions = document.get("stac_extensions", [])
        if not all(isinstance(url, str) for url in extensions):
            raise TypeError("its stac_extensions are no list of URLs")
        known = [url for url in extensions if validator.knows(url)]
        not_checked |= set(extensions) - set(known)
        found = [*_invalid(validator, document, known, path), *_dead_links(document, path)]
    except _STRANGE as exc:
        found = [f"it is not a STAC object ({printable(str(exc))[:300]})"]
    return [f"{name}: {text}" for text in found]


def validate_croissant(root: Path) -> Validation:
    """Validate `root/croissant.json` with MLCommons' own library, where that is installed."""
    path = root / "croissant.json"
    if not path.exists():
        return Validation(0, (f"{path} is not there; run the build again",), ())
    try:
        import mlcroissant
    except ImportError:
        return Validation(1, (), ("croissant.json (pip install 'mmearth[croissant]')",))
    logging.getLogger("absl").setLevel(logging.ERROR)  # it repeats what we report
    try:
        document = _read_object(path, root)
        files = document.get("distribution", [])
        if _asks_elsewhere(document):
            problem = f"{path}: its @context is not in the file itself, which would be fetched"
            return Validation(1, (problem,), ())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of rdflib, about its own parser
            issues = mlcroissant.Dataset(jsonld=str(path)).metadata.ctx.issues
        problems = [*sorted(issues.errors), *_wrong_files(root, files)]
    except mlcroissant.ValidationError as exc:
        text = " ".join(str(exc).split()).partition(" Found the following 1 warning")[0]
        return Validation(1, (f"{path}: {text}",), ())
    except (AssertionError, *_STRANGE) as exc:
        said = printable(str(exc))[:300]
        return Validation(1, (f"{path}: it is not Croissant metadata ({said})",), ())
    return Validation(1, tuple(f"{path}: {text}" for text in problems), ())


def _asks_elsewhere(part: Any) -> bool:
    """Say whether a JSON-LD document names a context by its URL: a parser would ask for it."""
    if isinstance(part, list):
        return any(_asks_elsewhere(each) for each in part)
    if not isinstance(part, dict):
        return False
    context = part.get("@context", {})
    named = [each for each in (context if isinstance(context, list) else [context]) if each]
    return (
        "@import" in part
        or any(isinstance(each, str) for each in named)
        or any(_asks_elsewhere(each) for each in part.values())
    )


def _wrong_files(root: Path, files: list[dict[str, Any]]) -> Iterator[str]:
    """Name files that are not there or have another size than croissant.json says."""
    for entry in files:
        name = entry.get("contentUrl", "")
        if not name or "://" in name:
            continue
        size = f"{(root / name).stat().st_size} B" if (root / name).is_file() else "not there"
        if size != entry.get("contentSize", size):
            yield f"{name} is {size}, expected {entry['contentSize']}"


def _invalid(
    validator: _OfflineValidator, document: dict[str, Any], extensions: list[str], path: Path
) -> Iterator[str]:
    kind = _TYPES.get(str(document.get("type")))
    if kind is None:
        yield f"type is {document.get('type')!r}, expected one of {', '.join(_TYPES)}"
        return
    version = str(document.get("stac_version"))
    try:
        core = validator.schema_uri_map.get_object_schema_uri(kind, version)
        if core is None or not validator.knows(core):
            yield f"stac_version is {version}, of which there is no schema at hand"
            return
        validator.validate(document, kind, version, extensions, str(path))
    except STACValidationError as exc:
        yield " ".join(str(exc).split())
    except Unresolvable as exc:
        yield f"it needs a schema that is not at hand ({exc}); give its directory by --schemas"


def _dead_links(document: dict[str, Any], path: Path) -> Iterator[str]:
    """Name links and assets whose file is not there."""
    links = [link.get("href", "") for link in document.get("links", [])]
    assets = [asset.get("href", "") for asset in document.get("assets", {}).values()]
    for href in [*links, *assets]:
        if "://" not in href and not (path.parent / href).exists():
            yield f"{href} is not there"


def _most_specific(errors: list[ValidationError]) -> ValidationError:
    """Return the error deepest in the document, which says more than "none of these applies"."""
    leaves: list[ValidationError] = []
    waiting = errors[::-1]
    while waiting:
        error = waiting.pop()
        if error.context:
            waiting += error.context[::-1]
        else:
            leaves.append(error)
    return max(leaves, key=lambda error: len(error.absolute_path))


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        found = _read_object(path)
        if not isinstance(found.get("$schema"), str):
            raise ValueError("it has no $schema that says which version it is of")
        return found
    except ValueError as exc:
        raise ConfigError(f"{path} is not a JSON schema ({exc}); give another --schemas") from exc


def _read_object(path: Path, root: Path | None = None) -> dict[str, Any]:
    """Return the JSON object in a file; a ValueError tells why there is none."""
    try:
        document = read_json(path, root)
    except (MMEarthError, OSError) as exc:
        raise ValueError(str(exc)) from exc
    if not isinstance(document, dict):
        raise ValueError(f"it holds a {type(document).__name__}")
    return document
