"""The corpus of the built-in model: an endless stream of prompts with random answers in the wire format.

Third stage: lexicon (words) → sentences and wordings (texts) → corpus (prompts and answers) → build (tokeniser and
training). In the `broad` stage values are spread over thousands; `lists` is the same world with more closed lists,
whose options begin with every token alike, and `copying` has many more records of short options alone; the
`collapsed` stage repeats the published disease (Evelyn, 1985, Female) over the same prompts, so that there is
something to cure. Randomness comes from one `numpy` generator; inside, a `random.Random` seeded by it draws single
values faster.
"""

import re
import unicodedata
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import accumulate
from random import Random

import numpy as np

from synthgen.nano import wordings as w
from synthgen.nano.lexicon import (
    CONTINENTS,
    LISTS,
    RESERVED,
    RUDE,
    Stage,
    Weighted,
    World,
    has_reserved,
    pseudo_word,
    world,
)
from synthgen.nano.sentences import grammar

__all__ = ["RESERVED", "Example", "Stage", "examples"]


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt and independent draws of its answer.

    `answers` are complete assistant messages without the end token; `kind` names the source: a shipped schema
    ('biography'), a free variant of it ('biography-variant'), 'record', 'unseen-list', 'short-lists' or 'question:<task>'.
    """

    prompt: str
    answers: tuple[str, ...]
    kind: str


# ---------------------------------------------------------------- the facts of one record

_FOLD = str.maketrans(
    {"ø": "o", "ł": "l", "ı": "i", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)


@lru_cache(maxsize=8192)
def _ascii(name: str) -> str:
    folded = unicodedata.normalize("NFKD", name.lower().translate(_FOLD))
    return re.sub(r"[^a-z]", "", folded)


class Scene:
    """One record in the making: facts are drawn when first asked for and agree with each other afterwards."""

    __slots__ = ("_category", "_facts", "_place", "r", "said", "stage", "world")

    def __init__(self, r: Random, words_: World) -> None:
        self.r, self.world, self.stage = r, words_, words_.stage
        self._facts: dict[str, str] = {}
        self._place: tuple[str, str] | None = None
        self.said: set[str] = set()

    def _fact(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._facts:
            self._facts[name] = make()
        return self._facts[name]

    @property
    def gender(self) -> str:
        """'f', 'm' or 'n'."""
        return self._fact("gender", self._draw_gender)

    def _draw_gender(self) -> str:
        u = self.r.random()
        female, male = (0.95, 0.98) if self.world.collapsed else (0.48, 0.95)
        return "f" if u < female else "m" if u < male else "n"

    def _given_name(self, gender: str) -> str:
        agrees = self.r.random() < 0.96
        if gender == "n":
            agrees = True
            gender = "f" if self.r.random() < (0.8 if self.world.collapsed else 0.5) else "m"
        return self.world.draw("woman" if (gender == "f") == agrees else "man", self.r)

    @property
    def first(self) -> str:
        return self._fact("first", lambda: self._given_name(self.gender))

    @property
    def last(self) -> str:
        return self._fact("last", lambda: self.world.draw("last", self.r))

    def other_name(self) -> str:
        """A second person, who has nothing to do with the first."""
        return f"{self._given_name(self._draw_gender())} {self.world.draw('last', self.r)}"

    @property
    def profession(self) -> str:
        self.said.add("profession")
        return self._fact("profession", lambda: self.world.draw("profession", self.r))

    @property
    def category(self) -> str:
        names = tuple(self.world.products)
        return self._fact("category", lambda: self.world.option(names, self.r, "Electronics"))

    @property
    def place(self) -> tuple[str, str]:
        if self._place is None:
            self._place = self.world.places.draw(self.r)
        return self._place


Draw = Callable[[Scene], str]
#: Strings that unknown options begin with; where there are none, words and pieces of words serve.
Pieces = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a prompt and how its answer is drawn."""

    label: str
    hint: str
    draw: Draw

    @property
    def line(self) -> str:
        return f"{{{self.label} - {self.hint}}}" if self.hint else f"{{{self.label}}}"


# ---------------------------------------------------------------- drawing values

_MONTHS = LISTS["month"]


def _date(s: Scene, years: Weighted[int]) -> tuple[int, int, int]:
    r = s.r
    year, month, day = years.draw(r), s.world.months.draw(r), s.world.days.draw(r)
    last = monthrange(year, month)[1]
    return year, month, day if day <= last else int(r.random() * last) + 1


def _iso(s: Scene, years: Weighted[int]) -> str:
    year, month, day = _date(s, years)
    return f"{year}-{month:02d}-{day:02d}"


def _time(s: Scene) -> str:
    return s.world.favoured("time", s.r, lambda r: f"{int(r.random() * 24):02d}:{int(r.random() * 60):02d}")


def _slash_date(s: Scene) -> str:
    year, month, day = _date(s, s.world.recent_years)
    return f"{day:02d}/{month:02d}/{year}"


def _long_date(s: Scene) -> str:
    year, month, day = _date(s, s.world.birth_years)
    return f"{day} {_MONTHS[month - 1]} {year}"


def _month_day(s: Scene) -> str:
    _, month, day = _date(s, s.world.recent_years)
    return f"{_MONTHS[month - 1]} {day}"


