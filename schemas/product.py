"""Product listings: a catalogue entry with a price, a rating and a short review."""

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, Field, computed_field

Category = Literal["Electronics", "Home", "Toys", "Sports", "Books", "Garden", "Beauty"]


class Product(BaseModel):
    """A product listing of an online shop."""

    product: str = Field(title="Product", max_length=80)
    brand: str = Field(title="Brand", max_length=60)
    category: Category = Field(title="Category")
    price: Decimal = Field(title="Price", gt=0, le=10_000, decimal_places=2)
    colour: str = Field(title="Colour", max_length=30)
    rating: int = Field(title="Rating", ge=1, le=5)
    in_stock: bool = Field(title="In stock")
    review: str = Field(title="Review", description="one sentence", max_length=300)

    @computed_field(title="Price band")
    def price_band(self) -> Literal["under 20", "20 to 100", "over 100"]:
        return "under 20" if self.price < 20 else "20 to 100" if self.price <= 100 else "over 100"
