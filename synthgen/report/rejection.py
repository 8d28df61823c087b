"""How the facts of rejection are said: lines for the terminal and the card, rows for the page. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from synthgen.report import wording as w
from synthgen.report.figures import Facts, short
from synthgen.report.reliability import FieldRejects, RejectFacts, ValueRejects

ADAPTER_HEADS = ("adapter", "attempts", "records", "reject rate", "reasons")
VALUE_HEADS = ("field", "value", "attempts", "rejected", "reject rate", "95 %", "p", "moved (TV)", "unknown")
_NAMED, _ROWS = 3, 5  # values named in a line; values of one field in the table


def lines(facts: Facts) -> list[str]:
    """Reject rate by adapter and by value, and how many records were tried again; nothing without a rejection."""
    found = facts.run.rejection
    if found is None:
        return []
    said = []
    if len(found.adapters) > 1:
        rates = (f"{a.name} {w.share(a.reject_rate)} of {w.count(a.attempted)}" for a in found.adapters)
        said.append(f"by adapter: {', '.join(rates)}")
    said.append(f"tried again: {w.count(found.n_refilled)} records, {found.most_attempts} attempts at most")
    if found.quota:
        by_field = ", ".join(f"{_label(facts, name)} {w.count(n)}" for name, n in found.quota.items())
        total = w.count(sum(found.quota.values()))
        said.append(f"refused to keep quotas: {total} sound answers whose places were taken ({by_field})")
    if found.fields:
        said.append(f"by value: {_bias(facts, found)}")
    return said


def adapter_rows(found: RejectFacts) -> list[list[str]]:
    """One row per adapter."""
    return [
        [
            adapter.name,
            w.count(adapter.attempted),
            w.count(adapter.accepted),
            w.share(adapter.reject_rate),
            ", ".join(
                f"{reason} {w.count(n)}"
                for reason, n in sorted(adapter.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
            ),
        ]
        for adapter in found.adapters
    ]


def value_rows(facts: Facts, found: RejectFacts) -> list[list[str]]:
    """For each declared field all its values together, then the few that stand out most."""
    rows = []
    for entry in found.fields:
        rate = w.share(entry.rejected / entry.attempted if entry.attempted else 0.0)
        figures = [w.count(entry.attempted), w.count(entry.rejected), rate, "", ""]
        label = facts.field(entry.field).info.label
        rows.append([label, "all values", *figures, w.distance(entry.moved), w.count(entry.n_unknown)])
        for value in _standing_out(entry.values)[:_ROWS]:
            low, high = value.interval
            figures = [w.count(value.attempted), w.count(value.rejected), w.share(value.reject_rate)]
            figures += [f"{w.share(low)}–{w.share(high)}", w.p_value(value.p_value)]
            rows.append(["", short(value.value), *figures, "", ""])
    return rows


def _bias(facts: Facts, found: RejectFacts) -> str:
    n_values = sum(len(entry.values) for entry in found.fields)
    biased = [(entry, value) for entry in found.fields for value in entry.biased]
    if not biased:
        labels = ", ".join(facts.field(entry.field).info.label for entry in found.fields)
        return f"no bias seen; {n_values} values of {labels} are rejected equally often, as far as noise lets see"
    biased.sort(key=lambda pair: (pair[1].p_value, -pair[1].attempted))
    named = ", ".join(_named(facts, *pair) for pair in biased[:_NAMED])
    moved = ", ".join(
        f"{facts.field(entry.field).info.label} by TV {w.distance(entry.moved)}"
        for entry in found.fields
        if entry.biased
    )
    more = f" and {len(biased) - _NAMED} more" if len(biased) > _NAMED else ""
    return f"{len(biased)} of {n_values} values rejected unlike the others: {named}{more}; this moved {moved}"


def _named(facts: Facts, entry: FieldRejects, value: ValueRejects) -> str:
    others = (entry.rejected - value.rejected) / max(1, entry.attempted - value.attempted)
    label = facts.field(entry.field).info.label
    rates = f"{w.share(value.reject_rate)}, others {w.share(others)}"
    return f"{label} {short(value.value)!r} ({rates}, p {w.p_value(value.p_value)})"


def _label(facts: Facts, name: str) -> str:
    return facts.field(name).info.label


def _standing_out(values: Sequence[ValueRejects]) -> list[ValueRejects]:
    return sorted(values, key=lambda value: (value.p_value, -value.attempted, value.value))