def _price(s: Scene) -> str:
    def make(r: Random) -> str:
        euros = 0.5 * 1000 ** r.random() if r.random() < 0.95 else 500 + 9499.99 * r.random()
        return (
            f"{euros:.2f}"
            if r.random() < 0.5
            else f"{int(euros)}.{r.choice(('99', '95', '50', '49', '90', '75'))}"
        )

    return s.world.favoured("price", s.r, make)


def _decimal(s: Scene) -> str:
    return s.world.favoured("decimal", s.r, lambda r: f"{200 * r.random():.1f}")


def _salary(s: Scene) -> str:
    return s.world.favoured("salary", s.r, lambda r: str(500 * r.randint(20, 800)))


def _product(s: Scene) -> str:
    noun = s.world.products[s.category].draw(s.r)
    u = s.r.random()
    if u < 0.75:
        return f"{s.world.draw('adjective', s.r)} {noun}"
    return noun if u < 0.9 else f"{s.world.draw('brand', s.r)} {noun}"


def _email(s: Scene) -> str:
    first, last, u = _ascii(s.first), _ascii(s.last), s.r.random()
    user = f"{first}.{last}" if u < 0.9 else f"{first[0]}.{last}"
    return f"{user}@{s.world.draw('domain', s.r)}.{s.world.draw('tld', s.r)}"


def _phone(s: Scene) -> str:
    def make(r: Random) -> str:
        country = r.choice((1, 20, 27, 31, 33, 34, 39, 44, 46, 48, 49, 55, 61, 81, 91))
        return f"+{country} {r.randint(100, 999)} {r.randint(100000, 999999)}"

    return s.world.favoured("phone", s.r, make)


def _street(s: Scene) -> str:
    return f"{s.world.integer(1, 199, s.r)} {s.world.draw('street name', s.r)} {s.world.draw('street type', s.r)}"


def _code(s: Scene) -> str:
    def make(r: Random) -> str:
        letters = "".join(r.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(r.randint(2, 3)))
        return f"{letters}-{r.randint(100, 99999)}"

    return s.world.favoured("code", s.r, make)


def _book_title(s: Scene) -> str:
    r, draw = s.r, s.world.draw
    noun, other, adjective = draw("title noun", r), draw("title noun", r), draw("title adjective", r)
    forms = (f"The {adjective} {noun}", f"The {noun} of {s.last}", f"{adjective} {noun}", f"The {noun} and the {other}",
             f"Beyond the {noun}", f"{noun} of the {other}", f"The {other}'s {noun}", f"A {noun} in {draw('season', r)}",
             f"The {adjective} {noun} of {s.place[0]}", f"Under the {adjective} {noun}")  # fmt: skip
    return s.world.option(forms, r)


def _tags(s: Scene) -> str:
    return ", ".join(s.world.draw("word", s.r) for _ in range(3))


def _accomplishment(s: Scene) -> str:
    if "profession" in s.said and s.r.random() < 0.5:
        return grammar("job accomplishment", s.stage).draw(s.r, s.gender, s.profession)
    return grammar("accomplishment", s.stage).draw(s.r, s.gender)


def _unknown_word(s: Scene) -> str:
    return s.world.draw("word", s.r).capitalize()


def _unknown_phrase(s: Scene) -> str:
    return f"{s.world.draw('adjective', s.r)} {s.world.draw('word', s.r)}"


def _whole_number(s: Scene) -> str:
    return str(s.world.integer(0, 100, s.r) if s.r.random() < 0.7 else s.world.integer(0, 1000, s.r))


def _sentence(kind: str) -> Draw:
    return lambda s: grammar(kind, s.stage).draw(s.r, s.gender)


def _list(name: str) -> Draw:
    return lambda s: s.world.draw(name, s.r)


def _between(low: int, high: int, suffix: str = "") -> Draw:
    return lambda s: f"{s.world.integer(low, high, s.r)}{suffix}"


def _option(options: Sequence[str], favourite: str | None = None) -> Draw:
    if favourite is None:
        favourite = next((option for option in options if option in w.FAVOURITE_OPTIONS), None)
    return lambda s: s.world.option(options, s.r, favourite)


def _gender(options: Sequence[str]) -> Draw:
    def draw(s: Scene) -> str:
        index = "fmn".index(s.gender)
        return options[index] if index < len(options) else options[int(s.r.random() * len(options))]

    return draw


def _category(options: Sequence[str]) -> Draw:
    return lambda s: s.category if s.category in options else s.world.option(options, s.r)


@lru_cache(maxsize=20_000)
def _numbers(kind: str, low: int, high: int) -> tuple[int, ...]:
    tests: dict[str, Callable[[int], bool]] = {
        "even": lambda n: n % 2 == 0,
        "odd": lambda n: n % 2 == 1,
        "prime": lambda n: n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)),
    }
    return tuple(n for n in range(low, high + 1) if tests[kind](n))


def _special_number(kind: str, low: int, high: int) -> Draw:
    numbers = _numbers(kind, low, high)
    return lambda s: str(numbers[s.world.integer(0, len(numbers) - 1, s.r)])


