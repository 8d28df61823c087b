"""Whether what is asked of a prompt can be: a recipe's adapter, or a model that is to be searched on. Light.

Part of the second pass over a recipe: faults become problems of the document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from synthgen.elicit.config import template_problem
from synthgen.errors import RecipeError
from synthgen.recipe_findings import is_endpoint, written

if TYPE_CHECKING:
    from synthgen.recipe import AdapterSpec, Method, Recipe
    from synthgen.yaml_lines import Document, KeyPath

_SOFT, _HARD = ("n_virtual", "position"), ("n_tokens", "template", "readable")
_LORA, _SFT = ("rank", "alpha", "after"), ("batch_size",)
_DESCENT = ("lr", "schedule", "warmup_steps", "anchor", "anchor_weight", "prompts_per_step", "fresh")
FOREIGN: dict[Method, tuple[str, ...]] = {  # keys that mean nothing to a method
    "lora": (*_SOFT, *_HARD, *_SFT, "restarts"),
    "sft": (*_SOFT, *_HARD, "restarts", "anchor", "anchor_weight"),
    "soft-prompt": (*_HARD, *_LORA, *_SFT),
    "hard-prompt": (*_SOFT, *_LORA, *_SFT, *_DESCENT),
}


def check_method(document: Document, at: KeyPath, spec: AdapterSpec, recipe: Recipe) -> bool:
    """Keys of other methods, a template without its place, words that would be asked otherwise."""
    if document.is_faulty((*at, "method")):
        return False
    before = len(document.problems)
    for key in written(document, *map(str, at)):
        if key in FOREIGN[spec.method]:
            document.problem((*at, key), f"means nothing to `method: {spec.method}`; leave it out")
    for key in ("gamma", "patience", "tolerance", "tokens", "seconds"):
        if spec.method == "hard-prompt" and getattr(spec.stop, key) is not None:
            document.problem((*at, "stop", key), "means nothing to a search for words; stop by kl or steps")
    if spec.template is not None and (problem := template_problem(spec.template)):
        document.problem((*at, "template"), problem)
    ask, balance = recipe.generate.ask, recipe.generate.balance
    if spec.method == "hard-prompt" and at[-1] in dict(recipe.mix):
        keys = [f"ask: {ask}"] if ask != "plain" else []
        keys += [f"balance: {balance}"] if balance in ("in-prompt", "exact") else []
        if keys:
            document.problem(
                (*at, "method"),
                f"a hard prompt is asked word for word, and `{keys[0]}` asks otherwise; leave one of them out",
            )
    return len(document.problems) == before


def refuse_endpoint(model: str, method: str) -> None:
    """An endpoint's weights are closed: nothing can be searched by their gradient.

    Raises:
        RecipeError: the model is an address.
    """
    if not is_endpoint(model):
        return
    what = "trained or served" if method == "soft-prompt" else "searched by its gradient"
    raise RecipeError(
        f"model {model!r} is an endpoint with closed weights, so a {method} cannot be {what}; search a hard prompt "
        "on an open model, and send its text there"
    )
