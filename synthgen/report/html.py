"""Facts → report.html: one page that needs nothing but itself.

Only draws. No script, no request: a content-security policy in the page forbids both, and every value that
comes from the data goes through `html.escape`. Pictures are inline SVG in percent coordinates, for any width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from synthgen.report import wording as w
from synthgen.report.figures import Chart, Facts, FieldFacts, Sample, TopValue, short
from synthgen.report.reliability import AdapterFacts, Exact

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_CHIPS = {"within noise": ("good", "●"), "borderline": ("fair", "◐"), "off": ("bad", "▲")}
_SAME_SCALE = 6.0  # up to this ratio of tallest bars, before and after share one scale
_NAMED_BARS = 5


def render(facts: Facts) -> str:
    """The whole page."""
    title = facts.run.title or "dataset"
    style = files("synthgen.report").joinpath("page.css").read_text(encoding="utf-8")
    headline = w.sentence(facts)
    body = [
        f'<p class="eyebrow">synthgen report</p><h1>{escape(title)}</h1>',
        f'<p class="headline">{escape(headline)}</p>',
        _numbers(facts),
        _legend(facts),
        '<section class="panels" aria-label="Fields, worst first">',
        *(_panel(entry) for entry in facts.fields),
        "</section>",
        _adapters(facts.run.adapters),
        _every_figure(facts),
        _reliability(facts),
        _method(),
        f"<footer>Simulations seeded with {facts.seed}. The same facts are in report.json.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: {escape(headline)}</title>\n<style>\n{style}</style></head>\n"
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
    return f'<dl class="numbers">{_definitions(pairs)}</dl>'


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


# ── one field ─────────────────────────────────────────────────────────────────────────────────────


def _panel(entry: FieldFacts) -> str:
    derived = "<small>derived</small>" if entry.info.derived else ""
    parts = [
        f'<article class="panel"><header><h3>{escape(entry.info.label)}{derived}</h3>{_chip(entry)}</header>',
        _pictures(entry.chart) if entry.chart else "",
        f'<dl class="figures">{_definitions(_panel_figures(entry))}</dl>',
        _tops(entry),
        f'<p class="note">{escape(entry.no_target)}</p>' if entry.no_target else "",
        "</article>",
    ]
    return "".join(parts)


def _chip(entry: FieldFacts) -> str:
    if entry.target is None:
        return '<span class="chip">no target</span>'
    tone, mark = _CHIPS[entry.target.state]
    return f'<span class="chip {tone}"><span aria-hidden="true">{mark}</span> {escape(entry.verdict)}</span>'


def _panel_figures(entry: FieldFacts) -> list[tuple[str, str]]:
    pairs = [("coverage", w.coverage(entry)), ("entropy, nats", w.entropy(entry))]
    if entry.target is not None:
        pairs += [("TV to target", w.tv(entry)), ("noise floor", w.floor(entry.target.tv))]
    new, old = entry.after.text, entry.before.text if entry.before else None
    if new is not None:
        pairs.append(
            ("distinct-1", w.arrow(w.distance(old.distinct_1) if old else "", w.distance(new.distinct_1)))
        )
        pairs.append(("mean words", w.arrow(f"{old.mean_words:.1f}" if old else "", f"{new.mean_words:.1f}")))
    return pairs


def _pictures(chart: Chart) -> str:
    """Before and after side by side; on one scale where both can be seen on it."""
    old = [bar.before for bar in chart.bars if bar.before is not None]
    targets = [bar.target for bar in chart.bars if bar.target is not None]
    new_top = max([bar.after for bar in chart.bars] + targets)
    old_top = max(old + targets, default=0.0)
    if old and max(new_top, old_top) <= _SAME_SCALE * min(new_top, old_top):
        new_top = old_top = max(new_top, old_top)
    pictures = [_picture(chart, "before", old_top)] if old else []
    pictures.append(_picture(chart, "after", new_top, enlarged=old_top / new_top if old else 1.0))
    return f'<div class="pair">{"".join(pictures)}</div>'


def _picture(chart: Chart, which: str, scale: float, enlarged: float = 1.0) -> str:
    values = [getattr(bar, which) or 0.0 for bar in chart.bars]
    slot, scale = 100 / len(values), (scale or 1.0) * 1.04
    gap = 0.3 if len(values) <= 12 else 0.16
    shapes = ['<line class="top" x1="0" x2="100%" y1="3.85%" y2="3.85%"/>']
    for i, (bar, value) in enumerate(zip(chart.bars, values, strict=True)):
        height = 100 * value / scale
        shapes.append(
            f'<rect class="{which}" x="{(i + gap / 2) * slot:.3f}%" y="{100 - height:.2f}%" '
            f'width="{(1 - gap) * slot:.3f}%" height="{height:.2f}%">'
            f"<title>{escape(short(bar.label))}: {_percent(value)}</title></rect>"
        )
    for i, bar in enumerate(chart.bars):
        if bar.target is not None:
            y = f"{100 - 100 * bar.target / scale:.2f}%"
            shapes.append(
                f'<line class="target" x1="{i * slot:.3f}%" x2="{(i + 1) * slot:.3f}%" y1="{y}" y2="{y}"/>'
            )
    lens = f", {enlarged:.0f}×" if enlarged > 1.5 else ""
    caption = f"<figcaption><b>{which}</b><span>top line {_percent(scale / 1.04)}{lens}</span></figcaption>"
    label = escape(_spoken(chart, which, values), quote=True)
    svg = f'<svg role="img" aria-label="{label}">{"".join(shapes)}</svg>'
    return f"<figure>{caption}{svg}{_axis(chart)}</figure>"


def _spoken(chart: Chart, which: str, values: Sequence[float]) -> str:
    """The picture in words: its three tallest bars, and the target's."""
    tallest = sorted(zip(values, chart.bars, strict=True), key=lambda pair: -pair[0])[:3]
    parts = []
    for value, bar in tallest:
        target = "" if bar.target is None else f" (target {_percent(bar.target)})"
        parts.append(f"{short(bar.label)} {_percent(value)}{target}")
    return f"{which}, {len(values)} bars, tallest: {', '.join(parts)}"


