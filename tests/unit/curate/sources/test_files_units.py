"""Units as files spell them become the modality's, or are not understood."""

from __future__ import annotations

import numpy as np
import pytest

from mmearth.curate.sources.files.units import conversion, expected

JULY = (31.0, 1)
YEAR = (366.0, 12)


@pytest.mark.parametrize(
    ("spelling", "unit", "value", "result"),
    [
        ("m", "m", 5, 5),
        ("metres", "m", 5, 5),
        ("cm", "m", 5, 0.05),
        ("Feet", "m", 1, 0.3048),
        ("US survey foot", "m", 3937, 1200),
        ("US_survey_foot", "m", 3937, 1200),
        ("ftUS", "m", 3937, 1200),
        ("us-ft", "m", 3937, 1200),
        ("foot_us", "m", 3937, 1200),
        ("U.S. survey feet", "m", 3937, 1200),
        ("feet (US survey)", "m", 3937, 1200),
        ("K", "K", 280, 280),
        ("kelvin", "K", 280, 280),
        ("degC", "K", 0, 273.15),
        ("°C", "K", 0, 273.15),
        ("degrees_Celsius", "K", 0, 273.15),
        ("deg C", "K", 0, 273.15),
        ("degF", "K", 32, 273.15),
        ("degrees Fahrenheit", "K", 212, 373.15),
        ("degree", "deg", 45, 45),
        ("radian", "deg", np.pi, 180),
        ("dB", "dB", -12, -12),
        ("linear", "dB", 0.1, -10),
        ("linear power", "dB", 0.1, -10),
        ("amplitude", "dB", 0.1, -20),
        ("reflectance", "DN", 0.25, 2500),
        ("%", "DN", 25, 2500),
        ("t/ha", "Mg/ha", 12, 12),
        ("kg m-2", "Mg/ha", 12, 120),
        ("K", "degC", 273.15, 0),  # from here on of layers of one's own
        ("degF", "°C", 212, 100),
        ("degC", "celsius", 20, 20),
        ("m", "cm", 5, 500),
        ("inch", "mm", 1, 25.4),
        ("centimetres", "cm", 5, 5),
        ("rad", "degrees", np.pi, 180),
        ("t/ha", "kg/m2", 12, 1.2),
    ],
)
def test_spellings(spelling: str, unit: str, value: float, result: float) -> None:
    way = conversion(spelling, unit, of_period=False)
    assert way is not None
    assert way.apply(np.array([value], dtype=float), *JULY)[0] == pytest.approx(result)


@pytest.mark.parametrize(
    ("spelling", "value", "period", "metres"),
    [
        ("mm", 93, JULY, 0.093),
        ("mm/month", 93, JULY, 0.093),
        ("mm month-1", 93, YEAR, 12 * 0.093),
        ("kg m-2", 93, JULY, 0.093),
        ("m of water equivalent", 0.093, JULY, 0.093),
        ("mm/day", 3, JULY, 0.093),
        ("mm d-1", 3, YEAR, 3 * 0.366),
        ("mm day^-1", 3, JULY, 0.093),
        ("mm per day", 3, JULY, 0.093),
        ("m/day", 0.003, JULY, 0.093),
        ("mm h-1", 1, JULY, 0.744),
        ("mm/hr", 1, JULY, 0.744),
        ("m s-1", 1e-8, JULY, 1e-8 * 86400 * 31),
        ("kg m-2 s-1", 1e-5, JULY, 1e-8 * 86400 * 31),
        ("kg m**-2 s**-1", 1e-5, JULY, 1e-8 * 86400 * 31),
        ("kg m⁻² s⁻¹", 1e-5, JULY, 1e-8 * 86400 * 31),
        ("kg/m^2/s", 1e-5, JULY, 1e-8 * 86400 * 31),
        ("kg/(m^2 s)", 1e-5, JULY, 1e-8 * 86400 * 31),
        ("inch/day", 1, JULY, 31 * 0.0254),
        ("mm yr-1", 365.2425, JULY, 0.031),
    ],
)
def test_precipitation(
    spelling: str, value: float, period: tuple[float, int], metres: float
) -> None:
    way = conversion(spelling, "m", of_period=True)
    assert way is not None
    assert way.apply(np.array([value], dtype=float), *period)[0] == pytest.approx(metres)


@pytest.mark.parametrize(
    ("spelling", "unit", "of_period"),
    [
        ("parsec", "m", False),
        ("K", "m", False),
        ("mm/day", "m", False),  # no rate of an elevation
        ("kg m-2", "m", False),
        ("mm/3h", "m", True),
        ("0.1 mm", "m", True),
        ("K*100", "K", False),
        ("degrees", "K", False),
        ("intensity", "dB", False),
        ("m", "deg", False),
        ("", "m", False),
    ],
)
def test_what_is_not_understood(spelling: str, unit: str, of_period: bool) -> None:
    assert conversion(spelling, unit, of_period) is None


def test_power_of_nothing_is_no_decibel() -> None:
    way = conversion("linear", "dB", of_period=False)
    assert way is not None
    assert np.isnan(way.apply(np.array([0.0, -1.0, np.nan]), *JULY)).all()


def test_the_sentence_of_what_is_expected() -> None:
    assert expected("K", False) == "K, degC, degF"
    assert expected("m", True).endswith("each of them a second, hour, day, month or year")
