"""The expressions that Earth Engine's client sends, evaluated over an archive of our own.

An image is a function of the grid that is asked for, a collection is listed when it must be, and
an operation that is not known is refused. Read `graph.py` first, then `nouns.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.evaluate import (
    arithmetic,
    charges,
    collections,
    composites,
    dates,
    dictionaries,
    elements,
    filters,
    geometry,
    images,
    joins,
    masks,
    reducers,
    regions,
    reply,
    spans,
    surfaces,
    values,
)
from mmearth.tests.earthengine.evaluate.graph import Graph
from mmearth.tests.earthengine.evaluate.nouns import (
    Elements,
    Lambda,
    Picture,
    Region,
    Row,
    Stored,
    Stream,
    Times,
    refuse,
)
from mmearth.tests.earthengine.evaluate.pixels import FORMATS, drawn, grid_of
from mmearth.tests.earthengine.model import Archive, Collection, ServiceError, Table

_PUBLIC = "projects/earthengine-public/assets"
FUNCTIONS: dict[str, Lambda] = {
    **arithmetic.FUNCTIONS,
    **collections.FUNCTIONS,
    **composites.FUNCTIONS,
    **dates.FUNCTIONS,
    **dictionaries.FUNCTIONS,
    **elements.FUNCTIONS,
    **filters.FUNCTIONS,
    **geometry.FUNCTIONS,
    **images.FUNCTIONS,
    **joins.FUNCTIONS,
    **masks.FUNCTIONS,
    **reducers.FUNCTIONS,
    **regions.FUNCTIONS,
    **spans.FUNCTIONS,
    **surfaces.FUNCTIONS,
    **values.FUNCTIONS,
    "ErrorMargin": lambda value, unit: value,
    "If": lambda condition, yes, no: yes if values.truth(condition) else no,
}
"""Every operation that needs no archive, by its name on the wire."""


class Evaluate:
    """Answers expressions over an archive."""

    def __init__(self, archive: Archive, integers: str = "rounded") -> None:
        """Answer over an archive.

        Args:
            archive: The assets.
            integers: What becomes of integers between pixels, a key of `surfaces.INTEGERS`.
        """
        self._archive = archive
        self._functions: dict[str, Lambda] = {
            **FUNCTIONS,
            "Collection.loadTable": self._table,
            "Image.load": self._image,
            "Image.resample": surfaces.resampling(integers),
            "ImageCollection.load": self._collection,
            "Profile.getProfiles": self._profiles,
        }

    @property
    def functions(self) -> frozenset[str]:
        """Names of the operations that are known."""
        return frozenset(self._functions)

    def value(self, graph: Mapping[str, Any]) -> Any:
        """Return what an expression is worth, as JSON.

        Raises:
            ServiceError: It cannot be evaluated.
        """
        return reply.encode(Graph(graph, self._functions).evaluate())

    def pixels(self, graph: Mapping[str, Any], grid: Mapping[str, Any], file_format: str) -> bytes:
        """Return an image's pixels.

        Args:
            graph: An expression of an image.
            grid: As on the wire: `dimensions`, `affineTransform`, `crsCode`.
            file_format: `NPY` or `GEO_TIFF`.

        Raises:
            ServiceError: It cannot be evaluated, is no image, or is too large.
        """
        if file_format not in FORMATS:
            raise refuse(f"Unsupported file format '{file_format}'.")
        image = Graph(graph, self._functions).evaluate()
        if not isinstance(image, Picture):
            raise refuse("The expression is not an Image.")
        asked = grid_of(grid)
        return FORMATS[file_format](drawn(image, asked), asked)

    def features(
        self, graph: Mapping[str, Any], page_size: int, page_token: str | None
    ) -> dict[str, Any]:
        """Return one page of a table as GeoJSON; `nextPageToken` is there while there is more.

        Raises:
            ServiceError: It cannot be evaluated, or is no table.
        """
        return reply.page(Graph(graph, self._functions).evaluate(), page_size, page_token)

    def assets(self, folder: str, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return one page of a public folder, as `listAssets` does.

        Raises:
            ServiceError: There is no such folder.
        """
        try:
            found = self._archive.assets(folder)
        except KeyError as error:
            about = f"Asset '{_PUBLIC}/{folder}' does not exist or doesn't allow this operation."
            raise ServiceError(404, "NOT_FOUND", about) from error
        begin = int(page_token or 0)
        end = begin + page_size
        listed = [{"name": f"{_PUBLIC}/{asset}", "id": asset} for asset in found[begin:end]]
        more = {"nextPageToken": str(end)} if end < len(found) else {}
        return {"assets": listed, **more}

    def _image(self, name: str, version: int) -> Picture:
        image = images.picture_of(_found(self._archive.image, name, "Image.load: Image"))
        if version > 0 and image.properties.get("system:version") != version:
            raise refuse(f"Image.load: Image asset '{name}' has no version {version}.")
        return image

    def _collection(self, name: str, version: int | None) -> Elements:
        if version is not None:
            raise refuse("ImageCollection.load: 'version' is not known here.")
        found = _found(self._archive.collection, name, "ImageCollection.load: ImageCollection")
        return _stored(_images(found), images=True)

    def _table(self, name: str, column: str | None, version: int) -> Elements:
        if column is not None or version > 0:
            raise refuse("Collection.loadTable: only 'tableId' is known here.")
        found = _found(self._archive.table, name, "Collection.loadTable: Collection")
        return _stored(_rows(found), images=False)

    @staticmethod
    def _profiles(names: list[str], form: str, most: int | None) -> str:
        """Return what requests cost, a line each."""
        if form != "text" or most is not None:
            raise refuse("Profile.getProfiles: only the format 'text' is known here.")
        rows = [f"{charges.cost_of(name):8.3f}    0      1  {name}" for name in names]
        return "\n".join([" EECU·s PeakMem  Count  Description", *rows])


def _found(load: Callable[[str], Any], name: str, what: str) -> Any:
    """Return an asset.

    Raises:
        ServiceError: There is none of that name.
    """
    try:
        return load(name)
    except KeyError as error:
        raise refuse(
            f"{what} asset '{name}' not found (does not exist or caller does not have access)."
        ) from error


Query = Callable[[BaseGeometry | None, Times | None], Iterator[Picture | Row]]


def _stored(query: Query, images: bool) -> Elements:
    stored = Stored(query)
    return Elements(Stream(stored), images, stored)


def _images(collection: Collection) -> Query:
    def query(bounds: BaseGeometry | None, times: Times | None) -> Iterator[Picture]:
        return map(images.picture_of, collection.query(bounds, times))

    return query


def _rows(table: Table) -> Query:
    def query(bounds: BaseGeometry | None, _: Times | None) -> Iterator[Row]:
        for number, found in enumerate(table.query(bounds)):
            region = None if found.geometry is None else Region(found.geometry)
            yield Row(region, {"system:index": str(number), **found.properties})

    return query
