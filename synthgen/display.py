"""Draws what `check`, `preview` and `adapters` found on a rich console; computes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synthgen.progress import duration

if TYPE_CHECKING:
    from synthgen.adapters import AdapterManifest
    from synthgen.elicit.finding import Found
    from synthgen.speeds import Estimate
    from synthgen.summary import AdapterRow, PlanSummary, PromptRow
    from synthgen.validation import Record, Rejection


def print_plan(plan: PlanSummary, console: Console) -> None:
    """Fields, prompt, adapters with sample tuples, and what would be run."""
    table = _table("column", "in the prompt", "type", "values")
    for field in plan.fields:
        table.add_row(
            field.name, "(derived)" if field.derived else field.label, field.kind, Text(field.values)
        )
    console.print(Text(plan.schema, style="bold"))
    console.print(table)
    console.print(Text("\nprompt", style="bold"))
    console.print(Text(_indented(plan.prompt)))
    console.print(Text("\nadapters", style="bold"))
    for row in plan.adapters:
        console.print(Text(f"  {row.name}: {row.share:.0%} of records, {_made(row)}"))
        for prompt in row.prompts:
            _print_prompt(prompt, console)
    console.print(Text("\nrun", style="bold"))
    shards = "1 shard" if plan.n_shards == 1 else f"{plan.n_shards:,} shards"
    console.print(
        Text(
            f"  {plan.n:,} records in {shards} by {plan.engine} with {near(plan.model)}, to {near(plan.out)}"
        )
    )
    console.print(Text(f"  {time_line(plan.estimate)}"))
    if plan.remedies:
        console.print(Text(f"  {'; '.join(plan.remedies)}"))
    if plan.unique:
        console.print(Text(f"  unique: {'; '.join(plan.unique)}"))
    if plan.gates:
        console.print(Text(f"  gates: {'; '.join(plan.gates)}"))
    for note in plan.notes:
        console.print(Text(f"  note: {note}", style="yellow"))


def _made(row: AdapterRow) -> str:
    if row.source != "tuned":
        return f"{row.source} {near(row.place)}"
    n = len(row.prompts)
    own = "on this prompt" if all(prompt.message is None for prompt in row.prompts) else "on 1 prompt"
    serves = ", may serve any prompt" if row.scope == "any" else ""
    how = {"soft-prompt": "a soft prompt found", "hard-prompt": "a hard prompt found"}.get(
        row.method, "tuned"
    )
    return f"{how} {own if n == 1 else f'on {n} prompts together'}{serves}"


def _print_prompt(prompt: PromptRow, console: Console) -> None:
    """Its message where it is not the recipe's own, its targets, and some of them."""
    share = f"{prompt.share:.3g} of the loss, " if prompt.share < 1 else ""
    fields = f" for {', '.join(prompt.fields)}" if prompt.fields else ""
    console.print(Text(f"    {prompt.schema}: {share}targets {near(prompt.targets)}{fields}"))
    if prompt.message is not None:
        console.print(Text(_indented(_indented(_indented(prompt.message)))))
    for sample in prompt.samples:
        console.print(Text("      " + " ".join(f"{{{value}}}" for value in sample), style="dim"))


def time_line(estimate: Estimate | None) -> str:
    """`about 2 min 10 s: tuning 40 s, engine 13 s, records 1 min 14 s, report 3 s (measured here on 2026-11-21)`."""
    if estimate is None:
        return "time: not known; `synthgen preview` measures it, and so does every run"
    parts = {
        "tuning": estimate.tune_s,
        "engine": estimate.start_s,
        "records": estimate.generate_s,
        "report": estimate.report_s,
    }
    listed = [
        f"{name} {'not measured yet' if seconds is None else duration(seconds)}"
        for name, seconds in parts.items()
        if (name, seconds) != ("tuning", 0)  # the adapters are there
    ]
    return f"about {duration(estimate.total_s)}: {', '.join(listed)} (measured here on {estimate.measured})"


