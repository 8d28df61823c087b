"""Facts → probe.html: one page that needs nothing but itself, in the report's dress. Only draws.

No script, no request: a content-security policy in the page forbids both, and every value goes through `html.escape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from synthgen.probe import plane
from synthgen.probe import wording as w
from synthgen.probe.facts import FieldFacts, Numbers, ProbeFacts, TaskFacts
from synthgen.report.figures import Bar, Chart, FieldInfo
from synthgen.report.panels import beside, definitions, html_table

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(facts: ProbeFacts) -> str:
    """The whole page."""
    title = w.subject(facts)
    headline = w.headline(facts)
    body = [
        f'<p class="eyebrow">synthgen probe</p><h1>{escape(title)}</h1>',
        f'<p class="headline">{escape(headline)}</p>',
        f'<dl class="numbers">{definitions(w.numbers(facts))}</dl>',
        f'<p class="note">{escape(w.verdict_note(facts))}</p>',
        '<div class="both"><div><h2>Among known samplers</h2>',
        '<figure class="plane"><figcaption><b>V: how far P_token moves from one step to the next</b></figcaption>'
        f"{plane.picture(facts)}</figure>",
        '<div class="axis"><span></span><span>A: how far P_token is from what is stated</span></div>',
        f'<p class="note">{escape(w.PLANE_NOTE)}</p></div>',
        f'<div><h2>What it means</h2><ul class="advice">{_advice(facts)}</ul></div></div>',
        _recipe(facts),
        "<h2>Stated distributions</h2>",
        _legend(),
        '<section class="panels" aria-label="Stated distributions">',
        *(_task(task) for task in facts.tasks),
        "</section>",
        "<h2>Long lists</h2>",
        html_table(w.LIST_HEADS, w.list_rows(facts)),
        "<h2>Single draws</h2>",
        html_table(w.SINGLE_HEADS, w.single_rows(facts)),
        "<h2>Known samplers on the same tasks</h2>",
        f'<div class="left">{html_table(w.REFERENCE_HEADS, w.reference_rows(facts))}</div>',
        f"<h2>The run</h2>{_run(facts)}",
        f'<h2>How it is computed</h2><dl class="method">{definitions(w.METHOD)}</dl>',
        f"<footer>Drawn with seed {facts.run.get('seed', 0)}. P_token at every step stands in probe.json.</footer>",
    ]
    return _page(f"{title}: {headline}", body)


def _page(title: str, body: Sequence[str]) -> str:
    style = "".join(
        files(package).joinpath("page.css").read_text(encoding="utf-8")
        for package in ("synthgen.report", "synthgen.probe")
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{chr(10).join(part for part in body if part)}\n</main></body></html>\n"
    )


def _advice(facts: ProbeFacts) -> str:
    return "".join(
        f"<li><b>{escape(advice.topic)}</b><p>{escape(advice.text)}</p><span>{escape(advice.figure)}</span></li>"
        for advice in facts.advice
    )


def _legend() -> str:
    return (
        '<div class="legend"><span><i style="background:var(--after)"></i>P_token or draws, as named</span>'
        '<span><i class="t"></i>stated</span>'
        "<span>strips: a column per draw, a row per value; darker is likelier, outlined is what was drawn</span></div>"
    )


def _task(task: TaskFacts) -> str:
    charts = {
        "single: P_token": _chart(task.values, task.single_token, task.target),
        "lists: mean P_token": _chart(task.values, task.list_token, task.target),
        "lists: draws": _chart(task.values, task.list_result, task.target),
    }
    return (
        f'<article class="panel"><header><h3>{escape(task.name)}</h3></header>'
        f'<div class="pair many">{beside(_info(task.name, task.values), charts)}</div>{_strip(task)}'
        f'<dl class="figures">{definitions(w.task_figures(task))}</dl></article>'
    )


def _info(label: str, values: Sequence[str]) -> FieldInfo:
    """Whether values have an order of their own: numbers are drawn as columns, words as rows."""
    is_ordered = all(value.removeprefix("-").isdecimal() for value in values)
    return FieldInfo(label, label, "number" if is_ordered else "closed")


def _chart(values: Sequence[str], shares: Numbers, target: Numbers) -> Chart:
    bars = (
        Bar(value, None, share, wanted) for value, share, wanted in zip(values, shares, target, strict=True)
    )
    return Chart("values", tuple(bars))


def _strip(task: TaskFacts) -> str:
    return (
        '<figure class="strip"><figcaption><b>P_token along one list</b>'
        f"<span>wording: {escape(task.strip.wording)}</span></figcaption>{plane.strip(task.strip, task.values)}</figure>"
    )


def _recipe(facts: ProbeFacts) -> str:
    recipe = facts.recipe
    if recipe is None:
        return ""
    note = f'<p class="note">{escape(w.recipe_note(recipe))}</p>'
    panels = "".join(_field(field) for field in recipe.fields)
    table = html_table(w.FIELD_HEADS, w.field_rows(recipe)) if recipe.fields else ""
    return (
        f'<h2>The recipe {escape(recipe.name)}: its own fields</h2><p class="prompt">{escape(recipe.prompt)}</p>'
        f'<section class="panels" aria-label="Fields of the recipe">{panels}</section>{note}{table}'
    )


def _field(field: FieldFacts) -> str:
    chart = beside(
        _info(field.label, field.values), {"mean P_token": _chart(field.values, field.token, field.target)}
    )
    return (
        f'<article class="panel"><header><h3>{escape(field.label)}</h3></header>'
        f'<div class="pair">{chart}</div><dl class="figures">{definitions(w.field_figures(field))}</dl></article>'
    )


def _run(facts: ProbeFacts) -> str:
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in w.run_rows(facts)
    )
    return f'<div class="scroll"><table class="kv"><tbody>{rows}</tbody></table></div>'
