"""What the built-in model does untuned: format rates, and how collapsed its answers are.

    python bench/nano.py [--n 1000] [--engine auto] [--model nano] [--json bench/results/nano.json]

Every figure of the model card (synthgen/nano/weights/README.md) comes from this command.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field
from stamp import stamp

from synthgen import stats
from synthgen.engines import choose, open_engine
from synthgen.engines.protocol import Engine, Sampling
from synthgen.models import resolve_model
from synthgen.plan import BASE, Plan
from synthgen.prompt import build_prompt
from synthgen.runners.local import Work, attempts
from synthgen.schema import RecordSchema, load_model
from synthgen.tokenizers import load_tokenizer
from synthgen.validation import Record, Rejection

ROOT = Path(__file__).parent.parent
SHIPPED = ("biography:Biography", "product:Product", "ticket:Ticket", "patient:Patient", "job:Job", "die:Die")


class Mooring(BaseModel):
    """Labels and closed lists that occur nowhere in the model's corpus (corpus.RESERVED keeps them out)."""

    tier: Literal["bronze", "silver", "gold"] = Field(title="Tier")
    habitat: Literal["reef", "tundra", "meadow"] = Field(title="Habitat")
    plan: Literal["basic", "plus", "pro"] = Field(title="Plan")
    wing: Literal["upper", "lower", "harbour"] = Field(title="Wing")
    docking_bay: int = Field(title="Docking bay", ge=3, le=17)
    vintage: int = Field(title="Vintage", ge=1900, le=2030)
    route: Literal["express", "local", "scenic"] = Field(title="Route")


def outcomes(
    engine: Engine, schema: RecordSchema, ids: tuple[int, ...], n: int, seed: int
) -> list[Record | Rejection]:
    """`n` first attempts of the untuned model."""
    work = Work(Plan(n, seed, ((BASE, 1.0),), n), schema, ids, max_attempts=1)
    return [outcome for _, outcome in attempts(work, ((i, 0) for i in range(n)), engine)]


def entropy(values: Sequence[object]) -> float:
    """Plug-in entropy in nats."""
    return stats.entropy_plugin(np.array(list(Counter(values).values())))


def measure(model: str, engine_name: str, n: int, seed: int) -> dict[str, object]:
    """Format rate of every schema; coverage, entropy and top value of every field but the free text."""
    path = resolve_model(model)
    tokenizer = load_tokenizer(path)
    sampling = Sampling(max_tokens=160, stop_ids=tokenizer.stop_ids)
    engine = open_engine(choose(engine_name), path, {}, sampling, seed)
    found: dict[str, object] = {"model": model, "engine": engine.info.name, "n": n, "seed": seed}
    schemas = [
        RecordSchema.from_model(load_model(f"schemas/{ref.replace(':', '.py:')}", ROOT)) for ref in SHIPPED
    ]
    for schema in [*schemas, RecordSchema.from_model(Mooring)]:
        results = outcomes(engine, schema, build_prompt(schema, tokenizer).ids, n, seed)
        records = [r for r in results if isinstance(r, Record)]
        reasons = Counter(r.reason for r in results if isinstance(r, Rejection))
        fields = {}
        for spec in (*schema.fields, *schema.derived):
            values = [r.values[spec.name] for r in records]
            if values:
                top, count = Counter(values).most_common(1)[0]
                fields[spec.name] = {
                    "coverage": len(set(values)),
                    "entropy_nats": round(entropy(values), 3),
                    "top": str(top),
                    "top_share": round(count / len(values), 3),
                }
        found[schema.name] = {"format_rate": len(records) / n, "rejects": dict(reasons), "fields": fields}
    engine.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.model, options.engine, options.n, options.seed)
    for name, result in found.items():
        if not isinstance(result, dict):
            print(f"{name}: {result}")
            continue
        print(f"\n{name}: format rate {result['format_rate']:.3f}, rejects {result['rejects']}")
        for field, figures in result["fields"].items():
            print(
                f"  {field:16} coverage {figures['coverage']:5d}  entropy {figures['entropy_nats']:.2f}  "
                f"top {figures['top'][:40]!r} {figures['top_share']:.1%}"
            )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(stamp() | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