_DRAW: dict[str, Draw] = {
    "full name": lambda s: f"{s.first} {s.last}",
    "other name": Scene.other_name,
    "first name": lambda s: s.first,
    "last name": lambda s: s.last,
    "gender": _gender(w.GENDERS[0]),
    "sex": _gender(w.SEXES[0]),
    "birth date": lambda s: _iso(s, s.world.birth_years),
    "recent date": lambda s: _iso(s, s.world.recent_years),
    "slash date": _slash_date,
    "long date": _long_date,
    "month day": _month_day,
    "datetime": lambda s: f"{_iso(s, s.world.recent_years)} {_time(s)}",
    "time": _time,
    "birth year": lambda s: str(s.world.birth_years.draw(s.r)),
    "recent year": lambda s: str(s.world.recent_years.draw(s.r)),
    "age": _between(1, 99),
    "place": lambda s: f"{s.place[0]}, {s.place[1]}",
    "city": lambda s: s.place[0],
    "country": lambda s: s.place[1],
    "profession": lambda s: s.profession,
    "product": _product,
    "category": lambda s: s.category,
    "price": _price,
    "rating": _option(w.OPTIONS["rating"][0], "4"),
    "score": _between(0, 100),
    "number": _whole_number,
    "even": _special_number("even", 0, 100),
    "odd": _special_number("odd", 1, 99),
    "prime": _special_number("prime", 2, 97),
    "yes no": _option(("yes", "no")),
    "email": _email,
    "phone": _phone,
    "street": _street,
    "postcode": lambda s: s.world.favoured("postcode", s.r, lambda r: str(r.randint(10000, 99999))),
    "book title": _book_title,
    "salary": _salary,
    "accomplishment": _accomplishment,
    "percentage": _between(0, 100, "%"),
    "weight": _decimal,
    "height": _between(120, 210),
    "temperature": _between(0, 40),
    "tags": _tags,
    "code": _code,
    "duration": _between(5, 240),
    "size": _option(w.OPTIONS["size"][0]),
    "generic sentence": _sentence("generic"),
    **{kind: _sentence(kind) for kind in ("review", "complaint", "message", "job summary", "product description")},
    **{kind: _option(w.OPTIONS[kind][0]) for kind in ("blood type", "priority", "status", "channel", "sentiment",
       "seniority", "contract", "marital", "education", "payment", "difficulty", "title")},
    **{kind: _list(kind) for kind in LISTS if kind in w.LABELS and kind not in ("product", "title")},
    "company": _list("company"),
}  # fmt: skip
_BOUNDS = re.compile(r"(\d+)-(\d+)")
_EXTRA_DRAWS: dict[tuple[str, str], Draw] = {
    ("percentage", "0%"): _between(0, 100, "%"),
    ("percentage", "percent"): _between(0, 100, "%"),
    ("weight", "kg"): lambda s: f"{_decimal(s)} kg",
    ("height", "cm"): _between(120, 210, " cm"),
    ("temperature", "number"): lambda s: f"{s.world.integer(0, 399, s.r) / 10:.1f}",
    ("currency", "name"): _list("currency"),
    ("duration", "minutes"): _between(5, 240, " minutes"),
    ("even", "two digits"): _special_number("even", 10, 99),
    ("odd", "two digits"): _special_number("odd", 10, 99),
    ("prime", "under 100"): _special_number("prime", 2, 97),
}
_KINDS = tuple(sorted(w.LABELS))
_ALWAYS_HINTED = frozenset(("number", "status", "size", "category", "channel", "seniority", "payment"))


def _style(label: str, r: Random) -> str:
    u = r.random()
    if u < 0.9:
        return label
    return label.lower() if u < 0.95 else label.title() if u < 0.98 else label.lower().replace(" ", "_")


def _known_field(kind: str, r: Random, pieces: Pieces) -> Field:
    """A field of a known kind under one of its labels, with one of its hints or none."""
    labels = w.LABELS[kind]
    label = _style(labels[0] if r.random() < 0.3 else r.choice(labels), r)
    if kind in ("gender", "sex"):
        options = r.choice(w.GENDERS if kind == "gender" else w.SEXES)
        if r.random() < 0.15:
            return Field(label, "", _DRAW[kind])
        shown = tuple(r.sample(options, len(options))) if r.random() < 0.2 else options
        return Field(label, "/".join(shown), _gender(options))
    if kind in w.OPTIONS and r.random() < 0.2:  # a known label with a list of its own: the hint decides
        return _unknown_closed(label, r, pieces)
    closed = (
        kind in w.OPTIONS
        and (kind not in w.HINTS or r.random() < 0.4)
        and (kind not in LISTS or r.random() < 0.4)
    )
    if closed and (kind in _ALWAYS_HINTED or r.random() < 0.85):
        return _closed_field(kind, label, r)
    if kind == "number" or (kind in ("score", "rating") and r.random() < 0.7):
        low, high = (
            _bounds(r) if kind == "number" else r.choice(((0, 100), (1, 10), (1, 5), (0, 10), (0, 20)))
        )
        return Field(label, f"{low}-{high}", _between(low, high))
    hint = r.choice(w.HINTS.get(kind, ("",)))
    return Field(label, hint, _draw_for(kind, hint))


