"""The study's page: the curve, the pairs, and a plain statement per finding. Only draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from synthgen.bench.draw import Dot, Series, curves, dots
from synthgen.elicit.study_findings import Estimate, Finding, Row, Verdict, estimate, verdict_of
from synthgen.elicit.study_targets import N_OUTLIERS, OUTLIER_MASS

if TYPE_CHECKING:
    from synthgen.elicit.study import Study

SOURCES = {
    "outliers": "outlier tokens",
    "own": "the model's own",
    "other": "another model's",
}

_WORDS: Mapping[Verdict, str] = {
    "holds": "holds",
    "holds in part": "holds in part",
    "does not hold": "does not hold",
    "open": "is not decided",
}
_PARTS: Mapping[Verdict, str] = {"holds": "above 0", "does not hold": "below 0", "open": "not told from 0"}


def figures(study: Study) -> dict[str, str]:
    """SVG by the end of its file's name: KL against entropy, and the pairs."""
    levels = _levels(study.rows)
    series = []
    for name, kls in (("soft prompt", "soft"), ("hard prompt", "hard")):
        estimates = [(h, estimate([getattr(row, kls) for row in rows])) for h, rows in levels]
        series.append(Series(name, tuple((h, e.mean, max(0.0, e.low), e.high) for h, e in estimates)))
    title = f"KL(target ‖ model) of random targets, {study.model}"
    rows = []
    for source, label in SOURCES.items():
        for kind in ("soft", "hard"):
            own, random = _pair_means(study.rows, source, kind)
            found = [_dot("target", own), _dot("random, equal entropy", random)]
            rows.append((f"{label}, {kind}", found))
    return {
        "curve": curves(title, "entropy of the target, nats", "KL, nats", series),
        "pairs": dots("KL beside random targets of equal entropy", "KL, nats", rows),
    }


def page(study: Study, name: str, stamp: Mapping[str, object]) -> str:
    """The page as Markdown."""
    plan, largest = study.plan, math.log(study.vocabulary)
    lines = [
        f"# Distribution prompting on {study.model}",
        "",
        "How near a prompt alone brings the next-token distribution to a target, without changing a weight: soft "
        f"prompts ({plan.n_tokens} trained vectors) and hard ones ({plan.n_tokens} searched tokens, read back as "
        "they are), in the model's chat template. Targets are distributions over the whole vocabulary of "
        f"{study.vocabulary:,} tokens (ln = {largest:.2f} nats). KL(target ‖ model) in nats, exact; intervals are "
        "95 % bootstrap intervals over targets. After [arXiv 2505.12244](https://arxiv.org/abs/2505.12244).",
        "",
        f"`synthgen bench elicit --model {study.model}`: {study.elapsed_s / 60:.0f} minutes "
        f"({study.soft_s / 60:.0f} of them for all soft prompts, {study.hard_s / 60:.0f} for the hard ones). "
        f"Weights {study.fingerprint}. {stamp.get('date', '')}; {stamp.get('machine', '')}.",
        "",
        "## The three published findings",
        "",
        "| finding | soft prompts | hard prompts |",
        "|---|---|---|",
    ]
    for soft, hard in zip(study.soft, study.hard, strict=True):
        lines.append(f"| {soft.number}. {soft.text} | **{soft.verdict}** | **{hard.verdict}** |")
    lines += ["", "From these differences, each above 0 where the finding holds:", ""]
    lines += ["| difference of mean KL | soft | hard |", "|---|---|---|"]
    for soft, hard in zip(study.soft, study.hard, strict=True):
        for label, found in soft.differences.items():
            lines.append(f"| {soft.number}: {label} | {_shown(found)} | {_shown(hard.differences[label])} |")
    lines += [
        "",
        *(statement("soft", finding) for finding in study.soft),
        *(statement("hard", finding) for finding in study.hard),
        "",
        "## KL against entropy",
        "",
        f"![KL against entropy]({name}-curve.svg)",
        "",
        "Random targets: normal logits moved by gradient descent until the entropy is as asked. *Nothing searched* is "
        "the same model after an empty message.",
        "",
        "| entropy, nats | targets | soft prompt | hard prompt | nothing searched |",
        "|---|---|---|---|---|",
    ]
    for h, rows in _levels(study.rows):
        cells = [_shown(estimate([getattr(r, key) for r in rows])) for key in ("soft", "hard", "plain")]
        lines.append(f"| {h:.2f} | {len(rows)} | {' | '.join(cells)} |")
    lines += [
        "",
        "## At equal entropy",
        "",
        f"![pairs]({name}-pairs.svg)",
        "",
        f"Outlier tokens: {N_OUTLIERS} random tokens hold {OUTLIER_MASS:.0%} of the mass in equal parts (how the paper "
        "made its own could not be verified). The model's own: its next-token distributions within its answers to "
        "other messages. Another model's: a small model with a tokenizer of its own, trained for this on the "
        "docstrings of Python's standard library; a token's mass goes to this model's first token of the same text.",
        "",
        "| targets | pairs | soft: theirs | soft: random | hard: theirs | hard: random |",
        "|---|---|---|---|---|---|",
    ]
    for source, label in SOURCES.items():
        means = [m for kind in ("soft", "hard") for m in _pair_means(study.rows, source, kind)]
        lines.append(f"| {label} | {means[0].n} | {' | '.join(_shown(m) for m in means)} |")
    return "\n".join([*lines, ""])


def statement(kind: str, finding: Finding) -> str:
    """One plain sentence on a finding for one kind of prompt; where it has parts that differ, on each."""
    said = f"- Finding {finding.number} {_WORDS[finding.verdict]} for {kind} prompts on this model"
    parts = {name: verdict_of([found]) for name, found in finding.differences.items()}
    if len(set(parts.values())) == 1:
        return f"{said}."
    return f"{said}: {'; '.join(f'{name}: {_PARTS[verdict]}' for name, verdict in parts.items())}."


def _levels(rows: Sequence[Row]) -> list[tuple[float, list[Row]]]:
    on_grid = sorted((row for row in rows if row.level is not None), key=lambda row: row.level or 0.0)
    return [(level or 0.0, list(found)) for level, found in groupby(on_grid, key=lambda row: row.level)]


def _pair_means(rows: Sequence[Row], source: str, kind: str) -> tuple[Estimate, Estimate]:
    pairs = [(row, rows[row.pair]) for row in rows if row.source == source and row.pair is not None]
    return (
        estimate([getattr(row, kind) for row, _ in pairs]),
        estimate([getattr(random, kind) for _, random in pairs]),
    )


def _dot(name: str, found: Estimate) -> Dot:
    return Dot(name, found.mean, max(0.0, found.low), found.high)


def _shown(found: Estimate) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"
