"""Tasks → prompts: several wordings of each, for one long list of draws and for a single draw.

Second stage of the probe. Prompts go through the model's chat template like every other prompt of synthgen, and answers
are written in its wire format: each value between curly braces, one per line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from synthgen.braces import join
from synthgen.errors import RecipeError
from synthgen.probe.tasks import Task
from synthgen.prompt import Prompt, Tokenizer, answer_ids, build_prompt
from synthgen.schema import RecordSchema
from synthgen.target_trie import AnswerTokens

Protocol = Literal["list", "single"]


class Draw(BaseModel):
    """The record of a single draw."""

    value: str


@dataclass(frozen=True)
class Wording:
    """One way to state a distribution and to ask for draws; `{table}` stands for the values with their chances."""

    name: str
    many: str  # asks for `{n}` draws
    one: str
    item: str  # a value with its chance, as `{percent}` or as `{chance}`
    between: str  # what stands between two items


WORDINGS = (
    Wording(
        "plain",
        "Draw {n} random values from this distribution, each independently of the others:\n{table}",
        "Draw one random value from this distribution:\n{table}",
        "- {value}: {percent} %",
        "\n",
    ),
    Wording(
        "trials",
        "Simulate {n} independent trials of a random experiment. In every trial the outcome is {table}.",
        "Simulate one trial of a random experiment. The outcome is {table}.",
        "{value} with probability {chance}",
        ", ",
    ),
    Wording(
        "bag",
        "A bag is full of tickets. Of every 100 tickets, {table}. Take a ticket without looking, note its word and put it "
        "back, {n} times in all.",
        "A bag is full of tickets. Of every 100 tickets, {table}. Take one ticket without looking and note its word.",
        "{percent} say {value}",
        ", ",
    ),
    Wording(
        "weights",
        "I need {n} samples, with replacement, from a categorical distribution. Values and weights in percent: {table}.",
        "I need one sample from a categorical distribution. Values and weights in percent: {table}.",
        "{value} ({percent})",
        "; ",
    ),
)
_END_MANY = "Answer with {n} lines, one value per line, each between two curly braces, like this: {{value}}."
_END_ONE = "Output only the value, between two curly braces, like this: {{value}}."


@dataclass(frozen=True)
class Question:
    """A task in one wording and protocol, as the model is asked it."""

    task: Task
    wording: str
    protocol: Protocol
    prompt: Prompt
    tokens: AnswerTokens


def questions(tasks: Sequence[Task], n_draws: int, n_wordings: int, tokenizer: Tokenizer) -> list[Question]:
    """Every task in the first `n_wordings` wordings, as a list of `n_draws` draws and as a single draw.

    RecipeError for a task with more values than the tokenizer has tokens.
    """
    for task in tasks:
        if len(task.values) > tokenizer.vocab_size:
            raise RecipeError(
                f"task {task.name}: found {len(task.values)} values; the model's vocabulary has {tokenizer.vocab_size}"
            )
    protocols: tuple[Protocol, ...] = ("list", "single")
    return [
        ask(task, wording, protocol, n_draws, tokenizer)
        for task in tasks
        for wording in WORDINGS[:n_wordings]
        for protocol in protocols
    ]


def ask(task: Task, wording: Wording, protocol: Protocol, n_draws: int, tokenizer: Tokenizer) -> Question:
    """One question."""
    schema = RecordSchema.from_model(Draw)
    prompt = build_prompt(schema, tokenizer, text=message(task, wording, protocol, n_draws))
    return Question(task, wording.name, protocol, prompt, AnswerTokens(prompt, tokenizer))


def message(task: Task, wording: Wording, protocol: Protocol, n_draws: int) -> str:
    """The user message."""
    table = wording.between.join(
        wording.item.format(value=value, percent=f"{100 * share:.6g}", chance=f"{share:.6g}")
        for value, share in zip(task.values, task.shares, strict=True)
    )
    opening, ending = (wording.many, _END_MANY) if protocol == "list" else (wording.one, _END_ONE)
    return f"{opening.format(n=n_draws, table=table)}\n{ending.format(n=n_draws)}"


def longest_answer(asked: Sequence[Question], n_draws: int, tokenizer: Tokenizer) -> int:
    """Tokens that the longest list can take, stop token included: what an engine must be let generate."""
    lengths = [1]
    for question in asked:
        n = n_draws if question.protocol == "list" else 1
        longest = max(question.task.values, key=lambda value: len(tokenizer.encode(value)))
        lengths.append(len(answer_ids(question.prompt, tokenizer, join([longest] * n), closed=True)))
    return max(lengths)
