"""Orders of a small café. Change the fields to yours: each becomes one line of the model's answer."""

from typing import Literal

from pydantic import BaseModel, Field, computed_field


class Order(BaseModel):
    """An order of a café."""

    drink: Literal["coffee", "tea", "juice", "water", "hot chocolate"] = Field(title="Drink")
    size: Literal["small", "medium", "large"] = Field(title="Size")
    takeaway: bool = Field(title="Takeaway")
    customer: str = Field(title="Customer", description="first name", max_length=40)
    rating: int = Field(title="Rating", ge=1, le=5)
    comment: str = Field(title="Comment", description="one sentence", max_length=300)

    @computed_field(title="Is happy")
    def is_happy(self) -> bool:
        """A derived column: exported and reported like the others."""
        return self.rating >= 4
