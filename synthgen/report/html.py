"""Facts → report.html: one page that needs nothing but itself.

Only draws. No script, no request: a content-security policy in the page forbids both, and every value that
comes from the data goes through `html.escape`. Pictures are inline SVG in percent coordinates, for any width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from synthgen.report import wording as w
from synthgen.report.figures import Dependence, Facts, Joint, Sample
from synthgen.report.panels import definitions, panel, picture
from synthgen.report.pictures import tuning_curve, world_map
from synthgen.report.reliability import AdapterFacts, Exact
from synthgen.report.sidebyside import Row, SideBySide

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(facts: Facts) -> str:
    """The whole page."""
    title = facts.run.title or "dataset"
    headline = w.sentence(facts)
    body = [
        f'<p class="eyebrow">synthgen report</p><h1>{escape(title)}</h1>',
        f'<p class="headline">{escape(headline)}</p>',
        _numbers(facts),
        _legend(facts),
        '<section class="panels" aria-label="Fields, worst first">',
        *(panel(entry) for entry in facts.fields),
        "</section>",
        _maps(facts),
        _joint(facts),
        _adapters(facts.run.adapters),
        _every_figure(facts),
        _reliability(facts),
        _method(),
        f"<footer>Simulations seeded with {facts.seed}. The same facts are in report.json.</footer>",
    ]
    return _page(f"{title}: {headline}", body)


def render_side_by_side(comparison: SideBySide) -> str:
    """Several tables on one page: a column each, and every field's bars on one scale."""
    heads = ["field", *comparison.names]
    rows = [
        [row.label, *(" · ".join(w.cell(cell)) if cell else w.MISSING for cell in row.cells)]
        for row in comparison.rows
    ]
    body = [
        f'<p class="eyebrow">synthgen report</p><p class="headline">{escape(comparison.headline)}.</p>',
        _table(heads, rows),
        f'<p class="note">{escape(w.SIDE_BY_SIDE)}</p>',
        '<section class="panels" aria-label="Fields">',
        *(_columns(comparison, row) for row in comparison.rows),
        "</section>",
        _method(),
    ]
    return _page(comparison.headline, body)


def _columns(comparison: SideBySide, row: Row) -> str:
    """One field: a picture per table."""
    charts = {}
    for name, facts in comparison.tables.items():
        found = next((entry for entry in facts.fields if entry.info.name == row.name), None)
        if found is not None and found.chart is not None:
            charts[name] = found.chart
    if not charts:
        return ""
    bars = [bar for chart in charts.values() for bar in chart.bars]
    top = max(max(bar.after, bar.target or 0.0) for bar in bars)
    pictures = "".join(picture(chart, "after", top, title=name) for name, chart in charts.items())
    return (
        f'<article class="panel"><header><h3>{escape(row.label)}</h3></header>'
        f'<div class="pair">{pictures}</div></article>'
    )


def _page(title: str, body: Sequence[str]) -> str:
    style = files("synthgen.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{chr(10).join(part for part in body if part)}\n</main></body></html>\n"
    )


def _numbers(facts: Facts) -> str:
    run = facts.run
    pairs = [("records", w.count(facts.n_records))]
    if run.parse_rate is not None:
        pairs.append(("parse rate", w.arrow(w.share(run.parse_rate_before), w.share(run.parse_rate))))
    if facts.tested:
        within = sum(f.target is not None and f.target.state == "within noise" for f in facts.tested)
        pairs.append(("fields within noise", f"{within} of {len(facts.tested)}"))
    if run.rejected is not None:
        pairs.append(("rejected attempts", w.count(run.rejected)))
    if run.records_per_s is not None:
        pairs.append(("records per second", f"{run.records_per_s:,.0f}"))
    if run.elapsed_s is not None:
        pairs.append(("time", w.seconds(run.elapsed_s)))
    return f'<dl class="numbers">{definitions(pairs)}</dl>'


def _legend(facts: Facts) -> str:
    keys = []
    if facts.n_before is not None:
        n = w.count(facts.n_before)
        keys.append(
            f'<span><i style="background:var(--before)"></i>before: {n} records of the untuned model</span>'
        )
    keys.append(
        f'<span><i style="background:var(--after)"></i>after: {w.count(facts.n_records)} records</span>'
    )
    if facts.tested:
        keys.append('<span><i class="t"></i>declared target</span>')
    if facts.n_before is not None:
        keys.append("<span>9×: drawn nine times as tall as before</span>")
    if w.compared_at(facts):
        keys.append(f"<span>coverage and entropy compared {w.compared_at(facts)}</span>")
    return f'<div class="legend">{"".join(keys)}</div>'


# ── places and dependence ─────────────────────────────────────────────────────────────────────────


def _maps(facts: Facts) -> str:
    found = [(entry.info.label, entry.places) for entry in facts.fields if entry.places is not None]
    if not found:
        return ""
    label, places = max(found, key=lambda pair: len(pair[1].points))  # of city and country, the finer
    return (
        f'<h2>{escape(label)} on the map</h2>{world_map(places, label)}<p class="note">{w.placed(places)}</p>'
    )


def _joint(facts: Facts) -> str:
    if facts.joint is None:
        return ""
    parts = [f"<h2>Between fields, and along the record order</h2><p>{escape(w.dependence(facts))}</p>"]
    if facts.joint.pairs:
        parts.append(_heat(facts, facts.joint))
    parts.append(f"<p>{escape(w.drift(facts))}</p>")
    parts.append(f'<p class="note">{escape(w.joint_note(facts))}</p>')
    return "".join(parts)


