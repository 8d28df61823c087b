"""Job postings: a title, a place, terms and a one-sentence summary."""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, Field, computed_field

from .sources import pick

Contract = Literal["full-time", "part-time", "contract", "internship"]
Seniority = Literal["junior", "mid-level", "senior", "lead"]


class Job(BaseModel):
    """A job posting."""

    seniority: Seniority = Field(title="Seniority")
    contract: Contract = Field(title="Contract type")
    remote: bool = Field(title="Remote")
    title: str = Field(title="Job title", max_length=60)
    company: str = Field(title="Company", max_length=60)
    location: str = Field(title="Location", description="City, Country", max_length=80)
    salary: int = Field(title="Yearly salary", ge=10_000, le=400_000)
    summary: str = Field(title="Summary", description="one sentence", max_length=300)

    @computed_field(title="Country")
    def country(self) -> str:
        return self.location.rpartition(", ")[2] or self.location


def balanced_jobs(rng: np.random.Generator, n: int) -> Iterator[tuple[Seniority, Contract, bool]]:
    """Seniority, contract and remote, all combinations alike often; the rest stays the model's own."""
    remote = (rng.random(n) < 0.5).tolist()
    return zip(pick(rng, get_args(Seniority), n), pick(rng, get_args(Contract), n), remote, strict=True)
