"""The built-in model's construction, on a tiny model and a made-up corpus."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from synthgen.nano import tokenizer as nano_tokenizer
from synthgen.nano.build import Build, is_exact, main, parse, sample
from synthgen.nano.corpus import Example, Stage
from synthgen.nano.packing import IGNORE, PackedBatches, Packer, Shape, held_out_batches, held_out_examples
from synthgen.nano.tokenizer import SPECIALS, Encoder
from synthgen.nano.training import (
    Pace,
    StageFiles,
    StageSettings,
    new_model,
    target_logits,
    with_twice_the_heads,
)

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY = Shape(rows=4, length=96)
WORDS = ["river", "stone", "amber", "Évora", "Zoë", "Søren", "market", "engine", "garden", "planet"]


def toy_examples(
    rng: np.random.Generator, stage: Stage, answers_per_prompt: int = 3, pieces: tuple[str, ...] = ()
) -> Iterator[Example]:
    def answer() -> str:
        return f"{{{rng.choice(WORDS)} {rng.choice(WORDS)}}}\n{{{rng.integers(1900, 2000)}}}"

    while True:
        kind = ("biography", "product")[rng.integers(2)]
        prompt = f"Generate a random {kind}.\n{{Name}}\n{{Year - {rng.choice(WORDS)}}}"
        yield Example(prompt, tuple(answer() for _ in range(answers_per_prompt)), kind)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    drawn = itertools.islice(toy_examples(np.random.default_rng(0), "broad"), 200)
    return nano_tokenizer.train((text for e in drawn for text in (e.prompt, *e.answers)), vocabulary=400)


@pytest.fixture(scope="module")
def encoder(tokenizer: PreTrainedTokenizerFast) -> Encoder:
    return Encoder(tokenizer)


@pytest.fixture(scope="module")
def tiny_model(encoder: Encoder) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return new_model(encoder.bpe.get_vocab_size(), encoder.pad, encoder.bos, encoder.end, **SIZES).eval()


# -- tokenizer ---------------------------------------------------------------------------------------------


def test_specials_come_first_and_end_ends(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_tokens_to_ids(list(SPECIALS)) == list(range(len(SPECIALS)))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|end|>", "<|pad|>")


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_every_text_survives(encoder: Encoder, text: str) -> None:
    assert encoder.bpe.decode(encoder.bpe.encode(text).ids) == text


@pytest.mark.parametrize("text", ["{Zoë Évora}\n{1985-03-12}", "}{\n\n{{12}}", "a1{b}\n c"])
def test_braces_newlines_and_digits_stand_alone(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    pieces = [tokenizer.decode([i]) for i in ids]
    for mark in "{}\n0123456789":
        assert all(piece == mark for piece in pieces if mark in piece)


def test_chat_template_and_encoder_give_the_same_ids_with_one_bos(
    tokenizer: PreTrainedTokenizerFast, encoder: Encoder, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    prompt = "Generate a random Zoë.\n{Name}"
    messages = [{"role": "user", "content": prompt}]
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = each.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        assert ids == encoder.prompt_ids(prompt)
        assert ids.count(encoder.bos) == 1
    spoken = [*messages, {"role": "assistant", "content": "{A}"}]
    ids = tokenizer.apply_chat_template(spoken, tokenize=True, return_dict=False)
    assert ids == encoder.prompt_ids(prompt) + encoder.answer_ids("{A}")


# -- model -------------------------------------------------------------------------------------------------


def test_twice_the_heads_compute_the_same_and_learn_other_things(
    tiny_model: LlamaForCausalLM, encoder: Encoder
) -> None:
    wider = with_twice_the_heads(tiny_model)
    ids = torch.tensor([encoder.prompt_ids("Generate a random stone.\n{Name}")])
    with torch.no_grad():
        torch.testing.assert_close(wider(ids).logits, tiny_model(ids).logits, atol=1e-5, rtol=0)
    assert wider.config.num_attention_heads == wider.config.num_key_value_heads == 4
    assert wider.lm_head.weight is wider.model.embed_tokens.weight
    torch.autograd.backward(wider(ids, labels=ids).loss)
    out = wider.model.layers[0].self_attn.o_proj.weight
    assert out.grad is not None
    first, second = out.grad.chunk(2, dim=1)
    assert second.norm() > 0 and not torch.allclose(first, second)
    assert (out.chunk(2, dim=1)[1] == 0).all()


# -- packing -----------------------------------------------------------------------------------------------


def test_packed_logits_are_those_of_each_answer_alone(tiny_model: LlamaForCausalLM, encoder: Encoder) -> None:
    drawn = list(itertools.islice(toy_examples(np.random.default_rng(1), "broad"), 4))
    packer = Packer(encoder, Shape(rows=2, length=384))
    assert all(packer.add(example) for example in drawn)
    batch = packer.batch()
    with torch.no_grad():
        packed = target_logits(tiny_model, batch)[batch.target != IGNORE]
        alone = []
        for example in drawn:
            for answer in example.answers:
                start, ids = encoder.prompt_ids(example.prompt), encoder.answer_ids(answer)
                logits = tiny_model(torch.tensor([start + ids])).logits[0]
                alone.append(logits[len(start) - 1 : -1])
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-4, rtol=0)
    expected = [i for e in drawn for answer in e.answers for i in encoder.answer_ids(answer)]
    assert batch.target[batch.target != IGNORE].tolist() == expected


def test_a_batch_depends_on_its_number_only(encoder: Encoder) -> None:
    first = PackedBatches(toy_examples, encoder, TINY, 7, "broad", 9)
    again = PackedBatches(toy_examples, encoder, TINY, 7, "broad", 9)
    first[0]
    assert all(torch.equal(a, b) for a, b in zip(first[3], again[3], strict=True))
    assert not torch.equal(first[3].ids, first[4].ids)


def test_a_document_too_long_gives_up_answers_before_it_is_refused(encoder: Encoder) -> None:
    short, long = "{a}\n{1}", "{" + "7" * 60 + "}\n{1}"
    packer = Packer(encoder, TINY)
    assert packer.add(Example("P", (short, long, long), "x"))
    assert packer.batch().branch.max() == 2
    assert not packer.add(Example("P", ("7" * 200,), "x"))


def test_held_out_examples_are_all_packed(encoder: Encoder) -> None:
    kinds = held_out_examples(toy_examples, 7, "broad", per_kind=5, n_drawn=100)
    assert {kind: len(examples) for kind, examples in kinds.items()} == {"biography": 5, "product": 5}
    batches = held_out_batches(kinds, encoder, Shape(rows=2, length=192))
    ends = sum((batch.target == encoder.end).sum().item() for batch in batches)
    assert ends == 5 * 2 * 3


# -- training and export -----------------------------------------------------------------------------------


def test_the_rate_warms_up_stays_and_falls() -> None:
    stage = StageSettings("broad", 1000, warmup_share=0.1, decay_share=0.4)
    assert stage.rate(0.0) == pytest.approx(1e-3)
    assert [stage.rate(p) for p in (0.3, 0.6, 0.8, 1.0)] == pytest.approx([1, 1, 0.5, 0])


def toy_build(work: Path, max_steps: int | None = None) -> Build:
    stages: dict[Stage, StageSettings] = {
        "broad": StageSettings("broad", 6 * TINY.tokens, TINY),
        "lists": StageSettings("lists", 2 * TINY.tokens, TINY, muon_rate=0.01),
        "copying": StageSettings("copying", 2 * TINY.tokens, TINY, muon_rate=0.008),
        "collapsed": StageSettings("collapsed", 2 * TINY.tokens, TINY, muon_rate=0.004),
    }
    pace = Pace(log_every=2, held_out_every=4, compiled=False, max_steps=max_steps)
    return Build(toy_examples, work, 7, stages, dict.fromkeys(stages, pace), SIZES)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with all stages trained, and the export in `out`."""
    work = tmp_path_factory.mktemp("work")
    build = toy_build(work)
    build.n_sampled = 2
    build.tokenizer(n_examples=200)
    assert all(build.train(stage) for stage in build.stages)
    build.export("collapsed", work / "out")
    return work


