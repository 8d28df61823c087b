"""Published experiment 4: biographies of the base model, after the six tasks, and after 210 tuples that follow them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.bench import published, six_tasks
from synthgen.bench.cells import Cell, Tally, tallied
from synthgen.bench.draw import Series, curves, world_map
from synthgen.bench.estimates import Estimate, Measured, coverage, entropy, over_seeds, pooled, ratio, share
from synthgen.bench.lab import Lab, Trial
from synthgen.bench.questions import Question, ask
from synthgen.bench.section import Figure, Ratio, Section, Table, adapter_line, of
from synthgen.engines.protocol import Engine
from synthgen.report.places import places
from synthgen.schema import text_of
from synthgen.stats import distinct_1
from synthgen.validation import Record

NUMBER = 4
CONDITIONS = ("base", "six tasks", "biographies")
ADAPTERS = {"six tasks": six_tasks.ALL, "biographies": "biographies"}
FIELDS = ("first_name", "last_name", "birth_year", "birthplace", "profession")  # as published
TEXT = "accomplishments"
GENDERS = ("Female", "Male", "Non-binary")


def run(lab: Lab) -> list[Cell]:
    """All conditions and seeds."""
    recipe = lab.recipe(six_tasks.ALL)
    job = lab.job(recipe)
    asked = (Question("biography", "biographies", job.schema, job.prompt),)
    trials = []
    for seed in lab.seeds:
        tuned = lab.tuned(recipe, seed)
        for condition in CONDITIONS:
            name = ADAPTERS.get(condition)
            trials.append(Trial(NUMBER, condition, seed, asked, None if name is None else tuned[name]))

    def measure(engine: Engine, trial: Trial) -> dict[str, Any]:
        records: list[Record] = []
        tally = ask(engine, asked[0], trial.served, lab.options.n, 1000 * trial.seed, records.append)
        return content_of(tally, records)

    return lab.measured(trials, measure, max_tokens=recipe.generate.max_tokens)


def content_of(tally: Tally, records: Sequence[Record]) -> dict[str, Any]:
    """A cell's content: counts of every field, and the diversity of the texts."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*FIELDS, "gender", "country")}
    for record in records:
        for name, counter in counts.items():
            counter[text_of(record.values[name])] += 1
    texts = [text_of(record.values[TEXT]) for record in records]
    declared = ("name", "gender", "born", "birthplace", "profession", TEXT)
    whole = [" ".join(text_of(record.values[name]) for name in declared) for record in records]
    kept = Tally(tally.label, tally.task, tally.attempted, tally.held, {}, {}, 0)  # full names would be long
    return tallied(
        [kept],
        n=len(records),
        fields={name: dict(counter.most_common()) for name, counter in counts.items()},
        distinct_1={TEXT: distinct_1(texts), "record": distinct_1(whole)},
        distinct_texts=len(set(texts)),
    )


def section(cells: Sequence[Cell]) -> Section:
    """The published table beside ours; then what is most frequent, balance, texts, maps."""
    at = min(int(cell.content["n"]) for cell in cells)
    tuned = [cell for cell in cells if cell.condition != "base"]
    return Section(
        NUMBER,
        "Biographies",
        (
            f"{at:,} biographies of each condition and seed: of the base model, tuned on the six tasks, and tuned on "
            "210 tuples of name, gender, birth date and birth place after these. Coverage and entropy (nats).",
            f"Tuning: {adapter_line(tuned)}.",
        ),
        (
            _spread(cells, at),
            _published(),
            _genders(cells),
            _top_five(cells),
            _texts(cells),
        ),
        (_years(cells), *_maps(cells)),
        tuple(_ratios(cells, at)),
        facts={
            "at": at,
            "conditions": {condition: _facts(cells, condition, at) for condition in CONDITIONS},
            "tuning": [cell.content["adapter"] for cell in tuned],
        },
    )


def field_entropy(cell: Cell, name: str, at: int) -> Measured:
    """Plug-in entropy of a field in nats."""
    return entropy(list(cell.content["fields"][name].values()), at)


def field_coverage(cell: Cell, name: str, at: int) -> Measured:
    """Distinct values of a field."""
    return coverage(list(cell.content["fields"][name].values()), at)


def _spread(cells: Sequence[Cell], at: int) -> Table:
    rows = []
    for name in FIELDS:
        row = [name.replace("_", " ")]
        for read, digits in ((field_coverage, 0), (field_entropy, 2)):
            for condition in CONDITIONS:
                row.append(_over(cells, condition, lambda c, r=read, f=name: r(c, f, at)).text(digits))
        rows.append(tuple(row))
    return Table(f"Measured, of {at:,}", _head(), tuple(rows))


def _head() -> tuple[str, ...]:
    return ("field", *(f"coverage, {c}" for c in CONDITIONS), *(f"entropy, {c}" for c in CONDITIONS))


def _published() -> Table:
    rows = tuple(
        (name.replace("_", " "), *(f"{x:g}" for x in row.coverage), *(f"{x:.2f}" for x in row.entropy))
        for name, row in published.BIOGRAPHIES.items()
    )
    note = "The two tuned columns of coverage are swapped in print; here they stand where they can be true."
    return Table(f"Published ({published.SOURCE}), {published.LLAMA}, of 1,000", _head(), rows, note)