def _draw_for(kind: str, hint: str) -> Draw:
    if match := _BOUNDS.fullmatch(hint):
        low, high = int(match[1]), int(match[2])
        if kind in ("even", "odd", "prime"):
            return _special_number(kind, low, high)
        return _salary if kind == "salary" else _between(low, high)
    continent = hint.removeprefix("in ")
    if kind == "country" and continent in CONTINENTS.values():
        return lambda s: s.world.countries[continent].draw(s.r)
    return _EXTRA_DRAWS.get((kind, hint), _DRAW[kind])


def _closed_field(kind: str, label: str, r: Random) -> Field:
    options = r.choice(w.OPTIONS[kind])
    if kind == "rating":
        return Field(label, "1/2/3/4/5" if r.random() < 0.4 else "1-5", _option(options, "4"))
    if r.random() < 0.2 and kind != "yes no":
        options = tuple(r.sample(options, len(options)))
    draw = _category(options) if kind == "category" else _option(options)
    return Field(label, _described("/".join(options), r), draw)


def _described(hint: str, r: Random) -> str:
    if r.random() < 0.9:
        return hint
    return f"{r.choice(('one of', 'pick one', 'choose one', 'kind', 'type', 'which one', 'option'))}: {hint}"


def _bounds(r: Random) -> tuple[int, int]:
    """A range of whole numbers: small ones often, up to 1,000, and some between years."""
    u = r.random()
    if u < 0.15:
        return 1, 10
    if u < 0.25:
        return 1, 100
    if u < 0.45:
        low = r.choice(
            (1000, 1500, 1800, 1850, 1900, 1920, 1950, 1970, 1980, 1990, 2000, *(r.randint(1000, 2010),) * 8)
        )
        spans = (9, 10, 20, 25, 30, 49, 50, 75, 80, 99, 100, 120, 125, 150, 200, 300, 500)
        return low, low + (r.choice(spans) if r.random() < 0.5 else r.randint(5, 300))
    if u < 0.7:
        low = r.choice((0, 0, 1, 1, 2, 3, 5, 10))
        return low, low + r.choice((3, 4, 5, 6, 7, 8, 9, 11, 14, 15, 19, 20, 25, 30, 40, 50))
    low = r.randint(0, 900)
    return low, min(1000, low + r.choice((5, 9, 10, 12, 20, 25, 30, 49, 50, 99, 100, 150, 200, 500)))


def _years(r: Random) -> tuple[int, int]:
    """A range of years that mostly ends in another century than it begins in."""
    turn = r.choice((1500, 1600, 1700, 1800, 1900, 2000, 2000, 2000, 2000))
    return turn - r.choice((0, 10, 20, 30, 40, 50, 75, 99, 100, r.randint(1, 199))), turn + r.randint(0, 60)


# ---------------------------------------------------------------- fields of no known kind


@cache
def _english() -> tuple[str, ...]:
    return world("broad").lists["word"].values


def _begun(r: Random, pieces: Pieces) -> str:
    """A word that begins with one of `pieces`, each as often as any other."""
    while True:
        word = r.choice(pieces)
        for _ in range(r.choice((0, 1, 1, 2))):
            word += r.choice(pieces).lower()
        if 2 < len(word) <= 12 and not has_reserved(word) and not RUDE.search(word):
            return word


def _word(r: Random, pieces: Pieces = ()) -> str:
    if pieces and r.random() < 0.6:
        return _begun(r, pieces)
    u = r.random()
    return r.choice(_english()) if u < 0.5 else _splinter(r) if u < 0.85 else pseudo_word(r)


def _splinter(r: Random) -> str:
    """A piece out of a known word, or two joined: its tokens are spread over the whole vocabulary.

    A model copies well only those tokens that it has often copied.
    """
    while True:
        pieces = []
        for _ in range(1 if r.random() < 0.6 else 2):
            word = r.choice(_letters())
            start = r.randrange(len(word) - 2)
            pieces.append(word[start : start + r.randint(2, 6)])
        splinter = "".join(pieces)
        if len(splinter) > 2 and not has_reserved(splinter) and not RUDE.search(splinter):
            return splinter


@cache
def _letters() -> tuple[str, ...]:
    """Every known word of four letters or more, in lower case."""
    words = (word.lower() for values in LISTS.values() for value in values for word in value.split())
    return tuple(sorted({word for word in words if len(word) > 3 and word.isalpha()}))


#: Lists of known values that also serve, in part, as closed lists: `{Mascot - owl/otter/hare}`.
_LENDING = tuple(sorted(set(LISTS) - {"tld", "domain", "currency code"}))


def _unknown_options(r: Random, pieces: Pieces) -> tuple[str, ...]:
    n = r.choice((2, 2, 3, 3, 3, 3, 4, 4, 5, 6))
    if r.random() < 0.2:
        values = [value for value in LISTS[r.choice(_LENDING)] if "/" not in value]
        return tuple(r.sample(values, min(n, len(values))))
    two_words, style = r.random() < 0.1, r.random()
    options: dict[str, None] = {}
    while len(options) < n:
        option = f"{_word(r, pieces)} {_word(r)}" if two_words and r.random() < 0.6 else _word(r, pieces)
        if style > 0.96:
            option = f"{option[0].upper()}{r.randint(1, 99)}"
        elif style > 0.72:
            option = option.capitalize()
        elif style > 0.69:
            option = option[:4].strip().upper()
        options[option] = None
    return tuple(options)