def print_preview(
    outcomes: Sequence[Record | Rejection], console: Console, run: tuple[int, Estimate] | None = None
) -> None:
    """Records field by field; rejected answers with the reason and the raw text; what a run would take."""
    from synthgen.validation import Record

    for outcome in outcomes:
        if isinstance(outcome, Record):
            table = Table.grid(padding=(0, 2))
            for name, value in outcome.values.items():
                table.add_row(Text(name, style="dim"), Text(_plain(value)))
            console.print(Text(f"{outcome.id} · {outcome.adapter}", style="bold"))
            console.print(table)
        else:
            console.print(
                Text(f"{outcome.id} · {outcome.adapter} · rejected: {outcome.reason}", style="bold red")
            )
            console.print(Text(f"{outcome.detail}\n{outcome.text}"))
        console.print()
    if run is not None:
        console.print(Text(f"{run[0]:,} records would take {time_line(run[1])}", style="dim"))


def print_adapters(found: Sequence[tuple[Path, AdapterManifest]], console: Console) -> None:
    """One line per adapter."""
    table = _table("folder", "adapter", "model", "kind", "prompts", "serves", "steps")
    for folder, manifest in found:
        serves = "any prompt" if manifest.scope == "any" else "its own prompts"
        steps = str(manifest.result.get("steps", "?"))
        n_prompts = str(len(manifest.prompts))
        size = f"rank {manifest.rank}"
        if manifest.prompting is not None:
            size = f"{manifest.prompting.n_tokens} tokens"
        table.add_row(
            str(folder), manifest.name, manifest.model, f"{manifest.kind}, {size}", n_prompts, serves, steps
        )
    console.print(table)


def print_elicited(found: Found, console: Console) -> None:
    """How near a prompt came, in nats, and what it is."""
    facts = found.to_json()
    table = Table.grid(padding=(0, 2))
    rows = (
        ("KL without it", "kl_before"),
        ("KL of its random start", "kl_start"),
        ("KL with it", "kl"),
        ("  of which leak", "leak"),
        ("  of which shape", "shape"),
        ("KL as served", "kl_served"),
    )
    for label, key in rows:
        if isinstance(value := facts.get(key), float):
            table.add_row(Text(label, style="dim"), Text(f"{value:.4f}", justify="right"))
    console.print(table)
    if words := facts.get("words"):
        console.print(Text("words", style="dim"), Text(repr(words)))
    console.print(Text(near(str(found.folder))))


def print_manifest(manifest: AdapterManifest, console: Console) -> None:
    """Every entry of an adapter's manifest; its prompts as a table, before → after in nats."""
    table = Table.grid(padding=(0, 2))
    for key, text in _entries(manifest.model_dump(mode="json", exclude={"prompts"})):
        table.add_row(Text(key, style="dim"), Text(text))
    console.print(table)
    prompts = _table("prompt", "share", "fields", "KL", "leak", "shape", "text")
    for prompt in manifest.prompts:
        pairs = ((prompt.before.get(key), prompt.after.get(key)) for key in ("kl", "leak", "shape"))
        figures = ("–" if new is None else f"{old:.4f} → {new:.4f}" for old, new in pairs)
        fields = ", ".join(prompt.fields)
        prompts.add_row(prompt.label, f"{prompt.share:.3g}", fields, *figures, Text(prompt.text))
    console.print()
    console.print(prompts)


def _entries(content: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            rows += _entries(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for i, item in enumerate(value):
                rows += _entries(item, f"{prefix}{key}[{i}].")
        else:
            rows.append((prefix + key, _plain(value)))
    return rows


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return "none" if value is None else str(getattr(value, "value", value))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def near(path: str) -> str:
    """A path as seen from the current folder, if it lies in there."""
    return path.removeprefix(f"{Path.cwd()}{os.sep}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
