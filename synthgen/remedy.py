"""What a recipe does beside tuning so that its records vary: `generate.balance` and `generate.ask`, as plain data.

Stands between `recipe` and `asking`; what cannot be, is refused here, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthgen.balance import support_of
from synthgen.errors import RecipeError

if TYPE_CHECKING:
    from synthgen.recipe import Asking, Balance, GenerateSpec, Recipe
    from synthgen.schema import RecordSchema

FORCED: tuple[Balance, ...] = ("prefill", "exact")  # values that open the answer
OTHER_FORM: tuple[Asking, ...] = ("verbalised", "seed-string")  # the answer does not open with the record


@dataclass(frozen=True)
class Remedy:
    """How a run draws values and words its prompt; can be pickled. The default is plain sampling."""

    seed: int = 0  # the recipe's, which decides every draw together with the record's id
    balance: Balance = "none"
    fields: tuple[
        str, ...
    ] = ()  # balanced ones, in the schema's order; of quota, those that the recipe names
    ask: Asking = "plain"

    @property
    def is_plain(self) -> bool:
        """Whether every attempt is asked by the recipe's own prompt alone."""
        return self.balance in ("none", "quota") and self.ask == "plain"

    @property
    def changes_prompt(self) -> bool:
        """Whether an adapter is asked in other words than it was tuned on."""
        return self.balance == "in-prompt" or self.ask != "plain"

    @property
    def wording(self) -> str:
        """The keys that change the prompt, as a recipe has them."""
        keys = {
            "balance": self.balance if self.balance == "in-prompt" else "",
            "ask": self.ask.replace("plain", ""),
        }
        return ", ".join(f"{key}: {value}" for key, value in keys.items() if value)

    @property
    def is_independent(self) -> bool:
        """Whether no record depends on another."""
        return self.balance != "quota" and self.ask != "avoid"

    @property
    def details(self) -> dict[str, object]:
        """What the report says of it; nothing of plain sampling."""
        found: dict[str, object] = {}
        if self.balance != "none":
            found["balance"] = self.balance
        if self.fields:
            found["balanced"] = ", ".join(self.fields)
        if self.ask != "plain":
            found["ask"] = self.ask
        return found | {"independent_draws": self.is_independent} if found else {}


def remedy_of(recipe: Recipe) -> Remedy:
    """A recipe's remedy; reads the declared distribution if values are to be drawn from it.

    Raises:
        RecipeError: it cannot be, in one line.
    """
    try:
        return read_remedy(recipe)
    except RecipeError as error:
        place = f"{recipe.path or 'recipe'}: generate"
        raise RecipeError([f"{place}.{problem}" for problem in error.problems]) from None


def read_remedy(recipe: Recipe) -> Remedy:
    """The same, without the place in its errors."""
    spec = recipe.generate
    if finding := refused_together(spec):
        raise RecipeError(f"ask: {finding}")
    fields: tuple[str, ...] = ()
    if spec.balance != "none":
        fields = _balanced_fields(recipe)
    return Remedy(recipe.seed, spec.balance, fields, spec.ask)


def refused_together(spec: GenerateSpec) -> str | None:
    """Why `balance` and `ask` exclude each other; None if they do not."""
    if spec.balance in FORCED and spec.ask in OTHER_FORM:
        return (
            f"{spec.ask} has an answer that does not open with the record, whose first values "
            f"`balance: {spec.balance}` forces; leave one of them out, or write `balance: in-prompt`"
        )
    if spec.balance == "exact" and spec.ask == "avoid":
        return (
            "avoid gives every record a prompt of its own, and `balance: exact` scores the values once, for one "
            "prompt; leave one of them out"
        )
    return None


def other_sampling(spec: GenerateSpec) -> dict[str, float]:
    """The settings by which sampling departs from the model's own probabilities."""
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "typical_p": 1.0}
    return {key: found for key, value in plain.items() if (found := getattr(spec, key)) != value}


def _balanced_fields(recipe: Recipe) -> tuple[str, ...]:
    schema, balance = recipe.record_schema(), recipe.generate.balance
    source = recipe.declared()
    if source is None:
        raise RecipeError(
            f"balance: {balance} needs a declared distribution of {schema.name}, and there is none; write "
            "`target`, or give an adapter targets of the recipe's own prompt"
        )
    wanted = recipe.generate.balance_fields
    known = (*source.fields, *(field.name for field in schema.derived if balance == "quota"))
    for name in wanted or ():
        if name not in known:
            raise RecipeError(
                f"balance_fields: {name!r} is not among the declared fields [{', '.join(known)}]; "
                "declare it, or leave it out"
            )
    if balance == "quota":
        return tuple(wanted or ())
    names = [name for name in schema.names if name in (wanted or source.fields)]
    if balance in FORCED:
        _refuse_gap(schema, names, balance)
    if balance == "exact":
        support_of(source, names)
        for key in other_sampling(recipe.generate):
            raise RecipeError(
                f"balance: exact draws from the model's own probabilities, from which {key} departs; leave {key} out"
            )
    return tuple(names)


def _refuse_gap(schema: RecordSchema, names: Sequence[str], balance: Balance) -> None:
    """The forced fields open the answer, so none may be left out before the last of them."""
    leading = schema.names[: len(names)]
    if tuple(names) == leading:
        return
    missing = next(name for name in leading if name not in names)
    behind = next(name for name in names if schema.names.index(name) > schema.names.index(missing))
    reorder = (
        f"reorder {schema.name}, or write `balance: in-prompt`"
        if balance == "prefill"
        else f"or reorder {schema.name}"
    )
    raise RecipeError(
        f"balance: {balance} forces the opening of the answer, and {behind!r} stands behind {missing!r}, which is "
        f"not balanced; balance {missing!r} too, leave {behind!r} out, {reorder}"
    )