def _unknown_label(r: Random) -> str:
    n = r.choice((1, 1, 1, 1, 1, 2, 2))
    label = " ".join(_word(r) for _ in range(n))
    return label.capitalize() if r.random() < 0.92 else label


def _unknown_closed(label: str, r: Random, pieces: Pieces) -> Field:
    options = _unknown_options(r, pieces)
    field = _listed(label, options)
    return replace(field, hint=f"{_word(r)}: {field.hint}") if r.random() < 0.1 else field


def _listed(label: str, options: Sequence[str]) -> Field:
    """A closed list that the hint spells out."""
    return Field(label, "/".join(options), lambda s: s.world.option(options, s.r))


def _unknown_field(r: Random, closed: float, pieces: Pieces) -> Field:
    """A field whose label means nothing, so that the hint decides; a closed list with the given chance."""
    label = _unknown_label(r)
    if r.random() < closed:
        return _unknown_closed(label, r, pieces)
    u = r.random()
    if u < 0.4:
        low, high = _years(r) if pieces and r.random() < 0.4 else _bounds(r)
        return Field(label, f"{low}-{high}", _between(low, high))
    if u < 0.47:
        return Field(label, "", _unknown_word if r.random() < 0.5 else _unknown_phrase)
    if u < 0.55:
        hint = r.choice(w.UNKNOWN_HINTS)
        return Field(
            label, hint, _unknown_word if "two" not in hint and "phrase" not in hint else _unknown_phrase
        )
    hint, kind = r.choice(_TYPED)
    return Field(label, hint, _DRAW[kind])


_TYPED = (
    ("yes/no", "yes no"), ("yes/no", "yes no"), ("YYYY-MM-DD", "recent date"), ("YYYY-MM-DD", "recent date"),
    ("YYYY-MM-DD", "birth date"), ("YYYY-MM-DD HH:MM", "datetime"), ("0.00", "price"), ("0.00", "price"),
    ("whole number", "number"), ("whole number", "number"), ("number", "weight"), ("number", "weight"),
    ("City, Country", "place"), ("City, Country", "place"), ("full name", "full name"), ("full name", "other name"),
    ("one sentence", "generic sentence"), ("one sentence", "generic sentence"), ("one sentence", "generic sentence"),
    ("one sentence", "product description"), ("DD/MM/YYYY", "slash date"), ("HH:MM", "time"), ("YYYY", "recent year"),
    ("e-mail address", "email"), ("country", "country"), ("city", "city"), ("first name", "first name"),
    ("colour", "colour"), ("animal", "animal"), ("job title", "profession"), ("company", "company"),
    ("percent", "percentage"), ("phone number", "phone"), ("surname", "last name"), ("month", "month"),
)  # fmt: skip


# ---------------------------------------------------------------- shipped schemas


def _schema(*fields: tuple[str, str, str]) -> tuple[Field, ...]:
    return tuple(Field(label, hint, _SHIPPED_DRAWS.get(kind) or _DRAW[kind]) for label, hint, kind in fields)


_SHIPPED_DRAWS: dict[str, Draw] = {
    "patient age": _between(0, 110),
    "pain": _between(0, 10),
    "die": _between(1, 10),
}
_CATEGORIES = "/".join(w.OPTIONS["category"][0])

#: The shipped schemas' prompts to the letter: title → fields.
SHIPPED: dict[str, tuple[Field, ...]] = {
    "biography": _schema(
        ("Name", "", "full name"),
        ("Gender", "Female/Male/Non-binary", "gender"),
        ("Birth date", "YYYY-MM-DD", "birth date"),
        ("Birth place", "City, Country", "place"),
        ("Profession", "", "profession"),
        ("Accomplishments", "one sentence", "accomplishment"),
    ),
    "product": _schema(
        ("Product", "", "product"),
        ("Brand", "", "brand"),
        ("Category", _CATEGORIES, "category"),
        ("Price", "0.00", "price"),
        ("Colour", "", "colour"),
        ("Rating", "1-5", "rating"),
        ("In stock", "yes/no", "yes no"),
        ("Review", "one sentence", "review"),
    ),
    "ticket": _schema(
        ("Opened", "YYYY-MM-DD HH:MM", "datetime"),
        ("Customer", "full name", "full name"),
        ("E-mail", "", "email"),
        ("Channel", "email/chat/phone/web form", "channel"),
        ("Priority", "low/medium/high/urgent", "priority"),
        ("Status", "open/pending/solved/closed", "status"),
        ("Sentiment", "positive/neutral/negative", "sentiment"),
        ("Message", "one sentence", "message"),
    ),
    "patient": _schema(
        ("Sex", "Female/Male/Intersex", "sex"),
        ("Age", "0-110", "patient age"),
        ("Blood type", "A+/A-/B+/B-/AB+/AB-/O+/O-", "blood type"),
        ("Smoker", "yes/no", "yes no"),
        ("Pain level", "0-10", "pain"),
        ("Patient", "full name", "full name"),
        ("Visit date", "YYYY-MM-DD", "recent date"),
        ("Complaint", "one sentence", "complaint"),
    ),
    "job": _schema(
        ("Seniority", "junior/mid-level/senior/lead", "seniority"),
        ("Contract type", "full-time/part-time/contract/internship", "contract"),
        ("Remote", "yes/no", "yes no"),
        ("Job title", "", "profession"),
        ("Company", "", "company"),
        ("Location", "City, Country", "place"),
        ("Yearly salary", "10000-400000", "salary"),
        ("Summary", "one sentence", "job summary"),
    ),
    "die": _schema(("Number", "1-10", "die")),
}

