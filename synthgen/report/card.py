"""Facts → README.md of a dataset folder: a dataset card with Hugging Face front matter.

Only draws. The card says what the data is, how it was made, what was measured, and what it is not.
"""

from __future__ import annotations

import json
from pathlib import Path

from synthgen.report import remedies
from synthgen.report import wording as w
from synthgen.report.figures import Facts, FieldFacts, short

MARK = "<!-- written by synthgen; it is written anew with every report unless this line is removed -->"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_CITATION = """```bibtex
@inproceedings{zhang2024forcing,
  title     = {Forcing Diffuse Distributions out of Language Models},
  author    = {Zhang, Yiming and Schwarzschild, Avi and Carlini, Nicholas and Kolter, J. Zico and
               Ippolito, Daphne},
  booktitle = {Conference on Language Modeling (COLM)},
  year      = {2024},
  note      = {arXiv:2404.10859}
}
```"""


def may_replace(path: Path) -> bool:
    """Whether a card may be written here: no file yet, or one of ours."""
    return not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace")


def render(facts: Facts) -> str:
    """The card as Markdown."""
    title = facts.run.title or "Synthetic dataset"
    parts = [
        _front_matter(facts, title),
        MARK,
        f"# {_plain(title)}",
        f"{w.count(facts.n_records)} synthetic records. {_plain(w.sentence(facts))}",
        "## How it was made",
        _how(facts),
        "## Figures",
        _figures(facts),
        _most_frequent(facts),
        "\n".join(f"- {_plain(line)}" for line in w.findings(facts)),
        _texts(facts),
        _adapters(facts),
        "## Limits",
        _limits(facts),
        "## Method",
        _method(facts),
        _CITATION if facts.run.adapters else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: Facts, title: str) -> str:
    n = facts.n_records
    size = next((name for limit, name in _SIZES if n < limit), "n>1M")
    return "\n".join(
        [
            "---",
            f"pretty_name: {json.dumps(title, ensure_ascii=False)}",
            f"license: {json.dumps(facts.run.license or 'unknown')}",
            f"size_categories: [{size!r}]",
            "tags: [synthetic, synthgen]",
            "configs:",
            "  - config_name: default",
            "    data_files: part-*.parquet",
            "---",
        ]
    )


def _how(facts: Facts) -> str:
    run = facts.run
    rate = w.arrow(w.share(run.parse_rate_before), w.share(run.parse_rate))
    adapters = [f"{a.name} ({w.share(a.share)})" if a.share is not None else a.name for a in run.adapters]
    lines = [
        ("Recipe", run.recipe),
        ("Schema", run.schema),
        ("Model", run.model),
        ("Adapters", ", ".join(adapters) or None),
        ("Balance", remedies.balance(run)),
        ("Prompt", remedies.asked(run)),
        ("Sampling", str(run.details.get("sampling", ""))),
        ("Engine", run.engine),
        ("Seed", None if run.seed is None else str(run.seed)),
        ("Attempts", _attempts(facts)),
        ("Parse rate", None if run.parse_rate is None else rate),
        ("Speed", None if run.records_per_s is None else f"{run.records_per_s:,.0f} records per second"),
        ("Tokens", None if run.tokens is None else f"{w.count(run.tokens)} generated"),
        ("Other spelling", w.spelling(facts) and f"{w.spelling(facts)} accepted answers {w.SPELLING}"),
        ("Fingerprints", ", ".join(f"{name} {found}" for name, found in run.fingerprints.items()) or None),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items()) or None),
    ]  # fmt: skip
    known = [f"- {name}: {_plain(value)}" for name, value in lines if value]
    return "\n".join(known) or "Nothing is known of how these records were made; only the table was measured."


