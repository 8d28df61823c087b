"""Patient intake forms: fictional people at a clinic's front desk."""

from collections.abc import Iterator
from datetime import date
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, computed_field

from .sources import pick_by_share

Sex = Literal["Female", "Male", "Intersex"]
BloodType = Literal["A+", "A-", "B+", "B-", "AB+", "AB-", "O+", "O-"]


class Patient(BaseModel):
    """A patient intake form."""

    sex: Sex = Field(title="Sex")
    age: int = Field(title="Age", ge=0, le=110)
    blood_type: BloodType = Field(title="Blood type")
    smoker: bool = Field(title="Smoker")
    pain: int = Field(title="Pain level", ge=0, le=10)
    patient: str = Field(title="Patient", description="full name", max_length=60)
    visit: date = Field(title="Visit date")
    complaint: str = Field(title="Complaint", description="one sentence", max_length=300)

    @computed_field(title="Age group")
    def age_group(self) -> Literal["child", "adult", "senior"]:
        return "child" if self.age < 18 else "adult" if self.age < 65 else "senior"


SEXES: dict[Sex, float] = {"Female": 0.495, "Male": 0.495, "Intersex": 0.01}
# Rounded world shares; they differ much from country to country.
BLOOD_TYPES: dict[BloodType, float] = {
    "O+": 0.39, "A+": 0.27, "B+": 0.22, "AB+": 0.05, "O-": 0.03, "A-": 0.02, "B-": 0.015, "AB-": 0.005
}  # fmt: skip
SMOKER = {True: 0.2, False: 0.8}


def balanced_patients(rng: np.random.Generator, n: int) -> Iterator[tuple[Sex, int, BloodType, bool, int]]:
    """Sex, age, blood type, smoker and pain: every age from 0 to 99 and every pain level alike often."""
    sexes, blood_types = pick_by_share(rng, SEXES, n), pick_by_share(rng, BLOOD_TYPES, n)
    ages, pains = rng.integers(0, 100, size=n).tolist(), rng.integers(0, 11, size=n).tolist()
    smokers = [smoker and age >= 16 for smoker, age in zip(pick_by_share(rng, SMOKER, n), ages, strict=True)]
    return zip(sexes, ages, blood_types, smokers, pains, strict=True)