def _genders(cells: Sequence[Cell]) -> Table:
    rows = []
    for condition in CONDITIONS:
        at = CONDITIONS.index(condition)
        row = [condition]
        for gender in GENDERS:
            found = _over(cells, condition, lambda c, g=gender: _share(c, g))
            row.append(f"{1000 * found.value:.0f} ± {1000 * (found.high - found.value):.0f}")
        row.append(" / ".join(str(published.GENDERS[gender][at]) for gender in GENDERS))
        rows.append(tuple(row))
    head = ("condition", *GENDERS, f"published ({published.LLAMA}), {' / '.join(GENDERS)}")
    return Table("Gender, of 1,000", head, tuple(rows))


def _share(cell: Cell, gender: str) -> Measured:
    counts = cell.content["fields"]["gender"]
    return share(counts.get(gender, 0), sum(counts.values()))


def _top_five(cells: Sequence[Cell]) -> Table:
    rows = []
    for name in FIELDS:
        row = [name.replace("_", " ")]
        for condition in CONDITIONS:
            counts = _pooled(cells, condition, name)
            total = sum(counts.values())
            row.append("; ".join(f"{value} {100 * n / total:.1f} %" for value, n in list(counts.items())[:5]))
        rows.append(tuple(row))
    return Table("Five most frequent values, all seeds together", ("field", *CONDITIONS), tuple(rows))


def _texts(cells: Sequence[Cell]) -> Table:
    rows = []
    for condition in CONDITIONS:
        row = [condition]
        for part in (TEXT, "record"):
            row.append(
                _over(cells, condition, lambda c, p=part: Measured(c.content["distinct_1"][p], 0.0)).text(3)
            )
        row.append(_over(cells, condition, lambda c: Measured(c.content["distinct_texts"], 0.0)).text(0))
        row.append(f"{100 * _over(cells, condition, lambda c: c.tallies[0].format_rate).value:.1f} %")
        rows.append(tuple(row))
    head = (
        "condition",
        "distinct-1 of accomplishments",
        "distinct-1 of records",
        "distinct accomplishments",
        "format rate",
    )
    note = "Distinct-1: distinct whitespace tokens over all tokens; it falls with the number of records, here the same."
    return Table("Free text", head, tuple(rows), note)


def _years(cells: Sequence[Cell]) -> Figure:
    lines = []
    for condition in CONDITIONS:
        counts = {int(year): n for year, n in _pooled(cells, condition, "birth_year").items()}
        total, years = sum(counts.values()), range(1930, 2016)
        points = [(float(year), counts.get(year, 0) / total) for year in years]
        lines.append(Series(condition, tuple((x, y, y, y) for x, y in points)))
    return Figure(
        "4-years.svg",
        "Share of each birth year, all seeds together.",
        curves("birth years", "year", "share", lines),
    )


def _maps(cells: Sequence[Cell]) -> list[Figure]:
    figures = []
    for condition in CONDITIONS:
        found = places(_pooled(cells, condition, "birthplace"))
        if found is not None:
            placed = 100 * found.n_placed / max(1, found.n_placed + found.n_unknown)
            title = f"Birth places, {condition}: {placed:.0f} % of the answers are known cities or countries."
            figures.append(
                Figure(f"4-places-{condition.replace(' ', '-')}.svg", title, world_map(found, title))
            )
    return figures


def _ratios(cells: Sequence[Cell], at: int) -> list[Ratio]:
    found = []
    for name in FIELDS:
        row = published.BIOGRAPHIES[name]
        for i, condition in enumerate(CONDITIONS[1:], 1):
            label = f"biographies, {name.replace('_', ' ')}, {condition}"
            for what, read, theirs in (
                ("entropy", field_entropy, row.entropy),
                ("coverage", field_coverage, row.coverage),
            ):
                ours = over_seeds(
                    [
                        ratio(read(new, name, at), read(old, name, at))
                        for new, old in zip(of(cells, condition), of(cells, "base"), strict=True)
                    ]
                )
                found.append(Ratio(label, what, ours, {published.LLAMA: theirs[i] / theirs[0]}))
    return found


def _over(cells: Sequence[Cell], condition: str, read: Any) -> Estimate:
    return over_seeds([read(cell) for cell in of(cells, condition)])


def _pooled(cells: Sequence[Cell], condition: str, name: str) -> dict[str, int]:
    found: list[Mapping[str, int]] = [cell.content["fields"][name] for cell in of(cells, condition)]
    return pooled(found)


def _facts(cells: Sequence[Cell], condition: str, at: int) -> dict[str, object]:
    return {
        "fields": {
            name: {
                "coverage": _over(cells, condition, lambda c, f=name: field_coverage(c, f, at)).to_json(),
                "entropy_nats": _over(cells, condition, lambda c, f=name: field_entropy(c, f, at)).to_json(),
            }
            for name in (*FIELDS, "gender", "country")
        },
        "genders": {g: _over(cells, condition, lambda c, g=g: _share(c, g)).to_json() for g in GENDERS},
        "distinct_1": [cell.content["distinct_1"] for cell in of(cells, condition)],
        "format_rate": _over(cells, condition, lambda c: c.tallies[0].format_rate).to_json(),
    }