def _attempts(facts: Facts) -> str | None:
    run = facts.run
    if run.attempted is None:
        return None
    reasons = ", ".join(
        f"{r} {w.count(n)}" for r, n in sorted(run.rejects.items(), key=lambda p: (-p[1], p[0]))
    )
    return f"{w.count(run.attempted)}, of which rejected {w.count(run.rejected)}" + (
        f" ({reasons})" if reasons else ""
    )


def _figures(facts: Facts) -> str:
    before = f", untuned model → this dataset, {w.compared_at(facts)}" if w.compared_at(facts) else ""
    heads = ["field", "coverage", "entropy (nats)", "TV to target", "noise floor", "verdict"]
    rows = [
        [
            entry.info.label,
            w.coverage(entry),
            w.entropy(entry),
            w.tv(entry),
            w.floor(entry.target.tv) if entry.target else "",
            entry.verdict,
        ]
        for entry in facts.fields
    ]
    table = "\n".join(
        f"| {' | '.join(_cell(c) for c in row)} |" for row in [heads, ["---"] * len(heads), *rows]
    )
    return f"Coverage (distinct values) and plug-in entropy{before}; worst field first.\n\n{table}"


def _most_frequent(facts: Facts) -> str:
    rows = [["field", "most frequent values"], ["---", "---"]]
    rows += [[entry.info.label, _tops(entry)] for entry in facts.fields if entry.info.kind != "text"]
    return "\n".join(f"| {' | '.join(_cell(c) for c in row)} |" for row in rows)


def _texts(facts: Facts) -> str:
    lines = []
    for entry in facts.fields:
        new, old = entry.after.text, entry.before.text if entry.before else None
        if new is not None:
            figures = ", ".join(f"{name} {w.text_figure(old, new, name)}" for name in w.TEXT_FIGURES)
            lines.append(f"- {_plain(entry.info.label)}: {_plain(figures)}")
    return "\n".join(lines)


def _tops(entry: FieldFacts) -> str:
    return ", ".join(f"{short(t.value)} ({w.count(t.n)}, {w.share(t.share)})" for t in entry.after.top)


def _adapters(facts: Facts) -> str:
    lines = []
    for adapter in facts.run.adapters:
        old, new = adapter.before, adapter.after
        if new is None:
            continue
        figures = []
        for name, value, start in (
            ("exact KL", new.kl, old.kl if old else None),
            ("leak", new.leak, old.leak if old else None),
            ("shape", new.shape, old.shape if old else None),
        ):
            if value is not None:
                figures.append(
                    f"{name} {w.arrow('' if start is None else w.distance(start), w.distance(value))}"
                )
        n_prompts = adapter.details.get("prompts")
        mean = f", mean of {n_prompts} prompts" if n_prompts else ""
        lines.append(f"- adapter {_plain(adapter.name)}{mean}: {', '.join(figures)} nats")
    return "\n".join(lines)


def _method(facts: Facts) -> str:
    tuned = (
        "The model was tuned with LoRA to spread its answers over a declared target distribution, after "
        "Zhang et al. 2024 (arXiv 2404.10859), and sampled."
    )
    figures = "All figures, with their simulated floors, are in `report.json` and drawn in `report.html`."
    return f"{tuned if facts.run.adapters else 'The model was sampled.'} {figures}"


def _limits(facts: Facts) -> str:
    lines = [
        "- Synthetic: nobody and nothing described here exists; likeness to real people is chance.",
        *(f"- {_plain(line)}" for line in remedies.independence(facts.run)),
        "- Balanced is what was declared and measured above. Dependence between fields, and fields without a "
        "target, are the model's own.",
        "- Statements in free text are not facts.",
    ]
    if facts.run.model == "nano":
        lines.append(
            "- The model, nano, is a small stand-in made to show the method; it is no model of the world."
        )
    return "\n".join(lines)


def _plain(text: str) -> str:
    """One line, without what Markdown or HTML would act on."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*_[]":
        flat = flat.replace(mark, "\\" + mark)
    return flat


def _cell(text: str) -> str:
    return text if text == "---" else _plain(text).replace("|", "\\|")