def weights(work: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(StageFiles(work, "broad").result, weights_only=True)["model"]
    return state


def test_a_resumed_run_ends_where_the_straight_one_does(built: Path, tmp_path: Path) -> None:
    cut = toy_build(tmp_path, max_steps=3)
    cut.tokenizer(n_examples=200)
    assert not cut.train("broad")
    on = toy_build(tmp_path)
    on.n_sampled = 2
    assert on.train("broad")
    straight, resumed = weights(built), weights(tmp_path)
    for name, tensor in straight.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-4, rtol=1e-3)
    steps = [
        json.loads(line).get("step") for line in StageFiles(tmp_path, "broad").log.read_text().splitlines()
    ]
    assert steps == [2, 3, 4, 6, None]


def test_a_checkpoint_of_other_settings_is_refused(built: Path) -> None:
    other = toy_build(built)
    other.stages["broad"] = replace(other.stages["broad"], muon_rate=0.5)
    with pytest.raises(ValueError, match=r"--fresh"):
        other.train("broad")


def test_the_export_loads_in_transformers_and_samples(built: Path) -> None:
    out = built / "out"
    names = {path.name for path in out.iterdir()}
    assert names == {
        "build.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_log.jsonl",
    }
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert (model.generation_config.top_k, model.generation_config.temperature) == (0, 1.0)
    assert len(sample(model, Encoder(tokenizer), "Generate.", 2, seed=1)) == 2
    facts = json.loads((out / "build.json").read_text())
    assert set(facts["stages"]) == {"broad", "lists", "copying", "collapsed"}
    assert set(facts["stages"]["broad"]["held_out"]) == {"biography", "product"}


