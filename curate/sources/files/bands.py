"""Which band of a file is which of ours: by the entry, by description, by number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.header import BandHeader, Header

How = Literal["bands:", "files:", "months:", "description", "number"]

_N_MONTHS = 12
# Other words for a band, of the whole description.
_WORDS = {
    "aster_gdem": {
        "elevation": {"elevation", "elev", "dem", "dtm", "dsm", "altitude", "elevation m"},
        "slope": {"slope", "slope deg", "slope degrees"},
    },
    "eth_gch": {
        "height": {"height", "canopy height", "canopy top height", "ch"},
        "uncertainty": {"uncertainty", "sd", "std", "stddev", "standard deviation"},
    },
}
_COMMON = {
    **{"rededge1": "B5", "rededge2": "B6", "rededge3": "B7", "narrownir": "B8A"},
    **{"coastalaerosol": "B1", "nirbroad": "B8", "nirnarrow": "B8A"},
    **{"aerosol": "B1", "watervapour": "B9", "watervapor": "B9", "swir1": "B11", "swir2": "B12"},
}
"""Names besides STAC's common ones."""
_PARTS = {
    "aster_gdem": (
        ("slope", r"slope|gradient"),
        ("elevation", r"elevation|elev|altitude|dem|dtm|dsm|height"),
    ),
    "eth_gch": (
        ("uncertainty", r"uncertainty|sd|std|stddev|deviation|error"),
        ("height", r"height|ch|chm"),
    ),
}
"""Words within a description that tell a band; the first that is there counts."""
_PERIODS = (
    ("last_month", r"(?:last|previous|prior) ?month"),
    ("year", r"year(?:ly)?|annual"),
    ("month", r"month(?:ly)?"),
)
_STATISTICS = (("max", r"max(?:imum)?"), ("min", r"min(?:imum)?"), ("mean", r"mean|avg|average"))
_GENERIC = r"(?:band|layer|lyr|raster)[ :]*(\d+)"
"""What programs call the band of a number, for want of a name."""
_NEAR_NM = 15.0
_OTHERS = re.compile(
    r"landsat|l30|\bl[ctme]0?[4-9]|modis|\bm[oy]d09|\bmcd43|viirs|vnp09|planet|psscene|\bspot",
    re.IGNORECASE,
)
"""Products whose bands have numbers of their own."""
_L1C = {"B8A": 9, "B9": 10, "B11": 12, "B12": 13}
"""Positions in a Level-1C file of thirteen bands, after B1 to B8."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which band of which file is one of ours."""

    ours: str
    """Name of our band; of a month, its number."""
    raster: str
    """Key of the raster among its product's."""
    theirs: BandHeader
    """What the file says of it."""
    how: How
    """What told it."""


def match(
    layer: Layer, names: Sequence[str], entry: Rasters, headers: Mapping[str, Header]
) -> list[Match]:
    """Return which bands of a product's files are ours.

    Args:
        layer: The modality or target.
        names: Our bands that the entry can have.
        entry: What the configuration says.
        headers: By our band, of products of one file a band; `""` → the header of the one file.

    Raises:
        ConfigError: The entry names a band that is not there, or the file's bands are not those
            that are expected and the entry does not say which is which.
    """
    told = entry.files or entry.bands or {}
    unknown = [band for band in told if band not in names]
    if unknown:
        raise ConfigError(
            f"{entry.path}: {layer.name} has no band {unknown[0]!r}; its bands are "
            f"{', '.join(names)}"
        )
    if entry.files is not None:
        return [Match(b, b, _single(layer, b, headers[b]), "files:") for b in entry.files]
    if entry.months and "" not in headers:  # a file a month
        return [Match(m, m, _single(layer, None, h), "months:") for m, h in headers.items()]
    header = headers[""]
    if entry.bands is not None:
        return [Match(b, "", _named(header, t), "bands:") for b, t in entry.bands.items()]
    if entry.months:
        return [Match(str(i), "", b, "months:") for i, b in enumerate(_months(header, entry), 1)]
    if header.of_times:
        raise ConfigError(
            f"{header.path} has {len(header.bands)} bands that are moments in time, expected "
            f"{', '.join(names)}; " + _advice(layer.name)
        )
    if layer.name == "sentinel2":
        _refuse_other_sensor(entry, header)
    return _described(layer, names, header) or _counted(layer, names, header)


def band_of(layer: Layer, description: str | None) -> str | None:
    """Return which band of a modality a description names, None where it names none.

    Sentinel-2's bands go by their code anywhere (`B02`, `B8A_20m`, `B2, central wavelength 490 nm`)
    or by their common name alone (`red`, `swir16`); B10 is named although we do not have it.
    """
    plain = re.sub(r"[\s_.\-]+", " ", (description or "").lower()).strip()
    if not plain:
        return None
    name, ours = layer.name, layer.band_names
    exact = [band for band in ours if band.lower().replace("_", " ") == plain]
    exact += [band for band, words in _WORDS.get(name, {}).items() if plain in words]
    if exact:
        return exact[0]
    within = {"sentinel2": _optical, "sentinel1": _radar, "temperature": _period}
    within["precipitation"] = _period
    found = within[name](plain) if name in within else _within(_PARTS.get(name, ()), plain)
    return found if found in ours or name == "sentinel2" else None


