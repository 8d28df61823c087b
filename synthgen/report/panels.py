"""One field → its panel on the page: verdict, bars before and after, figures, most frequent values. Only draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from synthgen.report import wording as w
from synthgen.report.bars import Table, columns, percent, rows
from synthgen.report.figures import Chart, FieldFacts, FieldInfo, TopValue, short
from synthgen.report.pictures import figure, rarefaction
from synthgen.report.svg import Size

_CHIPS = {"within noise": ("good", "●"), "borderline": ("fair", "◐"), "off": ("bad", "▲")}
_SAME_SCALE = 6.0  # up to this ratio of tallest bars, before and after share one scale
_WIDE = 2  # tables side by side up to which their pictures have full width


def panel(entry: FieldFacts) -> str:
    """One field, whole."""
    derived = "<small>derived</small>" if entry.info.derived else ""
    parts = [
        f'<article class="panel"><header><h3>{escape(entry.info.label)}{derived}</h3>{chip(entry)}</header>',
        pictures(entry.info, entry.chart) if entry.chart else "",
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


def pictures(info: FieldInfo, chart: Chart) -> str:
    """Before and after: rows below one another, or columns side by side, on one scale where that shows both."""
    tables: list[Table] = ["before", "after"] if chart.bars[0].before is not None else ["after"]
    tops = {table: _top(chart, table) for table in tables}
    if _in_rows(info, chart):
        spoken = "; ".join(_spoken(chart, table, table) for table in tables)
        return figure("share of records", "", rows(chart, tables, max(tops.values()), spoken, "full"))
    highest = max(tops.values())
    if highest <= _SAME_SCALE * min(tops.values()):
        tops = dict.fromkeys(tables, highest)
    size: Size = "half" if len(tables) == 2 else "full"
    drawn = []
    for table, top in tops.items():
        picture = columns(chart, table, top, _spoken(chart, table, table), size)
        drawn.append(figure(table, _lens(tops["before"] / top, "before") if len(tops) == 2 else "", picture))
    return f'<div class="pair">{"".join(drawn)}</div>'


def beside(info: FieldInfo, charts: Mapping[str, Chart]) -> str:
    """Pictures of several tables, on one scale where the lowest can be seen on it."""
    tops = {name: _top(chart, "after") for name, chart in charts.items()}
    highest = max(tops.values())
    if highest <= _SAME_SCALE * min(tops.values()):
        tops = dict.fromkeys(tops, highest)
    size: Size = "full" if len(charts) <= _WIDE else "half"
    drawn = []
    for name, chart in charts.items():
        spoken = _spoken(chart, "after", name)
        if _in_rows(info, chart):
            picture = rows(chart, ["after"], tops[name], spoken, size)
        else:
            picture = columns(chart, "after", tops[name], spoken, size)
        drawn.append(figure(name, _lens(highest / tops[name], "the tallest"), picture))
    return "".join(drawn)


def _in_rows(info: FieldInfo, chart: Chart) -> bool:
    """Whether the bars are values that have names and no order."""
    return chart.kind == "values" and info.kind not in ("number", "date")


def _top(chart: Chart, table: Table) -> float:
    """The end of a picture's scale: a little above its tallest bar, interval and target."""
    ends = [getattr(bar, table) or 0.0 for bar in chart.bars]
    ends += [bar.target for bar in chart.bars if bar.target is not None]
    ends += [interval[1] for bar in chart.bars if (interval := getattr(bar, f"{table}_interval"))]
    return min(1.0, 1.04 * max(ends)) or 1.0


def _lens(enlarged: float, than: str) -> str:
    return f"drawn {enlarged:.0f}× as tall as {than}" if enlarged > 1.5 else ""


def _spoken(chart: Chart, table: Table, name: str) -> str:
    """The picture in words: its three tallest bars, and the target's."""
    tallest = sorted(chart.bars, key=lambda bar: -(getattr(bar, table) or 0.0))[:3]
    parts = []
    for bar in tallest:
        target = "" if bar.target is None else f" (target {percent(bar.target)})"
        parts.append(f"{short(bar.label)} {percent(getattr(bar, table) or 0.0)}{target}")
    return f"{name}, {len(chart.bars)} bars, tallest: {', '.join(parts)}"


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


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under heads, which a narrow screen scrolls sideways."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