def test_only_later_stages_are_drawn_with_the_tokenizers_pieces(tmp_path: Path) -> None:
    build, seen = toy_build(tmp_path), {}

    def spying(
        rng: np.random.Generator, stage: Stage, answers_per_prompt: int = 3, pieces: tuple[str, ...] = ()
    ) -> Iterator[Example]:
        seen[stage] = pieces
        return toy_examples(rng, stage, answers_per_prompt)

    build.source, build.n_sampled = spying, 2
    build.tokenizer(n_examples=200)
    assert all(build.train(stage) for stage in build.stages)
    pieces = build.encoder().pieces()
    assert seen == {"broad": (), "lists": pieces, "copying": pieces, "collapsed": pieces}
    assert "engine" in pieces
    assert not {"e", "<|end|>", " engine"} & set(pieces)


def test_the_clock_ends_a_stage(built: Path, tmp_path: Path) -> None:
    build = toy_build(tmp_path)
    build.tokenizer(n_examples=200)
    build.n_sampled = 2
    build.paces["broad"] = replace(build.paces["broad"], minutes=1e-6)
    assert build.train("broad")
    assert json.loads(StageFiles(tmp_path, "broad").log.read_text().splitlines()[0])["step"] == 1


# -- format and command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "exact"),
    [("{A}\n{1}", True), ("{A}", False), ("{A}\n{1}\n", False), ("{A}\n{{1}", False), ("A\n{1}", False)],
)
def test_exact_format(answer: str, exact: bool) -> None:
    assert is_exact("Do.\n{Name}\n{Year - YYYY}", answer) is exact


def test_a_prompt_without_field_lines_wants_one_value() -> None:
    assert is_exact("A number, like this: {number}.", "{7}")


def test_command_line() -> None:
    options = parse(["--steps", "export,broad", "--tokens-broad", "1.5M"])
    assert options.steps == ["broad", "export"]
    assert options.tokens_broad == 1_500_000
    assert options.out.name == "weights"
    with pytest.raises(SystemExit):
        parse(["--steps", "bread"])


def test_export_before_training_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_build(tmp_path).tokenizer(n_examples=200)
    assert main(["--steps", "collapsed", "--work", str(tmp_path), "--tokens-collapsed", "10k"]) == 1
    assert "--steps copying" in capsys.readouterr().err
