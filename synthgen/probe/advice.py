"""Facts → advice in plain words, each piece tied to the figure that says so."""

from __future__ import annotations

from collections.abc import Iterator

from synthgen.probe import thresholds as limit
from synthgen.probe.facts import Advice, FieldFacts, ListFigures, RecipeFacts, SingleFigures
from synthgen.probe.figures import Estimate, Result, Temperature
from synthgen.probe.verdict import Pattern, Verdict

PROTOCOL, TEMPERATURE, MEANS, FORM, ORDER, WORDS = (
    "list or single draws", "temperature", "tune or prefill", "form", "order of a list", "wording",
)  # fmt: skip

BESIDES: dict[Pattern, str] = {  # what a pattern adds to the advice on its own
    "samples": "",
    "nearly samples": "",
    "balances": "What looks right in its lists is right as a whole only: take lists whole, and no value of one as independent.",
    "jitters": "Only averages over many answers can be right; a single answer's chances are not what was stated.",
    "jumps": "Neither a single answer nor an average over many follows what was stated.",
    "sticks": "Its lists come in stretches: a value that was said makes itself likelier.",
    "drifts": "Its lists change along the way: never take their beginnings alone.",
    "collapsed": "Asked again and again, it comes back to the same few values.",
    "own distribution": "It has a distribution of its own, and keeps to it steadily: tuning has one thing to move.",
}


def advise(
    verdict: Verdict, lists: ListFigures, singles: SingleFigures, recipe: RecipeFacts | None
) -> tuple[Advice, ...]:
    """What the verdict means in practice: of the stated tasks first, then of the recipe's own fields."""
    found = [_means(verdict, lists, singles), _protocol(lists, singles), _temperature(singles)]
    found += _order(lists)
    found += _form(lists, singles)
    found += _wording(singles)
    if recipe is not None:
        found += _recipe(recipe)
    return tuple(found)


def _means(verdict: Verdict, lists: ListFigures, singles: SingleFigures) -> Advice:
    figure = (
        f"A of single draws {shown(singles.alignment)}; of lists A {shown(lists.alignment)}, "
        f"V {shown(lists.variability)}"
    )
    if singles.alignment.value <= limit.ALIGNED:
        text = (
            "Stating a distribution in the prompt works for single draws. Tune or prefill only where the data must come "
            "closer than that."
        )
    else:
        text = (
            "Do not count on stated probabilities. Where the values can be listed, draw them outside the model and force "
            "them (generate.balance: prefill): exact, and no training. Tune where values cannot be listed, live inside "
            "text, or must agree with what stands around them."
        )
    return Advice(MEANS, f"{text} {BESIDES[verdict.pattern]}".strip(), figure)


def _protocol(lists: ListFigures, singles: SingleFigures) -> Advice:
    one, many, result = singles.alignment.value, lists.alignment.value, lists.result
    figure = f"single draws A {one:.2f}; lists A {many:.2f}, TV of a list's result {beside(result)}"
    is_right = result.state != "off"
    if one <= limit.ALIGNED and is_right:
        text = "Either protocol serves. Single draws are independent of each other, so prefer them."
    elif one <= limit.ALIGNED:
        text = "Ask for one draw per answer: lists come out wrong, single draws do not."
    elif is_right:
        text = (
            "Long lists come out right where single draws do not: if stated probabilities must do, ask for many values in one "
            "answer. synthgen asks for one record per answer, so for a recipe this speaks for prefilling from such a list."
        )
    else:
        text = (
            "Neither protocol gives the stated distribution; a longer list or single draws will not mend it."
        )
    return Advice(PROTOCOL, text, figure)


