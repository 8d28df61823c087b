"""Product listings: a catalogue entry with a price, a rating and a short review; targets that balance it."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, Field, computed_field

from .sources import ADJECTIVES, BRANDS, COLOURS, PRODUCTS, pick

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


def balanced_listings(
    rng: np.random.Generator, n: int
) -> Iterator[tuple[str, str, Category, Decimal, str, int]]:
    """Product, brand, category, price, colour and rating; categories, price bands and ratings in balance."""
    categories = pick(rng, get_args(Category), n)
    adjectives, choices = pick(rng, ADJECTIVES, n), rng.random(n).tolist()
    products = [
        f"{adjective} {PRODUCTS[category][int(choice * len(PRODUCTS[category]))]}"
        for adjective, category, choice in zip(adjectives, categories, choices, strict=True)
    ]
    bands = np.array([[200, 2000], [2000, 10001], [10001, 90001]])[rng.integers(3, size=n)]  # in cents
    prices = [Decimal(cents) / 100 for cents in rng.integers(bands[:, 0], bands[:, 1]).tolist()]
    brands, colours = pick(rng, BRANDS, n), pick(rng, COLOURS, n)
    ratings = rng.integers(1, 6, size=n).tolist()
    return zip(products, brands, categories, prices, colours, ratings, strict=True)