def _axis(chart: Chart) -> str:
    labels = [bar.label for bar in chart.bars]
    if chart.kind == "ranks":
        ends = f"<span>most common</span><span>rank {len(labels)}</span>"
        return f'<div class="axis">{ends}</div>'
    if len(labels) <= _NAMED_BARS:
        spans = "".join(f'<span title="{escape(v, quote=True)}">{escape(short(v))}</span>' for v in labels)
        return f'<div class="axis each">{spans}</div>'
    ends = "".join(f"<span>{escape(short(label, 18))}</span>" for label in (labels[0], labels[-1]))
    return f'<div class="axis">{ends}</div>'


def _tops(entry: FieldFacts) -> str:
    stacked = " stacked" if entry.info.kind == "text" else ""
    lists = [_top_list("most frequent before", entry.before.top)] if entry.before else []
    lists.append(_top_list("most frequent after" if entry.before else "most frequent", entry.after.top))
    return f'<div class="tops{stacked}">{"".join(lists)}</div>'


def _top_list(title: str, tops: Iterable[TopValue]) -> str:
    items = "".join(
        f'<li><span title="{escape(short(t.value, 300), quote=True)}">{escape(short(t.value, 120))}</span>'
        f"<span>{w.count(t.n)} · {w.share(t.share)}</span></li>"
        for t in tops
    )
    return f"<div><p>{title}</p><ol>{items}</ol></div>"


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
    return f"<h2>Adapters: exact distance to the target, before → after</h2>{_table(heads, rows)}"


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
    heads += ["Chao1", "TV", "floor", "JS", "floor", "KL", "floor", "outside"] if facts.tested else ["Chao1"]
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
                row += [""] * 7
            elif target is not None:
                for distance in (target.tv, target.js, target.kl):
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
    return f'<h2>How it is computed</h2><dl class="method">{_definitions(w.METHOD)}</dl>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %" if value < 0.0995 else f"{value * 100:.0f} %"
