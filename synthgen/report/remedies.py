"""How a card says what was done beside tuning (`generate.balance`, `generate.ask`), and whether rows are independent.

Only words, for what a run's details hold (see remedy.py).
"""

from __future__ import annotations

from synthgen.report.reliability import RunFacts

BALANCE = {
    "prefill": "drawn outside the model from the declared distribution, and forced as the opening of every answer",
    "in-prompt": "drawn outside the model from the declared distribution, and stated in every prompt",
    "exact": "drawn from the model's own probabilities, exactly, given that the values are declared ones; forced as the "
    "opening of every answer",
    "quota": "accepted only while their declared share is not filled",
}
ASK = {
    "varied": "the prompt asks for values chosen at random",
    "verbalised": "the prompt asks for several answers with their probabilities, of which one is drawn by these "
    "(verbalised sampling, arXiv 2510.01171)",
    "avoid": "every prompt lists values of earlier records, not to be used again",
    "seed-string": "the prompt asks for a random string first, from which the answer is derived (string seed of "
    "thought, arXiv 2510.21150)",
}


def balance(run: RunFacts) -> str | None:
    """What was balanced, and how; None if nothing was."""
    way = str(run.details.get("balance", ""))
    if way not in BALANCE:
        return None
    return f"{run.details.get('balanced') or 'declared fields'}: {BALANCE[way]}"


def asked(run: RunFacts) -> str | None:
    """How the prompt asked for variety; None if it did not."""
    return ASK.get(str(run.details.get("ask", "")))


def independence(run: RunFacts) -> list[str]:
    """Whether rows are independent draws, and of what."""
    details, found = run.details, []
    if details.get("balance") == "quota":
        found.append(
            "Records were drawn to fill quotas: rows are correlated, distances lie below the floor, and late rows hold "
            "what was still lacking, so shuffle before splitting by row order."
        )
    if details.get("ask") == "avoid":
        found.append(
            "Every prompt listed values of earlier records: rows depend on one another and on the order in which they "
            "were made."
        )
    if details.get("unique"):
        found.append(f"Rows that repeat an earlier one were drawn anew: none repeats {details['unique']}.")
    if found:
        return found
    if not details.get("independent_draws", True):
        return ["Records are no independent draws: rows are correlated."]
    if details.get("balance") in ("prefill", "in-prompt"):
        return [
            f"Records are independent draws: {details.get('balanced')} from the declared distribution, the rest from "
            "the model; none was chosen to fill a quota."
        ]
    return ["Records are independent draws from the model; none was chosen to fill a quota."]
