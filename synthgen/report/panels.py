"""One field → its panel on the page: verdict, bars before and after, figures, most frequent values. Only draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from synthgen.report import wording as w
from synthgen.report.figures import Chart, FieldFacts, TopValue, short
from synthgen.report.pictures import rarefaction

_CHIPS = {"within noise": ("good", "●"), "borderline": ("fair", "◐"), "off": ("bad", "▲")}
_SAME_SCALE = 6.0  # up to this ratio of tallest bars, before and after share one scale
_NAMED_BARS = 5
_WHISKERS = 40  # bars up to which each shows its interval


def panel(entry: FieldFacts) -> str:
    """One field, whole."""
    derived = "<small>derived</small>" if entry.info.derived else ""
    parts = [
        f'<article class="panel"><header><h3>{escape(entry.info.label)}{derived}</h3>{chip(entry)}</header>',
        pictures(entry.chart) if entry.chart else "",
        rarefaction(entry.info.label, entry.before, entry.after) if _is_open(entry) else "",
        f'<dl class="figures">{definitions(_panel_figures(entry))}</dl>',
        _openings(entry),
        _tops(entry),
        f'<p class="note">{escape(entry.no_target)}</p>' if entry.no_target else "",
        "</article>",
    ]
    return "".join(parts)


def _is_open(entry: FieldFacts) -> bool:
    """Whether the picture shows ranks: then the number of values is the question."""
    return entry.chart is not None and entry.chart.kind == "ranks"


def chip(entry: FieldFacts) -> str:
    """The verdict, in words, colour and mark."""
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
        pairs += [(name, w.text_figure(old, new, name)) for name in w.TEXT_FIGURES]
    if entry.novelty is not None:
        pairs += w.novelty(entry.novelty_before, entry.novelty)
    return pairs


def pictures(chart: Chart) -> str:
    """Before and after side by side; on one scale where both can be seen on it."""
    old = [bar.before for bar in chart.bars if bar.before is not None]
    targets = [bar.target for bar in chart.bars if bar.target is not None]
    new_top = max([bar.after for bar in chart.bars] + targets)
    old_top = max(old + targets, default=0.0)
    if old and max(new_top, old_top) <= _SAME_SCALE * min(new_top, old_top):
        new_top = old_top = max(new_top, old_top)
    pictures = [picture(chart, "before", old_top)] if old else []
    pictures.append(picture(chart, "after", new_top, enlarged=old_top / new_top if old else 1.0))
    return f'<div class="pair">{"".join(pictures)}</div>'


def beside(charts: Mapping[str, Chart]) -> str:
    """Pictures of several tables, on one scale where the lowest can be seen on it."""
    tops = {
        name: max(max(bar.after, bar.target or 0.0) for bar in chart.bars) for name, chart in charts.items()
    }
    highest = max(tops.values())
    if highest <= _SAME_SCALE * min(tops.values()):
        tops = dict.fromkeys(tops, highest)
    return "".join(
        picture(chart, "after", tops[name], enlarged=highest / (tops[name] or 1.0), title=name)
        for name, chart in charts.items()
    )


def picture(chart: Chart, which: str, scale: float, enlarged: float = 1.0, title: str = "") -> str:
    """Bars of one table, with the declared target over each."""
    values = [getattr(bar, which) or 0.0 for bar in chart.bars]
    slot, scale = 100 / len(values), (scale or 1.0) * 1.04
    gap = 0.3 if len(values) <= 12 else 0.16
    shapes = ['<line class="top" x1="0" x2="100%" y1="3.85%" y2="3.85%"/>']
    for i, (bar, value) in enumerate(zip(chart.bars, values, strict=True)):
        height = 100 * value / scale
        shapes.append(
            f'<rect class="{which}" x="{(i + gap / 2) * slot:.3f}%" y="{100 - height:.2f}%" '
            f'width="{(1 - gap) * slot:.3f}%" height="{height:.2f}%">'
            f"<title>{escape(short(bar.label))}: {percent(value)}</title></rect>"
        )
        ends = getattr(bar, f"{which}_interval")
        if ends is not None and len(values) <= _WHISKERS:
            x, (low, high) = f"{(i + 0.5) * slot:.3f}%", (f"{100 - 100 * end / scale:.2f}%" for end in ends)
            shapes.append(f'<line class="whisker" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
    for i, bar in enumerate(chart.bars):
        if bar.target is not None:
            y = f"{100 - 100 * bar.target / scale:.2f}%"
            shapes.append(
                f'<line class="target" x1="{i * slot:.3f}%" x2="{(i + 1) * slot:.3f}%" y1="{y}" y2="{y}"/>'
            )
    lens = f", {enlarged:.0f}×" if enlarged > 1.5 else ""
    caption = f"<figcaption><b>{escape(title or which)}</b><span>top line {percent(scale / 1.04)}{lens}</span></figcaption>"
    label = escape(_spoken(chart, title or which, values), quote=True)
    svg = f'<svg role="img" aria-label="{label}">{"".join(shapes)}</svg>'
    return f"<figure>{caption}{svg}{_axis(chart)}</figure>"


def _spoken(chart: Chart, which: str, values: Sequence[float]) -> str:
    """The picture in words: its three tallest bars, and the target's."""
    tallest = sorted(zip(values, chart.bars, strict=True), key=lambda pair: -pair[0])[:3]
    parts = []
    for value, bar in tallest:
        target = "" if bar.target is None else f" (target {percent(bar.target)})"
        parts.append(f"{short(bar.label)} {percent(value)}{target}")
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


def _openings(entry: FieldFacts) -> str:
    if entry.after.text is None:
        return ""
    old = entry.before.text if entry.before else None
    lists = [_top_list("most repeated openings before", old.openings)] if old else []
    lists.append(_top_list("most repeated openings" + (" after" if old else ""), entry.after.text.openings))
    return f'<div class="tops openings">{"".join(lists)}</div>'


def _top_list(title: str, tops: Iterable[TopValue]) -> str:
    items = "".join(
        f'<li><span title="{escape(short(t.value, 300), quote=True)}">{escape(short(t.value, 120))}</span>'
        f"<span>{w.count(t.n)} · {w.share(t.share)}</span></li>"
        for t in tops
    )
    return f"<div><p>{title}</p><ol>{items}</ol></div>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms and what they are, as the inside of a `dl`."""
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)


def percent(value: float) -> str:
    """A share on a picture: short."""
    return f"{value * 100:.1f} %" if value < 0.0995 else f"{value * 100:.0f} %"
