"""A ten-sided die: the smallest record there is, for checking a declared distribution to the third digit."""

from pydantic import BaseModel, Field


class Die(BaseModel):
    """A roll of a ten-sided die."""

    value: int = Field(title="Number", ge=1, le=10)