_VARIANTS: dict[str, tuple[str, ...]] = {
    "biography": ("full name", "gender", "birth date", "place", "profession", "accomplishment", "first name",
                  "last name", "birth year", "city", "country", "age", "hobby", "language"),
    "product": ("product", "brand", "category", "price", "colour", "rating", "yes no", "review", "material", "weight",
                "product description"),
    "ticket": ("datetime", "full name", "email", "channel", "priority", "status", "sentiment", "message", "code",
               "phone"),
    "patient": ("sex", "age", "blood type", "yes no", "full name", "recent date", "complaint", "height", "weight",
                "birth date", "symptom"),
    "job": ("seniority", "contract", "yes no", "profession", "company", "place", "salary", "job summary", "department",
            "skill", "recent date"),
}  # fmt: skip
_VARIANT_NOUNS = {
    "biography": (
        "biography",
        "person",
        "life story",
        "profile",
        "character",
        "fictional person",
        "short biography",
    ),
    "product": ("product", "shop item", "article", "catalogue entry", "product listing", "item"),
    "ticket": ("ticket", "support ticket", "support request", "customer request", "help desk ticket"),
    "patient": ("patient", "patient record", "intake form", "hospital visit", "medical record"),
    "job": ("job", "job posting", "vacancy", "position", "job advert", "open position"),
}


# ---------------------------------------------------------------- prompts


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" and not noun.startswith(("use", "uni")) else f"a {noun}"


@cache
def _instructions() -> tuple[str, ...]:
    return w.instructions()


def _record_prompt(r: Random, noun: str, fields: Sequence[Field], exact: float) -> str:
    form = w.EXACT if r.random() < exact else r.choice(_instructions())
    return "\n".join((form.format(noun=noun, a=_article(noun)), *(field.line for field in fields)))


def _distinct(fields: Sequence[Field]) -> list[Field]:
    seen: dict[str, Field] = {}
    for field in fields:
        seen.setdefault(field.label.lower(), field)
    return list(seen.values())


def _shipped(r: Random, title: str) -> tuple[str, Sequence[Field]]:
    return _record_prompt(r, title, SHIPPED[title], 1.0), SHIPPED[title]


def _variant(r: Random, title: str, pieces: Pieces) -> tuple[str, Sequence[Field]]:
    """A shipped schema in other words: its own fields, or a choice of them and their kin under other labels."""
    noun = r.choice(_VARIANT_NOUNS[title])
    own = SHIPPED[title]
    u = r.random()
    if u < 0.25:
        fields: Sequence[Field] = own
    elif u < 0.5:
        fields = r.sample(own, r.randint(2, len(own)))
        if r.random() < 0.6:
            fields = [field for field in own if field in fields]
    else:
        kinds = _VARIANTS[title]
        chosen = r.sample(kinds, r.randint(2, min(8, len(kinds))))
        if r.random() < 0.6:
            chosen = [kind for kind in kinds if kind in chosen]
        fields = _distinct([_known_field(kind, r, pieces) for kind in chosen])
    return _record_prompt(r, noun, fields, 0.2), fields


def _record(r: Random, pieces: Pieces) -> tuple[str, Sequence[Field]]:
    n = r.choice((1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10))
    fields = _distinct([_known_field(kind, r, pieces) for kind in r.sample(_KINDS, n)])
    return _record_prompt(r, r.choice(w.NOUNS), fields, 0.5), fields


def _unseen(r: Random, pieces: Pieces) -> tuple[str, Sequence[Field]]:
    """A record with fields of unknown kinds, mixed with known ones."""
    if pieces and r.random() < 0.4:
        return _pieces_alone(r, pieces)
    n = r.choice((1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9))
    unknown = max(1, round(n * r.choice((0.5, 0.8, 1.0, 1.0))))
    fields = [_unknown_field(r, 0.72, pieces) for _ in range(unknown)]
    fields += [_known_field(kind, r, pieces) for kind in r.sample(_KINDS, n - unknown)]
    r.shuffle(fields)
    fields = _distinct(fields)
    noun = r.choice(w.NOUNS) if r.random() < 0.7 else _word(r)
    return _record_prompt(r, noun, fields, 0.6), fields


def _pieces_alone(r: Random, pieces: Pieces) -> tuple[str, Sequence[Field]]:
    """A record of nothing but short options: the most copying for the fewest tokens."""
    fields: list[Field] = []
    for _ in range(r.randint(4, 9)):
        options = r.sample(pieces, min(len(pieces), r.choice((2, 3, 3, 3, 4, 5))))
        fields.append(_listed(_unknown_label(r), options))
    fields = _distinct(fields)
    return _record_prompt(r, _word(r), fields, 0.6), fields


# ---------------------------------------------------------------- single questions


