"""Between fields: the heat maps of dependence and of the distance to the joint target, and what is said of them.

Only draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from synthgen.report import wording as w
from synthgen.report.figures import Dependence, Facts, PairTarget
from synthgen.report.pictures import heat_map

_FULL = 0.5  # TV that has the full colour


def section(facts: Facts) -> str:
    """Dependence, joint target and drift; empty where none of it was computed."""
    maps, said, notes = [], [], []
    if facts.joint is not None and facts.joint.pairs:
        cells = {frozenset((pair.a, pair.b)): _dependence(pair) for pair in facts.joint.pairs}
        maps.append(_heat("Cramér's V between fields", facts, facts.joint.fields, cells, w.dependence(facts)))
        said.append(w.dependence(facts))
        notes.append(w.joint_note(facts))
    if facts.pairs is not None and facts.pairs.pairs:
        cells = {frozenset((pair.a, pair.b)): _distance(pair) for pair in facts.pairs.pairs}
        maps.append(
            _heat("TV of pairs to their joint target", facts, facts.pairs.fields, cells, w.pairs(facts))
        )
        said.append(w.pairs(facts))
        notes.append(w.pairs_note(facts))
    said.append(w.drift(facts))
    if not any(said):
        return ""
    return (
        "<h2>Between fields, and along the record order</h2>"
        + "".join(f"<p>{escape(line[0].upper() + line[1:])}.</p>" for line in said if line)
        + (f'<div class="heats">{"".join(maps)}</div>' if maps else "")
        + "".join(f'<p class="note">{escape(note)}</p>' for note in dict.fromkeys(notes) if note)
    )


def _dependence(pair: Dependence) -> dict[str, object]:
    said = f"{w.nats(pair.corrected)} nats, p {w.p_value(pair.p_value)}"
    return {"tone": pair.cramers_v, "text": w.association(pair), "said": said, "marked": pair.is_real}


def _distance(pair: PairTarget) -> dict[str, object]:
    value = pair.tv.value or 0.0
    said = f"{w.pair_tv(pair)}, floor {w.floor(pair.tv)}, {pair.tv.verdict}"
    return {
        "tone": min(1.0, value / _FULL),
        "text": w.distance(value),
        "said": said,
        "marked": pair.tv.state == "off",
    }


def _heat(
    title: str,
    facts: Facts,
    names: Sequence[str],
    cells: Mapping[frozenset[str], Mapping[str, object]],
    spoken: str,
) -> str:
    """The lower triangle of a table of pairs, under its caption."""
    labels = [facts.field(name).info.label for name in names]
    placed = [
        {
            **(cell := cells[frozenset((names[row], names[column]))]),
            "row": row,
            "column": column,
            "said": f"{labels[column]} and {labels[row]}: {cell['said']}",
        }
        for row in range(1, len(names))
        for column in range(row)
    ]
    return (
        f'<figure class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f"<figcaption><b>{escape(title)}</b><span>bold where noise does not explain it</span></figcaption>"
        f"{heat_map(labels, placed, f'{title}: {spoken}')}</figure>"
    )
