"""Facts → report.html: one page that needs nothing but itself.

Only draws. No script, no request: a content-security policy in the page forbids both, and every value that
comes from the data goes through `html.escape`. Pictures are static inline SVG (see `pictures.py` and `svg.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from synthgen.report import heat, rejection
from synthgen.report import wording as w
from synthgen.report.figures import Facts, Sample
from synthgen.report.method import METHOD
from synthgen.report.panels import beside, definitions, html_table, panel
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
        heat.section(facts),
        _adapters(facts.run.adapters),
        _rejection(facts),
        _distances(facts),
        _spread(facts),
        _rarefied(facts),
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
        f'<div class="left">{html_table(heads, rows)}</div>',
        f'<p class="note">{escape(w.SIDE_BY_SIDE)}</p>',
        '<div class="legend"><span><i class="t"></i>declared target</span>'
        '<span><i class="w"></i>95 % interval of a share</span></div>',
        '<section class="panels one" aria-label="Fields">',
        *(_columns(comparison, row) for row in comparison.rows),
        "</section>",
        _method(),
    ]
    return _page(comparison.headline, body)


def _columns(comparison: SideBySide, row: Row) -> str:
    """One field: a picture per table, all on one scale where all can be seen on it."""
    charts = {name: chart for name, chart in zip(comparison.names, row.charts, strict=True) if chart}
    if not charts:
        return ""
    known = (facts.fields for facts in comparison.tables.values())
    info = next(entry.info for fields in known for entry in fields if entry.info.name == row.name)
    return (
        f'<article class="panel"><header><h3>{escape(row.label)}</h3></header>'
        f'<div class="pair many">{beside(info, charts)}</div></article>'
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
    if any(entry.chart is not None and entry.chart.kind == "values" for entry in facts.fields):
        keys.append('<span><i class="w"></i>95 % interval of a share</span>')
    if w.compared_at(facts):
        keys.append(f"<span>coverage and entropy compared {w.compared_at(facts)}</span>")
    return f'<div class="legend">{"".join(keys)}</div>'


# ── places ─────────────────────────────────────────────────────────────────────────


def _maps(facts: Facts) -> str:
    found = [(entry.info.label, entry.places) for entry in facts.fields if entry.places is not None]
    if not found:
        return ""
    label, places = max(found, key=lambda pair: len(pair[1].points))  # of city and country, the finer
    return (
        f"<h2>{escape(label)} on the map</h2>{world_map(places, label)}"
        f'<p class="note">{escape(w.placed(places))}</p>'
    )


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def _adapters(adapters: Sequence[AdapterFacts]) -> str:
    rows = []
    for adapter in adapters:
        old, new = adapter.before, adapter.after
        if new is None:
            continue
        n_prompts = adapter.details.get("prompts")
        part = f"mean of {n_prompts} prompts" if n_prompts else "whole answer"
        rows.append([adapter.name, part, *(_exact(old, new, name) for name in ("kl", "leak", "shape"))])
        for name, value in new.fields.items():
            start = old.fields.get(name) if old else None
            rows.append(
                ["", name, w.arrow("" if start is None else w.distance(start), w.distance(value)), "", ""]
            )
    curves = "".join(f'<div class="panel">{c}</div>' for a in adapters if (c := tuning_curve(a)))
    curves = f'<div class="panels curves">{curves}</div>' if curves else ""
    if not rows:
        return f"<h2>Adapters, as they were tuned</h2>{curves}" if curves else ""
    heads = ["adapter", "part", "exact KL", "leak", "shape"]
    return f"<h2>Adapters: exact distance to the target, before → after</h2>{curves}{html_table(heads, rows)}"


def _rejection(facts: Facts) -> str:
    found = facts.run.rejection
    if found is None:
        return ""
    said = "".join(f"<p>{escape(line[0].upper() + line[1:])}.</p>" for line in rejection.lines(facts))
    tables = html_table(rejection.ADAPTER_HEADS, rejection.adapter_rows(found))
    if found.fields:
        tables += html_table(rejection.VALUE_HEADS, rejection.value_rows(facts, found))
    return f"<h2>Rejected attempts</h2>{said}{tables}"


def _exact(old: Exact | None, new: Exact, name: str) -> str:
    start, end = getattr(old, name, None), getattr(new, name)
    return w.MISSING if end is None else w.arrow("" if start is None else w.distance(start), w.distance(end))


def _spread(facts: Facts) -> str:
    heads = [
        "field",
        "table",
        "n",
        "distinct",
        "H plug-in",
        "H Chao–Wang–Jost (95 %)",
        "exp H",
        "sample coverage (95 %)",
    ]
    rows = [
        [entry.info.label, when, *_sample_cells(sample)]
        for entry in facts.fields
        for sample, when in ((entry.before, "before"), (entry.after, "after"))
        if sample is not None
    ]
    return f"<h2>Spread, at each table's own size</h2>{html_table([*heads, 'Chao1 (at least)'], rows)}"


def _sample_cells(sample: Sample) -> list[str]:
    low, high = sample.entropy_interval or (None, None)
    is_bound = low is not None and high is None
    return [
        w.count(sample.n),
        w.count(sample.coverage),
        w.nats(sample.entropy_plugin),
        f"{w.finer(sample.entropy_chao_wang_jost)} ({w.between(low, high, w.finer)})",
        f"≥ {w.tenths(math.exp(low or 0.0))}" if is_bound else w.tenths(sample.perplexity),
        f"{w.share(sample.sample_coverage)} ({w.between(*sample.sample_coverage_interval, w.share)})",
        f"{w.count(sample.chao1)} ({w.count(sample.fewest_values)})",
    ]


def _distances(facts: Facts) -> str:
    heads = [
        "field",
        "table",
        "TV",
        "floor",
        "p",
        "JS",
        "floor",
        "KL",
        "floor",
        "W",
        "floor",
        "outside",
        "missed",
    ]
    rows = []
    for entry in facts.tested:
        for target, when in ((entry.target_before, "before"), (entry.target, "after")):
            if target is None:
                continue
            row = [w.distance(target.tv.value), w.floor(target.tv), w.p_value(target.p_value)]
            for distance in (target.js, target.kl):
                row += [w.distance(distance.value), w.floor(distance)]
            ordered = target.wasserstein
            row += [w.length(ordered.value), w.length(ordered.floor_p95)] if ordered else ["", ""]
            row += [w.share(target.share_outside), f"{w.count(target.n_unseen)} of {w.count(target.k)}"]
            rows.append([entry.info.label, when, *row])
    return f"<h2>Distances to the target, each beside its floor</h2>{html_table(heads, rows)}" if rows else ""


def _rarefied(facts: Facts) -> str:
    """Expected distinct values of 10, 100, 1,000, … records of each table, and of all."""
    sizes = [str(10**power) for power in range(1, 9) if 10**power <= facts.n_records]
    if not sizes:
        return ""
    rows = []
    for entry in facts.fields:
        for sample, when in ((entry.before, "before"), (entry.after, "after")):
            if sample is not None:
                found = (w.tenths(sample.rarefied.get(m)) for m in sizes)
                rows.append(
                    [entry.info.label, when, *found, f"{w.count(sample.coverage)} of {w.count(sample.n)}"]
                )
    heads = ["field", "table", *(w.count(float(m)) for m in sizes), "all"]
    return f"<h2>Distinct values among so many records</h2>{html_table(heads, rows)}"


def _reliability(facts: Facts) -> str:
    run = facts.run
    reasons = sorted(run.rejects.items(), key=lambda pair: (-pair[1], pair[0]))
    pairs = [
        ("recipe", run.recipe),
        ("schema", run.schema),
        ("model", run.model),
        ("engine", run.engine),
        ("seed", None if run.seed is None else str(run.seed)),
        (
            "records that repeat another",
            None if facts.duplicate_rate is None else w.share(facts.duplicate_rate),
        ),
        ("seen in tuning", w.memorised(facts).removeprefix("seen in tuning: ") or None),
        ("attempted", None if run.attempted is None else w.count(run.attempted)),
        ("accepted", None if run.accepted is None else w.count(run.accepted)),
        ("rejected", None if run.rejected is None else w.count(run.rejected)),
        ("rejects by reason", ", ".join(f"{reason} {w.count(n)}" for reason, n in reasons) or None),
        ("tokens generated", None if run.tokens is None else w.count(run.tokens)),
        ("other spelling", w.spelling(facts) and f"{w.spelling(facts)} accepted answers {w.SPELLING}"),
        ("fingerprints", ", ".join(f"{name} {found}" for name, found in run.fingerprints.items()) or None),
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
    return f'<h2>How it is computed</h2><dl class="method">{definitions(METHOD)}</dl>'