def _name_question(r: Random) -> tuple[str, str, Draw]:
    which = r.choice(("", "", " girl", " boy"))
    thing = r.choice(("a random baby name", "a name for a baby", "a first name for a baby", "a random first name for a "
                      "baby", "a baby name", "a good name for a newborn", "a random given name for a newborn"))  # fmt: skip
    thing = re.sub(r"(baby|newborn)", rf"\1{which}", thing)

    def draw(s: Scene) -> str:
        women = 0.85 if s.world.collapsed else 0.5
        girl = which == " girl" or (which == "" and s.r.random() < women)
        return s.world.draw("woman" if girl else "man", s.r)

    return thing, r.choice(("name", "name", "first name")), draw


_DEMONYMS = {"Africa": "African", "Asia": "Asian", "Europe": "European", "North America": "North American",
             "South America": "South American", "Oceania": "Oceanian"}  # fmt: skip


def _country_question(r: Random) -> tuple[str, str, Draw]:
    continent = r.choice(tuple(_DEMONYMS))
    people = _DEMONYMS[continent]
    thing = r.choice((f"a random country in {continent}", f"a country in {continent}", f"a random {people} country",
                      f"one country of {continent}", f"a country from {continent}", f"any country in {continent}",
                      f"the name of a random country in {continent}"))  # fmt: skip
    return thing, "country", lambda s: s.world.countries[continent].draw(s.r)


def _day_question(r: Random) -> tuple[str, str, Draw]:
    if r.random() < 0.4:
        thing = r.choice(("a random day of the week", "a day of the week", "a random weekday from Monday to Sunday",
                          "one day of the week", "any day of the week"))  # fmt: skip
        return thing, r.choice(("day", "day", "day of the week")), _list("weekday")
    month = r.choice(("June", "June", "December", "December", *_MONTHS))
    index = _MONTHS.index(month) + 1
    last = monthrange(2023, index)[1]
    thing = r.choice((f"a random date in {month}", f"a date in {month}", f"a random day in {month}",
                      f"one day of the month of {month}", f"any date in {month}", f"a date between {month} 1 and "
                      f"{month} {last}", f"a random date in the month of {month}"))  # fmt: skip
    return (
        thing,
        "date",
        lambda s: (
            f"{month} {min(s.world.days.draw(s.r), last)}"
            if s.world.collapsed
            else (f"{month} {s.r.randint(1, last)}")
        ),
    )


def _fruit_question(r: Random) -> tuple[str, str, Draw]:
    thing = r.choice(("a random fruit", "a fruit", "one fruit", "the name of a random fruit", "any fruit", "a kind of "
                      "fruit", "a random type of fruit", "a fruit that people eat", "the name of a fruit"))  # fmt: skip
    return thing, "fruit", _list("fruit")


def _number_question(r: Random) -> tuple[str, str, Draw]:
    low, high = _bounds(r)
    if r.random() < 0.25:
        low, high = 1, 10
    span = r.choice(
        (f"between {low} and {high}", f"from {low} to {high}", f"between {low} and {high}, both included")
    )
    u = r.random()
    if u < 0.62:
        adjective = r.choice(
            ("random number", "random number", "number", "random whole number", "random integer")
        )
        return f"{_article(adjective)} {span}", "number", _between(low, high)
    if u < 0.74:
        sides = r.choice((4, 6, 6, 6, 8, 10, 12, 20, r.randint(3, 100)))
        thing = r.choice((f"the result of rolling a die with {sides} sides", f"a roll of a {sides}-sided die",
                          f"a random roll of a die with {sides} sides", f"a throw of a {sides}-sided die"))  # fmt: skip
        return thing, "number", _between(1, sides)
    kind = r.choice(("even", "odd", "prime"))
    if len(_numbers(kind, low, high)) < 2:
        high = low + 30
        span = f"between {low} and {high}"
    adjective = f"{kind} number" if r.random() < 0.4 else f"random {kind} number"
    return f"{_article(adjective)} {span}", "number", _special_number(kind, low, high)


@lru_cache(maxsize=64)
def _jobs_starting(letter: str, stage: Stage) -> Weighted[str]:
    jobs = world(stage).lists["profession"]
    weights = jobs.weights or (1.0,) * len(jobs.values)
    chosen = [
        (job, weight) for job, weight in zip(jobs.values, weights, strict=True) if job[0].upper() == letter
    ]
    return Weighted([job for job, _ in chosen], [weight for _, weight in chosen])


def _job_question(r: Random) -> tuple[str, str, Draw]:
    thing = r.choice(("a random occupation", "an occupation", "a random job", "a profession", "a random profession",
                      "one occupation", "the name of an occupation", "any job that people do"))  # fmt: skip
    slot = "job" if "job" in thing else "profession" if "profession" in thing else "occupation"
    if r.random() < 0.5:
        return thing, slot, _list("profession")
    letter = r.choice("AAAMMMABCDEFGHIJLMNOPQRSTVW")
    form = r.choice(("starting with {}", "starting with the letter {}", "that starts with {}", "that begins with the "
                     "letter {}", "beginning with {}"))  # fmt: skip
    return f"{thing} {form.format(letter)}", slot, lambda s: _jobs_starting(letter, s.stage).draw(s.r)


