"""Biographies: the record of the published experiment, and the target tuples that balance it."""

from calendar import isleap
from collections.abc import Iterator
from datetime import date
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, computed_field, field_validator

from .sources import full_names, pick, pick_by_share, places

Gender = Literal["Female", "Male", "Non-binary"]


class Biography(BaseModel):
    """A short biography of a person."""

    name: str = Field(title="Name", min_length=3, max_length=60)
    gender: Gender = Field(title="Gender")
    born: date = Field(title="Birth date", ge=date(1900, 1, 1), le=date(2025, 12, 31))
    birthplace: str = Field(title="Birth place", description="City, Country", max_length=80)
    profession: str = Field(title="Profession", max_length=60)
    accomplishments: str = Field(title="Accomplishments", description="one sentence", max_length=300)

    @field_validator("birthplace")
    @classmethod
    def _city_and_country(cls, place: str) -> str:
        city, _, country = place.rpartition(", ")
        if not city.strip() or not country.strip():
            raise ValueError("expected 'City, Country'")
        return place

    @computed_field(title="First name")
    def first_name(self) -> str:
        return self.name.split()[0]

    @computed_field(title="Last name")
    def last_name(self) -> str:
        return self.name.split()[-1]

    @computed_field(title="Birth year")
    def birth_year(self) -> int:
        return self.born.year

    @computed_field(title="City")
    def city(self) -> str:
        return self.birthplace.rpartition(", ")[0]

    @computed_field(title="Country")
    def country(self) -> str:
        return self.birthplace.rpartition(", ")[2]


GENDERS: dict[Gender, float] = {"Female": 0.48, "Male": 0.48, "Non-binary": 0.04}


def balanced_tuples(rng: np.random.Generator, n: int) -> Iterator[tuple[str, Gender, date, str]]:
    """Name, gender, birth date and birth place: balanced on gender, birth year (1935 to 2010) and place."""
    genders = pick_by_share(rng, GENDERS, n)
    years, days = rng.integers(1935, 2011, size=n), rng.random(n)
    born = [
        date.fromordinal(date(year, 1, 1).toordinal() + int(day * (365 + isleap(year))))
        for year, day in zip(years.tolist(), days.tolist(), strict=True)
    ]
    return zip(full_names(rng, genders), genders, born, pick(rng, places(), n), strict=True)
