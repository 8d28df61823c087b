"""Between fields: the heat maps of dependence and of the distance to the joint target, and what is said of them.

Only draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from synthgen.report import wording as w
from synthgen.report.figures import Dependence, Facts, PairTarget

_DEEPEST = 60  # percent of the colour at most, so that the ink stays legible in both themes
_FULL = 0.5  # TV that has the full colour


def section(facts: Facts) -> str:
    """Dependence, joint target and drift; empty where none of it was computed."""
    maps, said, notes = [], [], []
    if facts.joint is not None and facts.joint.pairs:
        cells = {frozenset((pair.a, pair.b)): _dependence(pair) for pair in facts.joint.pairs}
        maps.append(_heat("Cramér's V between fields", facts, facts.joint.fields, cells))
        said.append(w.dependence(facts))
        notes.append(w.joint_note(facts))
    if facts.pairs is not None:
        cells = {frozenset((pair.a, pair.b)): _distance(pair) for pair in facts.pairs.pairs}
        maps.append(_heat("TV of pairs to their joint target", facts, facts.pairs.fields, cells))
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


def _dependence(pair: Dependence) -> str:
    title = f"{pair.a} and {pair.b}: {w.nats(pair.corrected)} nats, p {w.p_value(pair.p_value)}"
    return _cell(pair.cramers_v, w.association(pair), title, marked=pair.is_real)


def _distance(pair: PairTarget) -> str:
    title = f"{pair.a} and {pair.b}: {w.pair_tv(pair)}, floor {w.floor(pair.tv)}, {pair.tv.verdict}"
    value = pair.tv.value or 0.0
    return _cell(min(1.0, value / _FULL), w.distance(value), title, marked=pair.tv.state == "off")


def _cell(tone: float, text: str, title: str, marked: bool) -> str:
    share = round(_DEEPEST * tone)
    style = "cell real" if marked else "cell"
    return f'<td class="{style}" style="--v:{share}%" title="{escape(title)}">{escape(text)}</td>'


def _heat(title: str, facts: Facts, names: Sequence[str], cells: Mapping[frozenset[str], str]) -> str:
    """The lower triangle of a table of pairs."""
    labels = {name: escape(facts.field(name).info.label) for name in names}
    head = "".join(f'<th scope="col"><span>{labels[name]}</span></th>' for name in names[:-1])
    rows = []
    for i, name in enumerate(names[1:], start=1):
        found = "".join(cells[frozenset((name, other))] for other in names[:i])
        blanks = "<td></td>" * (len(names) - 1 - i)
        rows.append(f'<tr><th scope="row">{labels[name]}</th>{found}{blanks}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}"><table class="heat">'
        f"<caption>{escape(title)}; bold where noise does not explain it</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