_OTHER_THINGS = ("colour", "animal", "vegetable", "month", "season", "language", "sport", "hobby", "food", "drink",
                 "vehicle", "instrument", "clothing", "company", "city", "last name", "book title", "yes no",
                 "full name", "price", "birth date", "time", "phone", "email", "place")  # fmt: skip
_OTHER_WORDS = {"clothing": "piece of clothing", "company": "company name", "yes no": "answer of yes or no",
                "birth date": "date of birth", "phone": "phone number", "email": "e-mail address",
                "instrument": "musical instrument", "place": "city and country", "food": "dish"}  # fmt: skip


def _other_question(r: Random) -> tuple[str, str, Draw]:
    kind = r.choice(_OTHER_THINGS)
    name = _OTHER_WORDS.get(kind, kind)
    thing = _article(name) if r.random() < 0.3 else f"a random {name}"
    return thing, name, _DRAW[kind]


_QUESTIONS: dict[str, Callable[[Random], tuple[str, str, Draw]]] = {
    "names": _name_question,
    "countries": _country_question,
    "days": _day_question,
    "fruits": _fruit_question,
    "numbers": _number_question,
    "occupations": _job_question,
    "other": _other_question,
}


def _question(r: Random, task: str) -> tuple[str, Sequence[Field]]:
    thing, slot, draw = _QUESTIONS[task](r)
    ask, ending = r.choice(w.QUESTIONS), r.choice(w.QUESTION_ENDINGS)
    ask = "Give me {a}." if "name" in thing and "name" in ask.lower() else ask
    return f"{ask.format(a=thing)} {ending.format(slot=slot)}", (Field(slot, "", draw),)


# ---------------------------------------------------------------- the stream

_OTHERS = ("product", "ticket", "patient", "job")
#: Stage → kind of example → its share of the prompts.
SHARES: dict[Stage, dict[str, float]] = {
    "broad": {
        "biography": 11, "biography-variant": 9, **dict.fromkeys(_OTHERS, 2.5), **{f"{k}-variant": 2 for k in _OTHERS},
        "die": 2, "record": 18, "unseen-list": 32, "question:numbers": 4, "question:names": 1.3,
        "question:countries": 1.3, "question:days": 1.3, "question:fruits": 0.8, "question:occupations": 1.3,
        "question:other": 1,
    },
    "lists": {
        "biography": 11, "biography-variant": 7, **dict.fromkeys(_OTHERS, 2.5), **{f"{k}-variant": 1.5 for k in _OTHERS},
        "die": 1, "record": 13, "unseen-list": 45, "question:numbers": 2, "question:names": 0.7,
        "question:countries": 0.7, "question:days": 0.7, "question:fruits": 0.5, "question:occupations": 0.7,
        "question:other": 0.6,
    },
    "copying": {
        "biography": 11, "biography-variant": 5, **dict.fromkeys(_OTHERS, 2), **{f"{k}-variant": 1.2 for k in _OTHERS},
        "die": 1, "record": 10, "unseen-list": 18, "short-lists": 34, "question:numbers": 2, "question:names": 0.7,
        "question:countries": 0.7, "question:days": 0.7, "question:fruits": 0.5, "question:occupations": 0.7,
        "question:other": 0.6,
    },
    "collapsed": {
        "biography": 22, "biography-variant": 10, **dict.fromkeys(_OTHERS, 5), **{f"{k}-variant": 2 for k in _OTHERS},
        "die": 3, "record": 9, "unseen-list": 40, "question:numbers": 4, "question:names": 1.5,
        "question:countries": 1.5, "question:days": 1.5, "question:fruits": 1, "question:occupations": 1.5,
        "question:other": 0.5,
    },
}  # fmt: skip


def _prompt(r: Random, kind: str, pieces: Pieces) -> tuple[str, Sequence[Field]]:
    if kind in SHIPPED:
        return _shipped(r, kind)
    if kind == "record":
        return _record(r, pieces)
    if kind == "short-lists" and pieces:
        return _pieces_alone(r, pieces)
    if kind in ("unseen-list", "short-lists"):
        return _unseen(r, pieces)
    name, _, task = kind.partition(":")
    return _question(r, task) if name == "question" else _variant(r, kind.removesuffix("-variant"), pieces)


def _answer(r: Random, words_: World, fields: Sequence[Field]) -> str:
    scene = Scene(r, words_)
    return "\n".join([f"{{{field.draw(scene)}}}" for field in fields])


def examples(
    rng: np.random.Generator, stage: Stage, answers_per_prompt: int = 3, pieces: Pieces = ()
) -> Iterator[Example]:
    """An endless stream of examples of a stage, fixed by the generator; no text holds a word of `RESERVED`.

    Unknown options begin mostly with one of `pieces`, if there are any: the tokenizer's tokens, say, so that each
    is copied about equally often.
    """
    r = Random(int(rng.integers(2**62)))  # noqa: S311
    words_ = world(stage)
    kinds = tuple(SHARES[stage])
    cumulative = list(accumulate(SHARES[stage].values()))
    while True:
        kind = kinds[bisect_right(cumulative, r.random() * cumulative[-1])]
        prompt, fields = _prompt(r, kind, pieces)
        answers = tuple([_answer(r, words_, fields) for _ in range(answers_per_prompt)])
        if not has_reserved(prompt) and not any(has_reserved(answer) for answer in answers):
            yield Example(prompt, answers, kind)
