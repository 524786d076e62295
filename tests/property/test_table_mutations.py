"""Damaged tables: a row comes out as it was, or is counted as left out, or the table is refused.

Tables are made, then damaged at one or two bytes. What was not touched must not change: that is
known from the table before, without another parser.
"""

from __future__ import annotations

import csv
import io
import logging
import random
import re
from pathlib import Path

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.labels.points import point_labels
from mmearth.curate.labels.soil import soil_labels
from mmearth.curate.places import PointsPlaces, SoilPlaces
from mmearth.curate.source import Label
from mmearth.tests.damage import TIMES

pytestmark = pytest.mark.fuzz

_TABLES = 2500 * TIMES
_INSERTED = [
    '"',
    '"',
    '"',
    "\n",
    "\r",
    ",",
    ";",
    "\t",
    "|",
    ".",
    "-",
    "7",
    "x",
    "é",
    "\0",
    " ",
    '""',
]
_NOTES = ["plain", "", "six feet", "naïve", 'a "b" c', "x, y", "one\ntwo", "a;b|c", "5", "-"]
_POINTS = PointsPlaces(path="t.csv", value="value", id="id")
_SOIL = SoilPlaces(
    path="t.csv", lon="lon", lat="lat", value="value", id="id",
    upper=None, lower=None, uncertainty=None,
)  # fmt: skip

_NUMBER = r"[+-]?(\d+[.,]?\d*|[.,]\d+)"
Row = tuple[str, float, float, float | None]


def _made(draw: random.Random) -> tuple[list[Row], list[str], str]:
    """Return the rows of a table, its lines by record, header first, and its separator."""
    separator = draw.choice(",\t;|")
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    plain = draw.random() < 0.4  # a table that quotes nothing
    rows: list[Row] = []
    records = [["id", "lon", "note", "lat", "value"]]
    for i in range(draw.randint(2, 12)):
        lon, lat = round(draw.uniform(5, 25), draw.choice([0, 3])), round(draw.uniform(45, 60), 3)
        value = draw.choice([None, round(draw.uniform(3, 9), 1), float(draw.randint(3, 9))])
        rows.append((f"{i:03d}", lon, lat, value))
        note = draw.choice(_NOTES[:4] if plain else _NOTES)
        records.append([f"{i:03d}", str(lon), note, str(lat), "" if value is None else str(value)])
    written = []
    for record in records:
        text = io.StringIO(newline="")
        how = csv.QUOTE_MINIMAL if plain else quoting
        csv.writer(text, delimiter=separator, quoting=how, lineterminator="\n").writerow(record)
        written.append(text.getvalue())
    return rows, written, separator


def _damaged(draw: random.Random, written: list[str]) -> tuple[list[str], set[int]]:
    """Return the records of a table damaged at one or two places, and which were touched."""
    touched: set[int] = set()
    written = list(written)
    for _ in range(draw.choice([1, 1, 2])):
        record = draw.randrange(len(written))
        text = written[record]
        at = draw.randrange(len(text)) if text else 0
        how = draw.choice(["insert", "insert", "delete", "replace", "double", "cut"])
        touched |= {record, record + 1} if at == len(text) - 1 else {record}
        if how == "double":
            text += text
        elif how == "cut" and record == len(written) - 1:
            text = text[:at]
        else:
            put = "" if how == "delete" else draw.choice(_INSERTED)
            text = text[:at] + put + text[at + (how != "insert") :]
        written[record] = text
    return written, touched


def _encoded(draw: random.Random, text: str) -> bytes:
    if draw.random() < 0.3:
        text = text.replace("\n", draw.choice(["\r\n", "\r"]))
    return text.encode(draw.choice(["utf-8", "utf-8", "utf-8-sig", "cp1252", "utf-16"]))


def _read(kind: str, directory: Path) -> list[Label]:
    if kind == "soil":
        return soil_labels(MMEARTH_BENCH.tasks["soil_pH"], _SOIL, directory)
    return point_labels(
        own_task("custom", TargetConfig()) if kind == "custom" else MMEARTH_BENCH.tasks["soil_pH"],
        _POINTS,
        directory,
        DEFAULT_GRID,
    )


def _row(label: Label) -> Row:
    return label.label_id or "", label.lon, label.lat, label.value


@pytest.mark.parametrize("kind", ["custom", "points", "soil"])
def test_no_row_of_a_damaged_table_is_another_row(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mmearth")
    n_read = 0
    for number in range(_TABLES // 3 + 1):
        draw = random.Random(f"{kind} {number}")
        rows, written, separator = _made(draw)
        damaged, touched = _damaged(draw, written)
        text = "".join(damaged)
        (tmp_path / "t.csv").write_bytes(_encoded(draw, text))
        caplog.clear()
        try:
            found = [_row(label) for label in _read(kind, tmp_path)]
        except ConfigError:
            continue
        n_read += 1
        kept = [row for row in rows if kind == "custom" or row[3] is not None]
        whole = {row for row in kept if int(row[0]) + 1 not in touched}
        lost = whole - set(found)
        told = re.search(r"kept \d+ of \d+ (?:rows|layers); (.*)", caplog.text)
        counted = sum(map(int, re.findall(r"(\d+) [a-z]", told[1]))) if told else 0
        empty = len(rows) - len(kept)
        assert len(lost) <= max(counted - empty, 0), (number, text, found)
        # What is new comes from the records that were touched, and from no other.
        here = "\n".join(damaged[i] for i in touched if i < len(damaged)).replace('"', "")
        cells = {cell.strip() for cell in re.split(rf"[{re.escape(separator)}\r\n]", here)}
        numbers = {float(c.replace(",", ".")) for c in cells if re.fullmatch(_NUMBER, c)}
        for id_, lon, lat, value in set(found) - set(kept):
            plain = re.sub("\r\n?", "\n", id_.replace('"', ""))
            assert plain in re.sub("\r\n?", "\n", here), (number, text, id_)
            assert {lon, lat, value} <= numbers | {None}, (number, text, id_)
    assert n_read > 100