def _temperature(singles: SingleFigures) -> Advice:
    found, before = singles.temperature, singles.alignment.value
    figure = f"single draws: best temperature {found.value:.2f}, A {before:.3f} → {found.alignment:.3f}"
    if not _is_worth(before, found):
        return Advice(TEMPERATURE, "Leave it at 1: no other temperature brings P_token much closer.", figure)
    way = "higher: P_token is too sharp" if found.value > 1 else "lower: P_token is too flat"
    rest = "" if found.alignment <= limit.ALIGNED else " It helps, and is not enough by itself."
    return Advice(TEMPERATURE, f"Set it {way}.{rest}", figure)


def _order(lists: ListFigures) -> Iterator[Advice]:
    runs, repeats = lists.runs, lists.autocorrelation
    if runs is None or runs.p_value >= limit.DEPENDENT:
        return
    how = "more" if runs.z > 0 else "less"
    text = (
        f"Draws of one list depend on each other: they change {how} often between the two halves of the values than chance "
        "would have it. Do not treat the values of one list as independent rows."
    )
    figure = f"runs test z {runs.z:+.1f} (p {p_value(runs.p_value)})"
    figure += f", autocorrelation {repeats.value:+.2f}" if repeats else ""
    yield Advice(ORDER, text, figure)


def _form(lists: ListFigures, singles: SingleFigures) -> Iterator[Advice]:
    if max(lists.outside.value, singles.outside.value) > limit.OUTSIDE:
        yield Advice(
            FORM,
            "Much of the model's mass is on none of the stated values. Prefill the value, or tune; asking again until a value "
            "fits costs about as many answers more.",
            f"mass outside: single draws {percent(singles.outside.value)}, lists {percent(lists.outside.value)}; "
            f"{percent(singles.answered_share)} of its single answers were a stated value",
        )
    elif lists.own_share < 1 - limit.OUTSIDE:
        ended = ", ".join(f"{how} {n}" for how, n in lists.endings.items() if how != "complete")
        yield Advice(
            FORM,
            "Its own lists break off early. Ask for shorter lists, or for single draws.",
            f"it wrote {percent(lists.own_share)} of the draws in the form asked for ({ended})",
        )


def _wording(singles: SingleFigures) -> Iterator[Advice]:
    if singles.spread > limit.STABLE:
        yield Advice(
            WORDS,
            "The wording decides much: fix one, and probe it again before trusting a figure from another.",
            f"mean TV between a wording's P_token and that of all {singles.spread:.2f}",
        )


def _recipe(recipe: RecipeFacts) -> Iterator[Advice]:
    for field in recipe.fields:
        yield Advice(f"field {field.label}", _field(field), f"TV of its mean P_token {shown(field.distance)}")


def _field(field: FieldFacts) -> str:
    if field.distance.value <= limit.FIELD_OFF:
        return "Already follows its target: nothing to do."
    if field.outside.value > 0.5:
        text = "Most of its mass is on undeclared values; prefill it, or tune it on the declared ones."
    elif field.dependence > limit.STABLE:
        text = (
            f"Off, and it follows the fields before it (P_token moves by TV {field.dependence:.2f} with them): prefilling it "
            "alone would cut that tie, so tune it, or prefill it together with them."
        )
    else:
        text = "Off, and hardly tied to the fields before it: prefill it (exact and free), or tune it."
    if _is_worth(field.alignment.value, field.temperature):
        text += (
            f" Temperature {field.temperature.value:.2f} alone would bring A from {field.alignment.value:.2f} to "
            f"{field.temperature.alignment:.2f}, for all fields at once."
        )
    return text


def _is_worth(before: float, found: Temperature) -> bool:
    gain = before - found.alignment
    return gain >= limit.WORTHWHILE and gain >= before / 5


def shown(estimate: Estimate) -> str:
    """A figure with its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"


def beside(result: Result | None) -> str:
    """A result's TV beside its floor."""
    if result is None:
        return "–"
    return f"{result.value:.3f} (floor {result.floor_low:.3f}–{result.floor_high:.3f})"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def p_value(value: float) -> str:
    """A p-value, three decimals."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
