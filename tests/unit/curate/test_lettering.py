"""Text of pictures: in letters that the font has, and no wider than its place."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mmearth.catalog.layer import ClassCode
from mmearth.curate.lettering import cut, drawable, font_for, lines
from mmearth.curate.sheet import Panel, compose

DRAW = ImageDraw.Draw(Image.new("RGB", (10, 10)))
LONG = "a_name_of_a_band_that_has_no_end_and_no_space_anywhere"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("µg m⁻³", "ug m-3"),
        ("t/ha at 5°", "t/ha at 5°"),
        ("Nadelwald, immergrün\t1 m²", "Nadelwald, immergrun\t1 m2"),
        ("Straße, Łódź, forêt", "Strasse, Lodz, foret"),
        ("森 ≤ 3", "? <= 3"),
    ],
)
def test_what_the_font_has_not_is_said_otherwise(text: str, expected: str) -> None:
    assert drawable(text) == expected
    font, unknown = ImageFont.load_default(14), bytes(ImageFont.load_default(14).getmask("\uffff"))
    letters = [letter for letter in drawable(text) if letter not in " \t"]
    assert all(bytes(font.getmask(letter)) != unknown for letter in letters)


def test_lines_are_no_wider_than_their_place() -> None:
    font = font_for(DRAW, "", 100, 12)
    found = lines(DRAW, f"{LONG} and {LONG}, 2 to 98 % stretch", font, 120)
    assert len(found) > 2 and found[-1].endswith("stretch")
    assert all(DRAW.textlength(line, font) <= 120 for line in found)
    assert cut(DRAW, "short", font, 120) == "short"


def test_a_panel_writes_nothing_beside_itself() -> None:
    colours = np.zeros((4, 4, 3), np.uint8)
    named = Panel(LONG * 3, colours, (f"{LONG} {LONG}",), (ClassCode(1, LONG * 2, "#ff0000"),))
    told = Panel("values", [f"{LONG}\t1.0 m", LONG * 2])
    plain = Panel("", colours)
    alone, beside = compose([plain, plain, plain], ""), compose([named, plain, told], "")
    gap = (14 + 256 + 8, 50, 14 + 256 + 14 + 256, beside.height)
    assert np.array_equal(np.asarray(alone.crop(gap)), np.asarray(beside.crop(gap)))
    margin = (beside.width - 13, 50, beside.width, beside.height)
    assert np.ptp(np.asarray(beside.crop(margin)), axis=(0, 1)).tolist() == [0, 0, 0]
