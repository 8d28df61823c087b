"""Draws what `check`, `preview` and `adapters` found on a rich console; computes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from synthgen.adapters import AdapterManifest
    from synthgen.summary import PlanSummary
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
        fields = f" for {', '.join(row.fields)}" if row.fields else ""
        console.print(
            Text(f"  {row.name}: {row.share:.0%} of records, {row.source} {near(row.targets)}{fields}")
        )
        for sample in row.samples:
            console.print(Text("    " + " ".join(f"{{{value}}}" for value in sample), style="dim"))
    console.print(Text("\nrun", style="bold"))
    shards = "1 shard" if plan.n_shards == 1 else f"{plan.n_shards:,} shards"
    console.print(
        Text(
            f"  {plan.n:,} records in {shards} by {plan.engine} with {near(plan.model)}, to {near(plan.out)}"
        )
    )
    if plan.gates:
        console.print(Text(f"  gates: {'; '.join(plan.gates)}"))
    for note in plan.notes:
        console.print(Text(f"  note: {note}", style="yellow"))


def print_preview(outcomes: Sequence[Record | Rejection], console: Console) -> None:
    """Records field by field; rejected answers with the reason and the raw text."""
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


def print_adapters(found: Sequence[tuple[Path, AdapterManifest]], console: Console) -> None:
    """One line per adapter."""
    table = _table("folder", "adapter", "model", "rank", "serves", "steps")
    for folder, manifest in found:
        serves = "any prompt" if manifest.scope == "any" else "its own prompts"
        steps = str(manifest.result.get("steps", "?"))
        table.add_row(str(folder), manifest.name, manifest.model, str(manifest.rank), serves, steps)
    console.print(table)


def print_manifest(manifest: AdapterManifest, console: Console) -> None:
    """Every entry of an adapter's manifest, nested ones indented."""
    table = Table.grid(padding=(0, 2))
    for key, text in _entries(manifest.model_dump(mode="json")):
        table.add_row(Text(key, style="dim"), Text(text))
    console.print(table)


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