def _heat(facts: Facts, joint: Joint) -> str:
    """Cramér's V of every pair, darker where one field tells more of the other; ringed where it is real."""
    found = {frozenset((pair.a, pair.b)): pair for pair in joint.pairs}
    labels = [facts.field(name).info.label for name in joint.fields]
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in labels[:-1])
    rows = []
    for i, name in enumerate(joint.fields[1:], start=1):
        cells = [_heat_cell(found[frozenset((name, other))]) for other in joint.fields[:i]]
        blanks = "<td></td>" * (len(joint.fields) - 1 - i)
        rows.append(f'<tr><th scope="row">{escape(labels[i])}</th>{"".join(cells)}{blanks}</tr>')
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Cramér\'s V between fields">'
        f'<table class="heat"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _heat_cell(pair: Dependence) -> str:
    share = round(100 * pair.cramers_v)
    tone = " strong" if share >= 55 else ""
    mark = " real" if pair.is_real else ""
    title = f"{pair.a} and {pair.b}: {w.nats(pair.corrected)} nats, p {w.p_value(pair.p_value)}"
    return f'<td class="cell{tone}{mark}" style="--v:{share}%" title="{escape(title)}">{w.association(pair)}</td>'


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def _adapters(adapters: Sequence[AdapterFacts]) -> str:
    rows = []
    for adapter in adapters:
        old, new = adapter.before, adapter.after
        if new is None:
            continue
        rows.append(
            [adapter.name, "whole answer", *(_exact(old, new, name) for name in ("kl", "leak", "shape"))]
        )
        for name, value in new.fields.items():
            start = old.fields.get(name) if old else None
            rows.append(
                ["", name, w.arrow("" if start is None else w.distance(start), w.distance(value)), "", ""]
            )
    if not rows:
        return ""
    heads = ["adapter", "part", "exact KL", "leak", "shape"]
    curves = "".join(f'<div class="panel">{c}</div>' for a in adapters if (c := tuning_curve(a)))
    curves = f'<div class="panels curves">{curves}</div>' if curves else ""
    return f"<h2>Adapters: exact distance to the target, before → after</h2>{curves}{_table(heads, rows)}"


def _exact(old: Exact | None, new: Exact, name: str) -> str:
    start, end = getattr(old, name, None), getattr(new, name)
    return w.MISSING if end is None else w.arrow("" if start is None else w.distance(start), w.distance(end))


def _every_figure(facts: Facts) -> str:
    heads = [
        "field",
        "table",
        "n",
        "distinct",
        "H plug-in",
        "H Chao–Wang–Jost",
        "95 %",
        "exp H",
        "sample coverage",
    ]
    heads += (
        ["Chao1", "TV", "floor", "p", "JS", "floor", "KL", "floor", "outside"] if facts.tested else ["Chao1"]
    )
    rows = []
    for entry in facts.fields:
        for sample, target, when in (
            (entry.before, entry.target_before, "before"),
            (entry.after, entry.target, "after"),
        ):
            if sample is None:
                continue
            row = [entry.info.label, when, *_sample_cells(sample)]
            if facts.tested and target is None:
                row += [""] * 8
            elif target is not None:
                row += [w.distance(target.tv.value), w.floor(target.tv), w.p_value(target.p_value)]
                for distance in (target.js, target.kl):
                    row += [w.distance(distance.value), w.floor(distance)]
                row.append(w.share(target.share_outside))
            rows.append(row)
    return f"<h2>Every figure, at each table's own size</h2>{_table(heads, rows)}"


def _sample_cells(sample: Sample) -> list[str]:
    interval = sample.entropy_interval
    return [
        w.count(sample.n),
        w.count(sample.coverage),
        w.nats(sample.entropy_plugin),
        w.nats(sample.entropy_chao_wang_jost),
        f"{w.nats(interval[0])}–{w.nats(interval[1])}" if interval else w.MISSING,
        w.count(sample.perplexity),
        w.share(sample.sample_coverage),
        w.count(sample.chao1),
    ]


def _reliability(facts: Facts) -> str:
    run = facts.run
    reasons = sorted(run.rejects.items(), key=lambda pair: (-pair[1], pair[0]))
    pairs = [
        ("recipe", run.recipe),
        ("schema", run.schema),
        ("model", run.model),
        ("engine", run.engine),
        ("seed", None if run.seed is None else str(run.seed)),
        ("records seen in tuning", None if facts.seen_records is None else w.share(facts.seen_records)),
        ("attempted", None if run.attempted is None else w.count(run.attempted)),
        ("accepted", None if run.accepted is None else w.count(run.accepted)),
        ("rejected", None if run.rejected is None else w.count(run.rejected)),
        ("rejects by reason", ", ".join(f"{reason} {w.count(n)}" for reason, n in reasons) or None),
        ("versions", ", ".join(f"{name} {version}" for name, version in run.versions.items()) or None),
        *((name, _flat(value)) for name, value in run.details.items()),
        *((f"left out: {name}", why) for name, why in facts.skipped.items()),
    ]
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(k)}</th><td>{escape(v)}</td></tr>'
        for k, v in pairs
        if v
    )
    return (
        f'<h2>The run</h2><div class="scroll"><table class="kv"><tbody>{rows}</tbody></table></div>'
        if rows
        else ""
    )


def _flat(value: object) -> str:
    """A detail of any type on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _method() -> str:
    return f'<h2>How it is computed</h2><dl class="method">{definitions(w.METHOD)}</dl>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