def _optical(plain: str) -> str | None:
    found = {f"B{int(n)}{a.upper()}" for n, a in re.findall(r"\bb(?:and)? ?(\d{1,2})(a?)\b", plain)}
    if len(found) == 1:
        return found.pop()
    joined = plain.replace(" ", "")
    if wavelength := re.fullmatch(r"(\d{3,4})(?:nm)?", joined):
        bands = MMEARTH_BENCH.layers["sentinel2"].bands
        off, nearest = min(
            (abs(float(wavelength[1]) - (b.wavelength_nm or 0)), b.name) for b in bands
        )
        return nearest if off <= _NEAR_NM else None
    common = {band.common_name: band.name for band in MMEARTH_BENCH.layers["sentinel2"].bands}
    return (common | _COMMON).get(joined) if not found else None


def _radar(plain: str) -> str | None:
    orbit = re.findall(r"\b(asc|desc)(?:ending)?\b", plain)
    orbit = orbit or [{"a": "asc", "d": "desc"}[o] for o in re.findall(r"\b[ad]\b", plain)]
    polarisation = re.findall(r"\b(vv|vh|hh|hv)\b", plain)
    if len(orbit) == 1 and len(polarisation) == 1:
        return f"{orbit[0]}_{polarisation[0].upper()}"
    return None


def _refuse_other_sensor(entry: Rasters, header: Header) -> None:
    """Refuse another sensor's codes, which are other bands than Sentinel-2's of the number."""
    texts = [band.description or "" for band in header.bands]
    coded = any(re.search(r"(?<![a-z])b(?:and[ _]?)?\d", text.lower()) for text in texts)
    named = any(re.search(r"\b([sl][rt]|sur_refl)_b\d", text.lower()) for text in texts)
    if named or (coded and _OTHERS.search(entry.product)):
        raise ConfigError(
            f"{header.path} describes its bands as {', '.join(texts[:14])}, which are "
            "another sensor's numbers; say which is which with bands:, as {B4: 4, B8A: 5}"
        )


def _within(parts: Sequence[tuple[str, str]], plain: str) -> str | None:
    """Return the first band whose words are within a description."""
    return next((band for band, words in parts if re.search(rf"\b(?:{words})\b", plain)), None)


def _period(plain: str) -> str | None:
    """Return the band of a period, and statistic where one is told: `t2m max of the year`."""
    period, statistic = _within(_PERIODS, plain), _within(_STATISTICS, plain)
    return period if statistic is None else f"{period}_{statistic}"


def _described(layer: Layer, names: Sequence[str], header: Header) -> list[Match]:
    """Return our bands by the file's descriptions, nothing where these name none of them."""
    if all(_is_generic(band) for band in header.bands):
        return []
    found = [band_of(layer, band.description) for band in header.bands]
    twice = [band for band, n in Counter(found).items() if n > 1 and band in names]
    mine = {band: i for i, band in enumerate(found) if band in names}
    if not mine:
        return []
    unnamed = [b.description for b, f in zip(header.bands, found, strict=True) if f is None]
    lacking = [band for band in names if band not in mine]
    if twice or (lacking and (unnamed or _by_position(header))):
        told = ", ".join(str(band.description) for band in header.bands[:14])
        why = f"{twice[0]} twice" if twice else f"not {', '.join(lacking)}"
        raise ConfigError(
            f"{header.path} describes its bands as {told}: {why} of {', '.join(names)}; say which "
            "is which with bands:"
        )
    return [Match(b, "", header.bands[mine[b]], "description") for b in names if b in mine]


def _by_position(header: Header) -> bool:
    """Return whether Sentinel-2's names may be mere numbers: B1, B2 …, even where B8A should be."""
    counted = [f"B{i}" for i in range(1, len(header.bands) + 1)]
    names = [(band.description or "").strip().upper() for band in header.bands]
    found = [_optical(name.lower()) for name in names]
    return (len(names) > 1 and names == counted) or (len(names) > 9 and found == counted)


def _is_generic(band: BandHeader) -> bool:
    """Return whether a band has no name but its number."""
    plain = re.sub(r"[\s_.\-]+", " ", (band.description or "").lower()).strip()
    found = re.fullmatch(_GENERIC, plain)
    return not plain or (found is not None and int(found[1]) == band.number)


