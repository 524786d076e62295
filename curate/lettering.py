"""Text of pictures: what the font has not, and what there is no room for.

The font comes with Pillow, so that a picture is the same on every machine; it has little but ASCII.
"""

from __future__ import annotations

import unicodedata

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_HAS = {chr(code) for code in range(32, 127)} | set("©«°±´·»‘’“”…‹›⁄™")
_LIKE = {"μ": "u", "−": "-", "‐": "-", "–": "-", "—": "-", "×": "x", "ß": "ss"}
_LIKE |= {"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
_LIKE |= {"đ": "d", "Đ": "D", "ð": "d", "þ": "th", "ı": "i", "≤": "<=", "≥": ">=", "→": "->"}
"""What stands for a character that the font has not, once accents and heights are taken away."""


def drawable(text: str) -> str:
    """Return a text in characters that the font has: `µg m⁻³` as `ug m-3`, `?` for the rest."""
    return "".join(
        letter if letter in _HAS or letter == "\t" else _plain(letter) for letter in text
    )


def _plain(letter: str) -> str:
    parts = unicodedata.normalize("NFKD", letter)
    kept = [part for part in parts if not unicodedata.combining(part)]
    return "".join(part if part in _HAS else _LIKE.get(part, "?") for part in kept)


def font_for(draw: ImageDraw.ImageDraw, text: str, width: int, *sizes: int) -> Font:
    """Return the largest font in which a text is no wider than so many pixels; else a tiny one."""
    fonts = map(ImageFont.load_default, sizes)
    fits = (font for font in fonts if draw.textlength(text, font) <= width)
    return next(fits, ImageFont.load_default(8))


def cut(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float) -> str:
    """Return as much of a text as so many pixels have room for."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text}…"


def lines(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float) -> list[str]:
    """Return a text as lines no wider than so many pixels; a longer word is cut."""
    found = [""]
    for word in text.split(" "):
        longer = f"{found[-1]} {word}".lstrip()
        if found[-1] and draw.textlength(longer, font) > width:
            found.append(cut(draw, word, font, width))
        else:
            found[-1] = cut(draw, longer, font, width)
    return found
