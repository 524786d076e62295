"""Units as files spell them, and the way from them to a modality's."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_DAYS_OF_YEAR = 365.2425
_UNKNOWN = "unknown"  # of a task of the user's own that says none
_FT, _US_FT = 0.3048, 1200.0 / 3937.0
"""Metres: international yard and pound agreement of 1959; US survey foot, NIST SP 811 B.6."""

Per = Literal["day", "month", "year"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """value × factor + summand in the modality's unit; of a rate, times a period's length."""

    factor: float = 1.0
    """See above; of a rate, for a day, month or year of it."""
    summand: float = 0.0
    """See above."""
    per: Per | None = None
    """Of a rate: what it is counted by."""
    decibel: float | None = None
    """10 for power, 20 for amplitude: the value becomes so many times its decimal logarithm."""

    def apply(self, values: NDArray[np.float64], days: float, months: int) -> NDArray[np.float64]:
        """Return values in the modality's unit.

        Args:
            values: NaN where there is nothing.
            days: Length of the period that the values are of.
            months: How many months that is.
        """
        if self.decibel is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                found = self.decibel * np.log10(values * self.factor)
            return np.asarray(np.where(values > 0.0, found, np.nan))
        length = {None: 1.0, "day": days, "month": months, "year": days / _DAYS_OF_YEAR}[self.per]
        return values * (self.factor * length) + self.summand


def _spelled(table: dict[str, tuple[str, Conversion]]) -> dict[str, Conversion]:
    return {word: found for words, found in table.values() for word in words.split("|")}


_LENGTHS = _spelled(
    {
        "m": ("m|metre|metres|meter|meters", Conversion()),
        "mm": ("mm|millimetre|millimetres|millimeter|millimeters", Conversion(1e-3)),
        "cm": ("cm|centimetre|centimetres|centimeter|centimeters", Conversion(1e-2)),
        "dm": ("dm|decimetre|decimetres|decimeter|decimeters", Conversion(1e-1)),
        "km": ("km|kilometre|kilometres|kilometer|kilometers", Conversion(1e3)),
        "in": ("in|inch|inches", Conversion(0.0254)),
        "ft": (
            "ft|foot|feet|international foot|international feet|foot international",
            Conversion(_FT),
        ),
        "US survey foot": (
            "us survey foot|us survey feet|survey foot|survey feet|us foot|us feet|usfoot|usfeet"
            "|ftus|usft|us ft|ft us|foot us|feet us|sft|us survey ft|foot us survey|feet us survey"
            "|u s survey foot|u s survey feet|u s foot|u s feet",
            Conversion(_US_FT),
        ),
    }
)
_WATER = _spelled({"kg m-2": ("kg m-2|kg/m2|kg m2-1", Conversion(1e-3))})
_TEMPERATURES = _spelled(
    {
        "K": ("k|kelvin|kelvins|degk|deg k|degree kelvin|degrees kelvin|°k", Conversion()),
        "degC": (
            "c|degc|deg c|°c|celsius|degree celsius|degrees celsius|degree c|degrees c",
            Conversion(1.0, 273.15),
        ),
        "degF": (
            "f|degf|deg f|°f|fahrenheit|degree fahrenheit|degrees fahrenheit|degree f|degrees f",
            Conversion(5.0 / 9.0, 273.15 - 32.0 * 5.0 / 9.0),
        ),
    }
)
_ANGLES = _spelled(
    {
        "deg": ("deg|degree|degrees|°|arc degree|arc degrees", Conversion()),
        "rad": ("rad|radian|radians", Conversion(180.0 / math.pi)),
    }
)
_BACKSCATTER = _spelled(
    {
        "dB": ("db|decibel|decibels", Conversion()),
        "linear": (
            "linear|power|linear power|1|m2 m-2|m2/m2|natural|linear scale|unitless",
            Conversion(decibel=10.0),
        ),
        "amplitude": ("amplitude|linear amplitude|voltage", Conversion(decibel=20.0)),
    }
)
_REFLECTANCE = _spelled(
    {
        "DN": ("dn|digital number|digital numbers|reflectance x 10000", Conversion()),
        "1": ("1|reflectance|unitless|none|fraction", Conversion(1e4)),
        "percent": ("percent|%|per cent", Conversion(1e2)),
    }
)
_BIOMASS = _spelled(
    {
        "Mg/ha": ("mg/ha|mg ha-1|t/ha|t ha-1|tonnes/ha|tons/ha", Conversion()),
        "kg/ha": ("kg/ha|kg ha-1", Conversion(1e-3)),
        "kg/m2": ("kg/m2|kg m-2", Conversion(10.0)),
    }
)
_SHARES = {
    "1": _spelled(
        {
            "1": ("1|unitless|none|fraction|ratio|dimensionless", Conversion()),
            "percent": ("percent|%|per cent", Conversion(1e-2)),
        }
    ),
    "%": _spelled(
        {
            "percent": ("percent|%|per cent", Conversion()),
            "1": ("1|fraction|ratio", Conversion(1e2)),
        }
    ),
}
_PERS: dict[str, tuple[Per, float]] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("day", 86400.0)),
    **dict.fromkeys(("h", "hr", "hour", "hours"), ("day", 24.0)),
    **dict.fromkeys(("d", "day", "days"), ("day", 1.0)),
    **dict.fromkeys(("mon", "month", "months"), ("month", 1.0)),
    **dict.fromkeys(("y", "yr", "year", "years", "a"), ("year", 1.0)),
}
_OF: dict[str, tuple[str, dict[str, Conversion]]] = {
    "m": ("m, mm, cm, dm, km, ft, in, US survey foot", _LENGTHS),
    "K": ("K, degC, degF", _TEMPERATURES),
    "deg": ("deg, rad", _ANGLES),
    "dB": ("dB, linear, amplitude", _BACKSCATTER),
    "DN": ("DN, reflectance, percent", _REFLECTANCE),
    "Mg/ha": ("Mg/ha, kg/ha, kg/m2", _BIOMASS),
    "1": ("1, percent", _SHARES["1"]),
    "%": ("percent, 1", _SHARES["%"]),
}


def expected(unit: str, of_period: bool) -> str:
    """Return the units that can become one of ours, for a sentence.

    Args:
        unit: Of the modality.
        of_period: It is a sum over a period, which rates can become too.
    """
    return _known(unit)[0] + (
        ", each of them a second, hour, day, month or year" if of_period else ""
    )


def conversion(text: str, unit: str, of_period: bool) -> Conversion | None:
    """Return the way from a unit to one of ours, None where it is not understood.

    Args:
        text: As a file or a configuration spells it: `US survey foot`, `mm/day`, `kg m-2 s-1`.
        unit: The modality's; `DN` for reflectance × 10000; any is taken for an unknown one.
        of_period: It is a sum over a period, which rates can become too; `kg m-2` is water then.
    """
    if unit == _UNKNOWN:
        return Conversion()
    plain, (_, known) = _plain(text), _known(unit)
    if of_period:
        known = known | _WATER
    if plain in known:
        return known[plain]
    return _rate(plain, known) if of_period else None


def _known(unit: str) -> tuple[str, dict[str, Conversion]]:
    """Return the units that can become one of ours, for a sentence, and the way by spelling.

    A layer of the user's own may be in a unit that has the same base as others: °C, cm, kg/ha.
    """
    if unit in _OF:
        return _OF[unit]
    for base in ("m", "K", "deg", "Mg/ha"):
        told, ways = _OF[base]
        if (ours := ways.get(_plain(unit))) is not None:
            return told, {
                word: Conversion(
                    way.factor / ours.factor, (way.summand - ours.summand) / ours.factor
                )
                for word, way in ways.items()
            }
    return unit, {_plain(unit): Conversion()}


def _rate(plain: str, known: dict[str, Conversion]) -> Conversion | None:
    """Return the conversion of `mm/day`, `mm d-1`, `mm per day`, `kg m-2 s-1`."""
    found = re.fullmatch(r"(.+?)\s*(?:/\s*|\bper\s+)([a-z]+)", plain)
    found = found or re.fullmatch(r"(.+?)\s+([a-z]+)-1", plain)
    found = found or re.fullmatch(r"(\S+/\S+)\s+([a-z]+)", plain)  # kg/(m^2 s)
    if found is None or found[2] not in _PERS or found[1] not in known:
        return None
    per, times = _PERS[found[2]]
    return Conversion(known[found[1]].factor * times, 0.0, per)


def _plain(text: str) -> str:
    """Return a spelling without its accidents: case, brackets, `**`, `^`, `⁻¹`, `_`, `of water`."""
    plain = (
        text.replace("℃", "°C").strip().lower().translate(str.maketrans("⁻⁰¹²³−·*º", "-0123-  °"))
    )
    plain = re.sub(r"\^|\(|\)|\[|\]|_|\.(?!\d)", " ", plain)
    plain = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", plain)  # us-ft
    plain = re.sub(r"(?<=[a-z])\s+(?=-?\d)", "", plain)  # m -2, s ** -1
    plain = re.sub(r"\s+(of )?water( equivalent)?\b", "", plain)
    plain = re.sub(r"\s*/\s*", "/", plain)
    return " ".join(plain.split())
