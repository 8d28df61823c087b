"""Every way to make a recipe's records, each as an ordinary recipe that can be run alone.

Read by `compare`, which runs them. A rival changes how records are asked for, sampled, or tuned; the record,
the model, the declared distribution and n stay. Light: stdlib and the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from synthgen.errors import RecipeError
from synthgen.recipe import BASE, AdapterSpec, Method, Recipe, StopSpec, TargetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OTHER, SFT_TOKENS, SFT_TIME = "other-tasks", "sft-equal-tokens", "sft-equal-time"  # the rivals' adapters
TUNED = "tuned"  # the recipe's own adapter
PROMPTS: tuple[Method, ...] = ("soft-prompt", "hard-prompt")  # methods that change no weight of the model
_WITHOUT_ANCHOR: dict[str, object] = {"anchor": None, "anchor_weight": None, "fresh": None}
_OWN_RATES: dict[str, object] = {"lr": None, "schedule": None, "rank": 4, "alpha": None}
TEMPERATURES = (1.25, 1.5, 2.0)

Family = Literal["sampling", "asking", "drawn outside", "tuned"]


@dataclass(frozen=True)
class Rival:
    """One way to make the records, as a recipe."""

    name: str  # a folder's name
    label: str  # what the table says
    family: Family
    recipe: Recipe
    independent: bool = True  # whether a row says nothing about the other rows

    @property
    def sampling(self) -> tuple[float, ...]:
        """What decides whether two rivals can share an engine."""
        spec = self.recipe.generate
        return (
            spec.temperature,
            spec.top_p,
            float(spec.top_k),
            spec.min_p,
            spec.typical_p,
            float(spec.max_tokens),
        )


def rivals(recipe: Recipe, other: AdapterSpec | None = None) -> tuple[Rival, ...]:
    """All ways that fit the recipe, the untuned model first.

    Args:
        recipe: with one adapter that is tuned on the record's own tuples, or a `target`.
        other: an adapter tuned on other tasks.

    Raises:
        RecipeError: nothing is declared, so that there is nothing to compare with.
    """
    own = own_adapter(recipe)
    target = recipe.target
    if target is None and own is not None:
        spec = recipe.adapters[own]
        assert spec.targets is not None
        target = TargetSpec(targets=spec.targets, fields=spec.fields, closed=spec.closed)
    if target is None:
        raise RecipeError(
            f"{recipe.path or 'recipe'}: declares no distribution, so there is nothing to compare with; "
            "write `target`, or an adapter with `targets`"
        )
    recipe = with_adapters(recipe.model_copy(update={"target": target}), _rival_adapters(recipe, own, other))

    def rival(
        name: str,
        label: str,
        family: Family,
        adapter: str = BASE,
        independent: bool = True,
        **generate: object,
    ) -> Rival:
        spec = recipe.generate.model_copy(update={"mix": {adapter: 1.0}, **generate})
        served = {name: recipe.adapters[name] for name in (adapter,) if name != BASE}
        changed = {"generate": spec, "adapters": served, "gates": {}}
        return Rival(name, label, family, recipe.model_copy(update=changed), independent)

    found = [
        rival("base", "untuned, temperature 1", "sampling", temperature=1.0),
        *(rival(f"temperature-{t:g}", f"temperature {t:g}", "sampling", temperature=t) for t in TEMPERATURES),
        rival("min-p", "temperature 1.5, min-p 0.1", "sampling", temperature=1.5, min_p=0.1),
        rival("typical", "locally typical, 0.95", "sampling", temperature=1.0, typical_p=0.95),
        rival("varied", "prompt asks for variety", "asking", ask="varied"),
        rival("verbalised", "verbalised sampling", "asking", ask="verbalised"),
        rival("seed-string", "string seed of thought", "asking", ask="seed-string"),
        rival("avoid", "earlier values to avoid", "asking", independent=False, ask="avoid"),
        rival("prefill", "prefill: drawn outside, forced as opening", "drawn outside", balance="prefill"),
        rival("in-prompt", "in-prompt: drawn outside, stated", "drawn outside", balance="in-prompt"),
    ]
    if SFT_TOKENS in recipe.adapters:
        label = "hard-target fine-tuning, equal"
        found += [
            rival(SFT_TOKENS, f"{label} tokens", "tuned", SFT_TOKENS),
            rival(SFT_TIME, f"{label} time", "tuned", SFT_TIME),
        ]
    if own is not None:
        found += [
            rival(method, f"{method.replace('-', ' ')}, searched", "tuned", method) for method in PROMPTS
        ]
    if OTHER in recipe.adapters:
        found.append(rival("other-tasks", "tuned on other tasks", "tuned", OTHER))
    if own is not None:
        found += [
            rival(TUNED, "tuned on own tuples", "tuned", own),
            rival("tuned-quota", "tuned, quota", "tuned", own, independent=False, **_quota(recipe, target)),
            rival("tuned-exact", "tuned, exact on closed fields", "tuned", own, balance="exact"),
        ]
    return tuple(found)


def _quota(recipe: Recipe, target: TargetSpec) -> dict[str, object]:
    """Quotas of the closed fields, unless the recipe names others: quotas of many open values block each other."""
    closed = [field.name for field in recipe.record_schema().fields if field.is_closed]
    fields = [name for name in closed if target.fields is None or name in target.fields]
    return {"balance": "quota", "balance_fields": recipe.generate.balance_fields or fields or None}


def own_adapter(recipe: Recipe) -> str | None:
    """The first adapter that is tuned on tuples of the recipe's own record."""
    return next((name for name, spec in recipe.adapters.items() if spec.targets is not None), None)


