"""What a recipe declares for its own record, and what it does so that records follow it, beside tuning.

Part of the second pass over a recipe (recipe_checks.py): faults become problems of the document.
"""

from __future__ import annotations

from pathlib import Path

from synthgen.adapter_checks import check_closed, check_fields, check_marginals
from synthgen.recipe import BASE, TABLE_SUFFIXES, Recipe, TaskSpec
from synthgen.recipe_findings import EXPECTED, attempt, unknown_field
from synthgen.recipe_tasks import declared_spec, fields_first
from synthgen.remedy import Remedy, read_remedy, refused_together
from synthgen.schema import RecordSchema
from synthgen.yaml_lines import Document, KeyPath


def check_target(document: Document, recipe: Recipe, schema: RecordSchema | None) -> None:
    """`target`: known fields of the record, in any order, and a distribution of theirs."""
    spec, at = recipe.target, ("target",)
    if spec is None:
        return
    if spec.targets is None:
        if not document.is_faulty(at):
            document.problem(at, f"no `targets`; expected {EXPECTED['targets']}")
        return
    if schema is None:
        return
    task = TaskSpec(targets=spec.targets, fields=spec.fields, closed=spec.closed)
    ordered = fields_first(schema, spec)
    is_sound = check_fields(document, (*at, "fields"), task, ordered)
    is_sound &= check_closed(document, at, task, ordered)
    is_sound &= check_marginals(document, (*at, "targets"), task, ordered)
    if not is_sound or document.is_faulty(at):
        return
    if isinstance(spec.targets, str) and spec.targets.endswith(TABLE_SUFFIXES):
        if not Path(spec.targets).is_file():
            document.problem(
                (*at, "targets"), f"{spec.targets}: no such file; expected {EXPECTED['targets']}"
            )
        return
    attempt(document, (*at, "targets"), recipe.declared)


def check_remedy(document: Document, recipe: Recipe, schema: RecordSchema | None) -> None:
    """`balance`, `balance_fields`, `ask`, and the engine that `typical_p` needs."""
    spec, at = recipe.generate, ("generate",)
    if spec.typical_p < 1 and spec.engine == "vllm":
        from synthgen.engines import NO_TYPICAL

        document.problem((*at, "typical_p"), f"engine vllm {NO_TYPICAL}")
    if spec.balance_fields is not None and spec.balance == "none":
        document.problem(
            (*at, "balance_fields"),
            "stands without `balance`; write how they are balanced, such as `balance: prefill`, or leave it out",
        )
    if finding := refused_together(spec):
        document.problem((*at, "ask"), finding)
    if schema is None or document.is_faulty(("adapters",)) or document.is_faulty(("target",)):
        return
    is_quota = spec.balance == "quota"  # which looks at finished records, so at derived fields too
    known = (*schema.names, *(field.name for field in schema.derived if is_quota))
    for i, name in enumerate(spec.balance_fields or ()):
        if name not in known:
            unknown_field(document, (*at, "balance_fields", i), name, schema, derived=is_quota)
    if spec.balance != "none" and not document.is_faulty(at):
        _check_declared(document, recipe)
    if Remedy(balance=spec.balance, ask=spec.ask).changes_prompt:
        _check_scopes(document, recipe)


def _check_declared(document: Document, recipe: Recipe) -> None:
    """Hold `balance` against what is declared; a table's rows are read by the run."""
    found = attempt(document, ("generate", "balance"), lambda: (declared_spec(recipe),))
    if found is None:
        return
    targets = None if found[0] is None else found[0].targets
    if isinstance(targets, str) and targets.endswith(TABLE_SUFFIXES):
        return
    before = len(document.problems)
    attempt(document, ("generate", "balance"), lambda: read_remedy(recipe))
    for i, problem in enumerate(document.problems[before:], before):
        if problem.text.startswith("balance_fields: "):  # said of another key
            document.problems.pop(i)
            document.problem(("generate", "balance_fields"), problem.text.removeprefix("balance_fields: "))


def _check_scopes(document: Document, recipe: Recipe) -> None:
    """An adapter that is asked in other words than it was tuned on must be allowed to be."""
    spec = recipe.generate
    wording = Remedy(balance=spec.balance, ask=spec.ask).wording
    for name, _ in recipe.mix:
        adapter = recipe.adapters.get(name)
        if name == BASE or adapter is None or adapter.use is not None or adapter.scope == "any":
            continue
        path: KeyPath = ("adapters", name, "scope")
        document.problem(
            path, f"not `any`, but `{wording}` asks it in other words than it is tuned on; write `scope: any`"
        )