def _counted(layer: Layer, names: Sequence[str], header: Header) -> list[Match]:
    """Return our bands by number where the file has as many."""
    n = len(header.bands)
    if n != len(names):
        described = [band.description for band in header.bands[:14] if band.description]
        having = f"described as {', '.join(described)}" if described else "without descriptions"
        raise ConfigError(
            f"{header.path} has {n} band{'s' * (n != 1)} {having}, expected {len(names)}: "
            f"{', '.join(names)}; " + _line(layer.name, names, n)
        )
    pairs = list(zip(names, header.bands, strict=True))
    for ours, theirs in pairs:
        if _contradicts(layer, ours, theirs):
            raise ConfigError(
                f"{header.path} describes its band {theirs.number} as {theirs.description!r}, "
                f"expected {ours}; " + _advice(layer.name)
            )
    return [Match(ours, "", theirs, "number") for ours, theirs in pairs]


def _contradicts(layer: Layer, ours: str, theirs: BandHeader) -> bool:
    """Return whether a band, by its description, is another than its number would make it."""
    if _is_generic(theirs):
        return False
    plain = re.sub(r"[\s_.\-]+", " ", (theirs.description or "").lower()).strip()
    classes = {c.name.lower().replace("_", " ") for c in layer.classes}
    polarisation = re.findall(r"\b(vv|vh|hh|hv)\b", plain) if layer.name == "sentinel1" else []
    other = band_of(layer, theirs.description) not in (None, ours)
    return other or plain in classes or any(p not in ours.lower() for p in polarisation)


def _advice(name: str) -> str:
    if name in ("precipitation", "temperature"):
        return "give months: where they are the twelve of a climatology, or bands:"
    return "say which is which with bands:"


def _line(name: str, names: Sequence[str], n: int) -> str:
    """Return what to write for a number of bands."""
    if name == "sentinel2" and n == len(names) + 1:
        usual = {band: i for i, band in enumerate(names[:8], 1)} | _L1C
        told = ", ".join(f"{band}: {i}" for band, i in usual.items())
        return f"say which is which with bands:, of Level-1C in its usual order {{{told}}}"
    if name == "sentinel1":
        return "say which is which with bands:, such as {asc_VV: 1, asc_VH: 2}"
    if name in ("precipitation", "temperature"):
        return _advice(name)
    return "say which is which with bands:, such as {" + f"{names[0]}: 1" + "}"


def _single(layer: Layer, ours: str | None, header: Header) -> BandHeader:
    """Return the one band of a band's own file, or the one that is described as it.

    Args:
        layer: The modality or target.
        ours: The band; None for a month, which a file of one band is of.
        header: Of the file.
    """
    if len(header.bands) == 1:
        [only] = header.bands
        said = None if _is_generic(only) else band_of(layer, only.description)
        if said is not None and ours is not None and said != ours:
            raise ConfigError(
                f"{header.path} describes its band as {only.description!r}, expected {ours}; "
                "correct files:"
            )
        return only
    found = [b for b in header.bands if ours and band_of(layer, b.description) == ours]
    if len(found) != 1:
        raise ConfigError(
            f"{header.path} has {len(header.bands)} bands, expected the one of "
            f"{ours or 'the month'}; name its own file in files:, or use bands:"
        )
    return found[0]


def _named(header: Header, theirs: int | str) -> BandHeader:
    found = [b for b in header.bands if theirs in (b.number, b.description)]
    if len(found) == 1:
        return found[0]
    names = [band.description for band in header.bands if band.description][:14]
    told = f"{len(header.bands)} bands, {', '.join(names) or 'without names'}"
    what = f"no band {theirs!r}" if not found else f"{len(found)} bands {theirs!r}"
    raise ConfigError(f"{header.path} has {what}; it has {told}; correct bands:")


def _months(header: Header, entry: Rasters) -> list[BandHeader]:
    """Return the twelve bands of January to December."""
    bands = list(header.bands)
    if entry.months is not True:
        bands = [b for b in bands if b.month is not None and b.month.year == entry.months]
    told = [band.month for band in bands]
    if len(bands) == _N_MONTHS and all(month is None for month in told) and entry.months is True:
        return bands
    by_month = {month.month: band for month, band in zip(told, bands, strict=True) if month}
    if len(bands) == _N_MONTHS and len(by_month) == _N_MONTHS:
        return [by_month[month] for month in range(1, _N_MONTHS + 1)]
    years = sorted({b.month.year for b in header.bands if b.month and b.month.year is not None})
    which = "" if entry.months is True else f" of {entry.months}"
    what = "correct months: or the file"
    if len(years) > 1:
        what = f"choose a year of {years[0]} to {years[-1]}: months: {years[0]}"
    elif by_month and len(bands) > len(by_month):  # of several levels, versions, hours
        what = "write one field of each month to a file of its own"
    raise ConfigError(
        f"{header.path} has {len(bands)} bands{which} of {len(by_month) or 'unknown'} months, "
        f"expected twelve, one a month; {what}"
    )