def other_adapter(recipe: Recipe) -> AdapterSpec:
    """The adapter of a recipe whose prompts are other tasks.

    Raises:
        RecipeError: it has none that may serve any prompt.
    """
    for spec in recipe.adapters.values():
        if spec.scope == "any" or spec.use is not None:
            return spec
    raise RecipeError(
        f"{recipe.path or 'recipe'}: adapters: none may serve other prompts; expected one with `scope: any`"
    )


def with_adapters(recipe: Recipe, more: Mapping[str, AdapterSpec]) -> Recipe:
    """The recipe with more adapters; its own are kept."""
    return recipe.model_copy(update={"adapters": {**recipe.adapters, **more}})


def at_equal_cost(rival: Rival, tokens: int, seconds: float) -> Rival:
    """The same rival, if it is fine-tuned, with the tokens or the seconds that another tuning took."""
    stops = {SFT_TOKENS: StopSpec(tokens=tokens), SFT_TIME: StopSpec(seconds=seconds)}
    if rival.name not in stops:
        return rival
    spec = rival.recipe.adapters[rival.name].model_copy(update={"stop": stops[rival.name]})
    return replace(rival, recipe=rival.recipe.model_copy(update={"adapters": {rival.name: spec}}))


def chosen(found: Sequence[Rival], only: Sequence[str]) -> tuple[Rival, ...]:
    """Those named in `only`, in the table's order; all if it is empty.

    Raises:
        RecipeError: no such rival.
    """
    names = [rival.name for rival in found]
    for name in only:
        if name not in names:
            raise RecipeError(f"--only {name}: no such rival here; expected some of {', '.join(names)}")
    return tuple(rival for rival in found if not only or rival.name in only)


def _rival_adapters(recipe: Recipe, own: str | None, other: AdapterSpec | None) -> dict[str, AdapterSpec]:
    """Adapters that the tuned one is compared with."""
    rivals: dict[str, AdapterSpec] = {}
    if own is not None:
        spec = recipe.adapters[own]
        fine_tuned = spec.model_copy(update={"method": "sft", "steps": None, **_WITHOUT_ANCHOR})
        rivals |= dict.fromkeys((SFT_TOKENS, SFT_TIME), fine_tuned)
        for method in PROMPTS:  # LoRA's rank and rates mean nothing to a prompt
            changed = {"method": method, "steps": None, **_WITHOUT_ANCHOR, **_OWN_RATES}
            rivals[method] = spec.model_copy(update=changed)
    if other is not None and OTHER not in recipe.adapters:
        rivals[OTHER] = other
    return rivals
