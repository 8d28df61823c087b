"""The packed loss against the plain one on every architecture, and the loop on models that know nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from peft import PeftModel
from pydantic import BaseModel
from transformers import AutoModelForCausalLM

from synthgen.adapters import load_manifest, verify
from synthgen.anchor import Health, sample, structure_tokens
from synthgen.conditionals import Conditional
from synthgen.errors import AdapterError, RecipeError, SynthgenError, TuningError
from synthgen.lora import LINEAR_LAYERS, add_lora
from synthgen.models import model_fingerprint
from synthgen.pace import learning_rate
from synthgen.packing import batches, check_packing, node_log_probs, pack_loss
from synthgen.prompt import Prompt, Tokenizer, answer_ids, build_prompt
from synthgen.schema import RecordSchema
from synthgen.seen import ADAPTER_FILE, read_seen
from synthgen.stopping import Judge, Look
from synthgen.target_trie import END, AnswerTokens, build_trie
from synthgen.targets import TargetSet, TargetSource
from synthgen.tokenizers import load_tokenizer
from synthgen.trie import Figures, TokenTrie
from synthgen.tuning import _Run, tune
from synthgen.tuning_config import TuningConfig, TuningTask
from synthgen.tuning_log import StepLog
from synthgen.tuning_tasks import PreparedTask, resample, split
from tests.plain import gradients, load, plain_loss, some_targets
from tests.tiny import ARCHS, Arch, tiny_model_folder

PROMPT = (1, 40, 41, 42, 43, 44, 45)
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Arch, Path]:
    """A random model of each architecture."""
    return {arch: tiny_model_folder(tmp_path_factory.mktemp(arch), arch) for arch in ARCHS}


@pytest.fixture(scope="session")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that can express a fair die.

    32 dimensions cannot favour ten of 384 random directions alike, so the output rows of tokens in no
    answer are made short, and all logits larger.
    """
    folder = tiny_model_folder(tmp_path_factory.mktemp("sharp"), "llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    used = {t for i in range(1, 11) for t in tokenizer.encode(f"{{{i}}}")} | set(tokenizer.stop_ids)
    model.lm_head.weight.data[[i for i in range(model.config.vocab_size) if i not in used]] *= 0.1
    model.model.norm.weight.data *= 6
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("window", [None, 5])
def test_packed_loss_and_gradient_equal_the_plain_ones(
    folders: dict[Arch, Path], arch: Arch, window: int | None
) -> None:
    model = load(folders[arch], window if arch in ("mistral", "gemma2", "gemma3_text") else None)
    sequences, weights = some_targets()
    plain = plain_loss(model, PROMPT, sequences, weights)
    plain.backward()  # type: ignore[no-untyped-call]
    expected = gradients(model)
    for max_nodes in (10_000, 16):
        model.zero_grad(set_to_none=True)
        trie = TokenTrie.from_sequences(sequences, weights)
        packed = torch.zeros(())
        for batch in batches(trie, PROMPT, CPU, max_nodes, batch_tokens=80):
            loss, _ = pack_loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            packed += loss.detach()
        assert packed.item() == pytest.approx(plain.item(), rel=1e-5)
        difference = (gradients(model) - expected).norm() / expected.norm()
        assert difference < 1e-4
    assert check_packing(model, trie, PROMPT) < 1e-3


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_takes_the_adapter(folders: dict[Arch, Path], arch: Arch) -> None:
    model = add_lora(load(folders[arch]), TuningConfig(rank=2))
    sequences, weights = some_targets()
    trie = TokenTrie.from_sequences(sequences, weights)
    assert check_packing(model, trie, PROMPT) < 1e-3
    loss, _ = pack_loss(model, next(batches(trie, PROMPT, CPU)))
    loss.backward()  # type: ignore[no-untyped-call]
    names = {
        name.split(".lora_")[0].rsplit(".", 1)[-1]
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    assert names == set(LINEAR_LAYERS)


def test_the_models_own_distribution_as_target_leaves_no_divergence(folders: dict[Arch, Path]) -> None:
    """Targets: every answer of up to two tokens out of the whole vocabulary, weighted as the model weights
    them."""
    model = load(folders["llama"])
    vocabulary, stop = model.config.vocab_size, 4
    firsts = [t for t in range(vocabulary) if t != stop]
    sequences = [[stop], *([t, u] for t in firsts for u in range(vocabulary))]
    trie = TokenTrie.from_sequences(sequences, [1.0] * len(sequences))
    scores = node_log_probs(model, trie, PROMPT)
    chances = [float(np.exp(scores[trie.path(int(leaf))].sum())) for leaf in np.flatnonzero(trie.is_leaf)]
    assert sum(chances) == pytest.approx(1, abs=1e-5)
    leaves = [trie.token[trie.path(int(leaf))].tolist() for leaf in np.flatnonzero(trie.is_leaf)]
    own = TokenTrie.from_sequences(leaves, chances)
    figures = own.figures(node_log_probs(model, own, PROMPT))
    assert figures.kl == pytest.approx(0, abs=1e-5)
    assert figures.leak == pytest.approx(0, abs=1e-5)
    assert figures.cross_entropy == pytest.approx(own.entropy(), abs=1e-5)


def test_a_model_without_the_projections_is_refused_by_name() -> None:
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_attn = torch.nn.Linear(2, 2)
            self.config = type("Config", (), {"model_type": "other"})()

    with pytest.raises(SynthgenError, match=r"'other' has no q_proj.*its linear layers: c_attn"):
        add_lora(Other(), TuningConfig())


# ---- tries of target tuples, and the loop ----

GENDERS = {"Female": 0.49, "Male": 0.49, "Non-binary": 0.02}
NAMES = ("Evelyn Carter", "Jon Smith", "Eve Niger", "Ada Paris")


class Person(BaseModel):
    name: str
    gender: Literal["Female", "Male", "Non-binary"]
    place: str


class Die(BaseModel):
    number: str


@dataclass
class FakeSource:
    """Draws with uniform first field, and as `closed` says elsewhere; or hands out one fixed list."""

    model: type[BaseModel]
    fields: tuple[str, ...]
    firsts: tuple[str, ...]
    closed: dict[str, dict[str, float]] = field(default_factory=dict)
    fresh: bool = False
    kind: str = "function"
    weights: tuple[float, ...] | None = None
    fingerprint: str = "targets"
    conditionals: dict[str, Conditional] = field(default_factory=dict)

    @property
    def schema(self) -> RecordSchema:
        return RecordSchema.from_model(self.model)

    def draw(self, rng: np.random.Generator, n: int | None) -> TargetSet:
        rows = [(first,) for first in self.firsts] if n is None else []
        for _ in range(n or 0):
            values = [str(rng.choice(self.firsts))]
            for name in self.fields[1:]:
                values.append(str(rng.choice(list(self.closed[name]), p=list(self.closed[name].values()))))
            rows.append(tuple(values))  # type: ignore[arg-type]
        weights = np.array(self.weights if self.weights and n is None else [1.0] * len(rows))
        return target_set(self.fields, rows, weights, whole=len(self.fields) == len(self.schema.fields))


def target_set(
    fields: tuple[str, ...], rows: Sequence[tuple[str, ...]], weights: Any, whole: bool = False
) -> TargetSet:
    answers = tuple("\n".join(f"{{{value}}}" for value in row) for row in rows)
    return TargetSet(fields, answers, tuple(rows), np.asarray(weights) / np.sum(weights), whole)


def a_task(folder: Path, source: FakeSource, text: str | None = None, weight: float = 1.0) -> TuningTask:
    tokenizer = load_tokenizer(folder)
    return TuningTask(
        build_prompt(source.schema, tokenizer, text=text), cast(TargetSource, source), tokenizer, weight
    )


def people(fresh: bool = True) -> FakeSource:
    return FakeSource(Person, ("name", "gender"), NAMES, {"gender": GENDERS}, fresh)


def die(weights: tuple[float, ...] | None = None) -> FakeSource:
    return FakeSource(Die, ("number",), tuple(str(i) for i in range(1, 11)), weights=weights, kind="table")


def prompt_of(folder: Path) -> tuple[Prompt, Tokenizer]:
    task = a_task(folder, people())
    return task.prompt, task.tokenizer


def test_tuned_tokens_are_those_of_the_whole_answer(folders: dict[Arch, Path]) -> None:
    prompt, tokenizer = prompt_of(folders["llama"])
    ids, of = AnswerTokens(prompt, tokenizer).leading("{Jon Smith}\n{Male}", 2, whole=False)
    whole = answer_ids(prompt, tokenizer, "{Jon Smith}\n{Male}\n{Lagos, Nigeria}", closed=True)
    assert tuple(ids) == whole[: len(ids)]
    names = ("Jon Smith", "Male")
    for i in (0, 1):
        assert tokenizer.decode([t for t, f in zip(ids, of, strict=True) if f == i]).strip("\n{}") in names
    assert tokenizer.decode(ids).count("}") == 2


def test_declared_masses_stand_below_every_sampled_prefix(folders: dict[Arch, Path]) -> None:
    prompt, tokenizer = prompt_of(folders["llama"])
    targets = target_set(("name", "gender"), [("Jon Smith", "Male"), ("Ada Paris", "Male")], [3, 1])
    trie = build_trie(AnswerTokens(prompt, tokenizer), targets, {"gender": GENDERS}, np.random.default_rng(0))
    assert trie.known == {"gender"}
    leaves = np.flatnonzero(trie.is_leaf)
    masses: dict[str, float] = {}
    for leaf in leaves:
        text = tokenizer.decode(trie.token[trie.path(int(leaf))].tolist())
        masses[text.strip()] = float(trie.mass[leaf])
    expected = {
        f"{{{n}}}\n{{{g}}}": w * p
        for n, w in (("Jon Smith", 0.75), ("Ada Paris", 0.25))
        for g, p in GENDERS.items()
    }
    assert masses == pytest.approx(expected)
    entropy = -sum(p * np.log(p) for p in GENDERS.values())
    assert trie.per_field(trie.surprisals())[1] == pytest.approx(entropy)


def test_a_part_of_the_prefixes_carries_the_whole_weight_of_a_field(folders: dict[Arch, Path]) -> None:
    prompt, tokenizer = prompt_of(folders["llama"])
    rows = [(name, "Female") for name in NAMES]
    trie = build_trie(
        AnswerTokens(prompt, tokenizer),
        target_set(("name", "gender"), rows, [1] * len(rows)),
        {"gender": GENDERS},
        np.random.default_rng(0),
        max_branches=6,
    )
    ends = trie.is_leaf & (trie.mass > 0)
    assert ends.sum() == 6  # two prefixes, three genders
    assert trie.mass[ends].sum() == pytest.approx(1)


def test_a_value_that_its_declaration_lacks_is_named(folders: dict[Arch, Path]) -> None:
    prompt, tokenizer = prompt_of(folders["llama"])
    with pytest.raises(RecipeError, match=r"field 'gender' holds 'Other'.*'Female', 'Male', 'Non-binary'"):
        build_trie(
            AnswerTokens(prompt, tokenizer),
            target_set(("name", "gender"), [("Jon Smith", "Other")], [1]),
            {"gender": GENDERS},
            np.random.default_rng(0),
        )


def test_whole_records_train_the_stop_token(folders: dict[Arch, Path]) -> None:
    task = a_task(folders["llama"], die())
    targets = task.source.draw(np.random.default_rng(0), None)
    trie = build_trie(
        AnswerTokens(task.prompt, task.tokenizer), targets, {}, np.random.default_rng(0), exact=True
    )
    assert trie.fields == ("number", END)
    assert set(trie.token[trie.is_leaf].tolist()) == {task.prompt.stop_ids[0]}
    assert trie.entropy() == pytest.approx(np.log(10))


def test_sampled_records_without_a_declared_field_have_no_kl(folders: dict[Arch, Path]) -> None:
    """The stop token behind them is certain, but a KL of it alone would pass for one of the answers."""
    source = FakeSource(Die, ("number",), ("1", "2", "3"), fresh=True)
    task = a_task(folders["llama"], source)
    prompt = PreparedTask(0, task, "", 1.0, TuningConfig())
    log_probs = node_log_probs(load(folders["llama"]), prompt.judged, task.prompt.ids)
    figures = prompt.judged.figures(log_probs)
    assert figures.kl is None and figures.leak is None
    declared = FakeSource(
        Die, ("number",), ("1", "2", "3"), {"number": dict.fromkeys("123", 1 / 3)}, fresh=True
    )
    judged = PreparedTask(0, a_task(folders["llama"], declared), "", 1.0, TuningConfig()).judged
    assert judged.known == {"number", END}


@pytest.mark.parametrize("weights", [None, tuple(0.8 ** (10 - i) * 0.2**i * 50 for i in range(10))])
def test_a_die_is_tuned_to_the_declared_shape(
    sharp: Path, tmp_path: Path, weights: tuple[float, ...] | None
) -> None:
    task = a_task(sharp, die(weights))
    config = TuningConfig(lr=1e-2, steps=300, kl=0.01, health_samples=0, rank=8)
    seen: list[StepLog] = []
    result = tune(str(sharp), [task], config, tmp_path / "die", seen.append)
    assert result.stopped_by == "kl"
    before, after = result.before[0], result.after[0]
    assert (
        before.kl is not None and after.kl is not None and after.leak is not None and after.shape is not None
    )
    assert before.kl > 1 and after.kl <= 0.01
    assert after.leak + after.shape == pytest.approx(after.kl)
    assert seen == list(result.losses) and seen[0].loss == pytest.approx(before.cross_entropy, rel=1e-5)
    json.dumps(result.to_json())

    manifest = load_manifest(tmp_path / "die")
    verify(manifest, model_fingerprint(str(sharp)), task.prompt.fingerprint, rank_max=8)
    with pytest.raises(AdapterError):
        verify(manifest, model_fingerprint(str(sharp)), "another prompt")
    assert sorted(p.name for p in (tmp_path / "die").iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json", "targets.parquet",
    ]  # fmt: skip
    tuned = read_seen(tmp_path / "die" / ADAPTER_FILE)[task.prompt.fingerprint]
    assert tuned.fields == task.source.fields
    assert set(tuned.rows) == set(task.source.draw(np.random.default_rng(0), None).values)
    assert set(tuned.rows.values()) == {result.steps}
    trie = build_trie(
        AnswerTokens(task.prompt, task.tokenizer), task.source.draw(np.random.default_rng(0), None), {},
        np.random.default_rng(0), exact=True,
    )  # fmt: skip
    served = PeftModel.from_pretrained(load(sharp), str(tmp_path / "die")).eval()
    assert trie.figures(node_log_probs(served, trie, task.prompt.ids)).kl == pytest.approx(after.kl, abs=1e-4)


def short(**settings: Any) -> TuningConfig:
    return TuningConfig(**{"steps": 4, "n_targets": 8, "n_heldout": 8, "anchor_pool": 8, "anchor_contexts": 8,
                           "max_new_tokens": 10, "health_samples": 4, "lr": 5e-3, **settings})  # fmt: skip


def test_the_same_seed_gives_the_same_adapter(folders: dict[Arch, Path], tmp_path: Path) -> None:
    task = a_task(folders["qwen3"], people())
    runs = [
        tune(str(folders["qwen3"]), [task], short(seed=s), tmp_path / n / "p")
        for n, s in (("a", 1), ("b", 1), ("c", 2))
    ]
    sums = [load_manifest(tmp_path / n / "p").weights_sha256 for n in "abc"]
    assert sums[0] == sums[1] != sums[2]
    assert [log.loss for log in runs[0].losses] == [log.loss for log in runs[1].losses]
    assert runs[0].stopped_by == "steps" and len(runs[0].losses[-1].looks) == 1
    assert set(runs[0].losses[0].kl_by_field) == {"gender"}


def test_the_anchor_holds_the_later_fields(folders: dict[Arch, Path], tmp_path: Path) -> None:
    drift: dict[str, float] = {}
    task = a_task(folders["llama"], people())
    for kind, weight in (("full", 10.0), ("full", 0.0), ("structure", 10.0)):
        config = short(steps=20, lr=1e-2, anchor=kind, anchor_weight=weight, health_samples=0)
        result = tune(str(folders["llama"]), [task], config, tmp_path / f"{kind}{weight}")
        before, after = result.looks_before[0].drift_nats, result.looks_after[0].drift_nats
        assert before is not None and after is not None
        assert before == pytest.approx(0, abs=1e-5)
        drift[f"{kind} {weight}"] = after
    assert drift["full 10.0"] < 0.5 * drift["full 0.0"]
    assert drift["structure 10.0"] < drift["full 0.0"]
    structure = structure_tokens(task.tokenizer, task.prompt.stop_ids)
    assert all(
        set(task.tokenizer.decode([t])) & set("{}\n\r") or t in task.prompt.stop_ids for t in structure
    )


def test_prompts_take_turns_and_gamma_counts_whole_passes(sharp: Path, tmp_path: Path) -> None:
    tasks = [a_task(sharp, die(), f"Roll die {i}. {{number}}") for i in range(3)]
    config = TuningConfig(lr=1e-2, steps=300, gamma=0.2, health_samples=0, rank=8)
    result = tune(str(sharp), tasks, config, tmp_path / "six", scope="any")
    assert result.stopped_by == "gamma" and result.steps % 3 == 0
    last = result.losses[-3:]
    assert [len(step.tasks) for step in last] == [1, 1, 1]
    assert {log.task for step in last for log in step.tasks} == {0, 1, 2}
    assert sum(log.loss for step in last for log in step.tasks) <= 1.2 * 3 * np.log(10)
    assert last[-1].loss == pytest.approx(sum(step.tasks[0].loss for step in last) / 3)  # each as last seen
    assert last[-1].kl_by_prompt == {step.tasks[0].label: step.tasks[0].kl for step in last}
    assert len(result.losses[0].kl_by_prompt) == 1 and len(result.losses[1].kl_by_prompt) == 2
    manifest = load_manifest(tmp_path / "six")
    assert [(prompt.prompt, prompt.text) for prompt in manifest.prompts] == [
        (task.prompt.fingerprint, task.prompt.user) for task in tasks
    ]
    assert [prompt.label for prompt in manifest.prompts] == ["Die 1", "Die 2", "Die 3"]
    assert [prompt.after["kl"] for prompt in manifest.prompts] == [f.kl for f in result.after]
    verify(manifest, manifest.model_fingerprint, "any other prompt")


def mixed_tasks(folder: Path) -> list[TuningTask]:
    """Prompts of different length: leading fields, drawn afresh, and whole records, fixed, counting three times."""
    return [a_task(folder, people()), a_task(folder, die(), "Roll a die. {number}", weight=3)]


def test_a_joint_step_is_the_weighted_mean_of_single_ones(folders: dict[Arch, Path]) -> None:
    model = add_lora(load(folders["llama"]), TuningConfig())
    for parameter in model.parameters():  # away from the start, where half of the gradient is 0
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))

    def step(tasks: Sequence[TuningTask], scaled: bool) -> torch.Tensor:
        run = _Run(model, tasks, short(batch_tokens=100, pack_nodes=30, anchor_weight=2.0))
        model.zero_grad(set_to_none=True)
        for prompt in run.prompts:
            run.rng = np.random.default_rng(0)  # the same anchor packs
            scale = run.scale(prompt, run.prompts) if scaled else 1.0
            run.backward_targets(prompt, scale)
            run.backward_anchor(prompt, scale)
        return gradients(model)

    tasks = mixed_tasks(folders["llama"])
    joint, people_alone = step(tasks, scaled=True), step(tasks[:1], scaled=False)
    die_alone = step(tasks, scaled=False) - people_alone  # beside the people, so that these draw the same
    assert (joint - (0.25 * people_alone + 0.75 * die_alone)).norm() < 1e-5 * joint.norm()


def test_a_joint_steps_figures_are_weighted_means(folders: dict[Arch, Path], tmp_path: Path) -> None:
    tasks = mixed_tasks(folders["llama"])
    (log,) = tune(str(folders["llama"]), tasks, short(steps=1, prompts_per_step=2), tmp_path / "both").losses
    alone = [
        tune(str(folders["llama"]), [task], short(steps=1), tmp_path / f"{i}").losses[0]
        for i, task in enumerate(tasks)
    ]
    by_task = {one.task: one for one in log.tasks}
    assert [by_task[i].label for i in (0, 1)] == ["Person", "Die"]
    assert by_task[0].loss == pytest.approx(alone[0].loss, rel=1e-5)  # the same seed, the same tuples
    assert by_task[1].loss == pytest.approx(alone[1].loss, rel=1e-5)
    assert log.loss == pytest.approx(0.25 * alone[0].loss + 0.75 * alone[1].loss, rel=1e-5)
    assert alone[0].kl is not None and alone[1].kl is not None
    assert log.kl == pytest.approx(0.25 * alone[0].kl + 0.75 * alone[1].kl, rel=1e-5)
    assert log.kl_by_prompt == {"Person": by_task[0].kl, "Die": by_task[1].kl} and not log.kl_by_field
    assert by_task[0].optimum is None and by_task[1].optimum == pytest.approx(np.log(10))
    assert log.optimum is None and alone[1].optimum == pytest.approx(np.log(10))
    assert by_task[0].anchor is not None and by_task[1].anchor is None


@pytest.mark.parametrize("together", [1, 2])
def test_two_prompts_are_tuned_to_two_shapes(sharp: Path, tmp_path: Path, together: int) -> None:
    loaded = tuple(0.8 ** (10 - i) * 0.2**i * 50 for i in range(10))
    tasks = [a_task(sharp, die()), a_task(sharp, die(loaded), "Roll the loaded die. {number}")]
    config = TuningConfig(lr=1e-2, steps=300, kl=0.02, health_samples=0, rank=8, prompts_per_step=together)
    result = tune(str(sharp), tasks, config, tmp_path / "both")
    assert result.stopped_by == "kl" and result.losses[-1].looks == ()
    assert all(before.kl is not None and before.kl > 1 for before in result.before)
    most = 0.02 if together == 2 else 0.1  # in turns, one was seen a step before the last
    assert all(after.kl is not None and after.kl <= most for after in result.after)


@pytest.mark.parametrize(("n", "sizes"), [(1, [1, 1, 1]), (2, [2, 1]), (3, [3]), (7, [3])])
def test_every_pass_takes_all_prompts_once_and_averages_to_the_joint_loss(
    folders: dict[Arch, Path], n: int, sizes: list[int]
) -> None:
    tasks = [a_task(folders["llama"], die(), f"Roll {i}. {{number}}", weight=i + 1) for i in range(3)]
    run = _Run(add_lora(load(folders["llama"]), short()), tasks, short(prompts_per_step=n))
    turns = run.turns()
    totals = np.zeros(3)
    for _ in range(50):
        steps = [next(turns) for _ in sizes]
        assert [len(step) for step in steps] == sizes
        assert sorted(prompt.index for step in steps for prompt in step) == [0, 1, 2]
        for step in steps:
            for prompt in step:
                totals[prompt.index] += run.scale(prompt, step) / (50 * len(sizes))
    assert totals == pytest.approx(np.array([1, 2, 3]) / 6, rel=0.25 if sizes == [2, 1] else 1e-9)


def looks(format_rate: float, loss: float, *more: tuple[float, float]) -> tuple[Look, ...]:
    return tuple(
        Look(Figures(loss, 1.0, None, None, None, False, {}), None, Health(64, rate, {}))
        for rate, loss in ((format_rate, loss), *more)
    )


def test_the_guard_goes_back_to_the_last_healthy_weights() -> None:
    weight = torch.zeros(1)
    judge = Judge(TuningConfig(), looks(0.98, 9), [weight])
    weight += 1
    assert judge.looked(30, looks(0.95, 5)) is None
    weight += 1
    assert judge.looked(60, looks(0.70, 4)) is None
    weight += 1
    assert judge.looked(90, looks(0.70, 4)) == "guard"
    assert judge.restore("guard", 90) == 30
    assert weight.item() == 1


def test_a_dip_that_passes_stops_nothing_and_one_at_the_end_does() -> None:
    weight = torch.zeros(1)
    judge = Judge(TuningConfig(), looks(0.98, 9), [weight])
    for step, rate in ((30, 0.70), (60, 0.96), (90, 0.70)):
        weight += 1
        assert judge.looked(step, looks(rate, 5)) is None
    weight += 1
    assert judge.looked(120, looks(0.70, 4), is_last=True) == "guard"
    assert judge.restore("guard", 120) == 60
    assert weight.item() == 2


def test_tuning_that_makes_nothing_better_is_an_error_and_no_adapter(
    folders: dict[Arch, Path], tmp_path: Path
) -> None:
    task = a_task(folders["llama"], FakeSource(Person, ("name",), NAMES, kind="table"))
    config = TuningConfig(steps=4, lr=1e-30, patience=1, look_every=1, health_samples=0, anchor="none")
    with pytest.raises(TuningError, match="no adapter to keep; try a lower `lr`"):
        tune(str(folders["llama"]), [task], config, tmp_path / "still")
    assert not (tmp_path / "still").exists()


def test_the_guard_watches_every_prompt_and_lets_chance_pass() -> None:
    healthy = [(0.98, 1.0)] * 25
    judge = Judge(TuningConfig(), looks(0.70, 9, *healthy), [torch.zeros(1)], [1 / 26] * 26)
    assert judge.looked(30, looks(0.55, 5, *healthy)) is None  # under 0.63, but 35 of 64 after 45 happens
    assert judge.looked(60, looks(0.70, 5, *healthy[1:], (0.60, 1.0)), is_last=True) == "guard"


def test_targets_are_reached_when_all_prompts_have_had_their_turn() -> None:
    def figures(loss: float, kl: float) -> Figures:
        return Figures(loss, 1.0, kl, None, None, False, {})

    judge = Judge(TuningConfig(kl=0.1, gamma=0.2), looks(1, 9, (1, 9)), [torch.zeros(1)], [0.5, 0.5])
    assert judge.targets_reached([figures(1.1, 0.01)]) is None
    assert (
        judge.targets_reached([figures(1.4, 0.2)]) is None
    )  # 2.5 is more than 1.2 · 2, and one KL is too high
    assert judge.targets_reached([figures(1.3, 0.05), figures(1.2, 0.09)]) == "kl"
    assert judge.targets_reached([figures(1.3, 0.05), figures(1.0, 0.2)]) == "gamma"


def test_tuning_that_only_loses_on_heldout_tuples_goes_back_to_the_start() -> None:
    weight = torch.zeros(1)
    judge = Judge(TuningConfig(patience=2), looks(0.98, 3, (0.98, 5)), [weight], [0.75, 0.25])
    weight += 1
    assert judge.looked(1, looks(0.98, 3.1, (0.98, 4.8))) is None  # 3.525 after 3.5: the sum alone had gained
    assert judge.looked(2, looks(0.98, 4, (0.98, 5))) == "heldout"
    assert judge.restore("heldout", 2) == 0
    assert weight.item() == 0


def test_the_anchor_begins_with_target_answers_as_often_as_their_weights_say(
    folders: dict[Arch, Path],
) -> None:
    """A field of few values joins many draws into few answers; the anchor still has its whole pool."""

    class FewValues(FakeSource):
        def draw(self, rng: np.random.Generator, n: int | None) -> TargetSet:
            return super().draw(rng, None)  # all of them, whatever was asked for

    source = FewValues(Person, ("name",), NAMES, kind="table", weights=(5, 1, 1, 1))
    prompt = PreparedTask(0, a_task(folders["llama"], source), "", 1.0, TuningConfig())
    leads = prompt.leads(64)
    assert leads is not None and len(leads) == 64
    assert sorted(Counter(map(tuple, leads)).values()) == [8, 8, 8, 40]
    model = add_lora(load(folders["llama"]), short())
    run = _Run(model, [a_task(folders["llama"], source)], short(anchor_pool=64))
    anchor = run.prompts[0].anchor
    assert (
        anchor is not None and anchor.contexts_per_pack * len(anchor) > 32
    )  # most of the continuations differ
    assert PreparedTask(0, a_task(folders["llama"], die()), "", 1.0, TuningConfig()).leads(8) is None


def test_resampling_keeps_to_the_weights() -> None:
    weights = np.array([0.5, 0.3, 0.125, 0.075])
    for seed in range(20):
        counts = np.bincount(resample(weights, 40, np.random.default_rng(seed)), minlength=4)
        assert counts.tolist() == [20, 12, 5, 3]
        uneven = np.bincount(resample(weights, 7, np.random.default_rng(seed)), minlength=4)
        assert uneven.sum() == 7 and (np.abs(uneven - 7 * weights) < 1).all()


def test_patience_ends_on_the_best_heldout_weights() -> None:
    weight = torch.zeros(1)
    judge = Judge(TuningConfig(patience=2), looks(0.98, 9), [weight])
    verdicts = []
    for step, loss in enumerate((5, 3, 4, 4), start=1):
        weight += 1
        verdicts.append(judge.looked(step, looks(0.98, loss)))
    assert verdicts == [None, None, None, "heldout"]
    assert judge.restore("heldout", 4) == 2
    assert weight.item() == 2


def test_a_fixed_list_is_split_into_two_that_sum_to_one() -> None:
    targets = target_set(("n",), [(str(i),) for i in range(20)], range(1, 21))
    kept, held_out = split(targets, 0.15, np.random.default_rng(0))
    assert len(held_out.answers) == 3 and len(kept.answers) == 17
    assert set(kept.answers) | set(held_out.answers) == set(targets.answers)
    assert kept.weights.sum() == pytest.approx(1) and held_out.weights.sum() == pytest.approx(1)
    with pytest.raises(RecipeError, match="held-out tuples need at least 2"):
        split(target_set(("n",), [("1",)], [1]), 0.15, np.random.default_rng(0))


def test_the_rate_rises_and_falls_to_nothing() -> None:
    config = TuningConfig(lr=1.0, steps=100, warmup_steps=5)
    rates = [learning_rate(config, step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[4] == pytest.approx(0.96)
    assert rates[-1] == pytest.approx(0.01)
    assert learning_rate(TuningConfig(lr=1.0, schedule="constant"), 90) == 1


def test_every_tuple_that_was_a_target_is_kept(folders: dict[Arch, Path]) -> None:
    config = TuningConfig(n_targets=5, n_heldout=40)
    prepared = PreparedTask(0, a_task(folders["llama"], people(fresh=True)), "", 1.0, config)
    assert prepared.seen.rows == {}  # held-out tuples are none
    for _ in range(3):
        prepared.trie()
    assert prepared.seen.fields == ("name", "gender")
    assert 5 < sum(prepared.seen.rows.values()) <= 15


def test_sampling_follows_the_model_and_stops(folders: dict[Arch, Path]) -> None:
    """Chi-square over the first token, 2,000 draws; seed fixed, chance of a false alarm under 1e-4."""
    model = load(folders["llama"])
    contexts = [list(PROMPT)] * 1000 + [list(PROMPT[1:])] * 1000  # padded beside longer ones
    drawn = sample(model, contexts, (4,), 3, torch.Generator().manual_seed(0), batch_size=500)
    assert all(len(ids) == 3 or ids[-1] == 4 for ids in drawn)
    assert all(4 not in ids[:-1] for ids in drawn)
    logits = model(input_ids=torch.tensor([PROMPT])).logits[0, -1]
    expected = logits.softmax(-1).detach().double().numpy() * 1000
    counts = np.bincount([ids[0] for ids in drawn[:1000]], minlength=len(expected))
    common = expected > 5
    counts = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    degrees = len(expected) - 1
    assert ((counts - expected) ** 2 / expected).sum() < degrees + 4 * np.sqrt(2 * degrees)


def test_what_rows_share_is_run_once_and_changes_no_draw(folders: dict[Arch, Path]) -> None:
    model, stops = load(folders["llama"]), (4,)
    contexts = [[*PROMPT, *lead] for lead in ([], [9], [9, 8, 7])] * 40
    lengths: list[tuple[int, ...]] = []
    handle = model.register_forward_pre_hook(
        lambda _module, _args, kwargs: lengths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    drawn = sample(model, contexts, stops, 4, torch.Generator().manual_seed(3))
    handle.remove()
    assert lengths[:2] == [(1, len(PROMPT) - 1), (120, 4)]
    n_alike = 0  # each row again by itself, with the marks that it had in the batch
    generator = torch.Generator().manual_seed(3)
    marks = [torch.rand(120, 1, generator=generator, dtype=torch.float64) for _ in range(4)]
    for row, context in enumerate(contexts):
        ids = list(context)
        for mark in marks[: len(drawn[row])]:
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].detach().double()
            ids.append(int((logits.softmax(-1).cumsum(-1) > mark[row]).nonzero()[0]))
        n_alike += ids[len(context) :] == drawn[row]
    assert n_alike >= 118  # a mark may fall on a border that rounding moves


def test_figures_are_plain_json(folders: dict[Arch, Path]) -> None:
    trie = TokenTrie.from_sequences([[1, 2], [1, 3]], [1, 1])
    json.dumps(asdict(trie.figures(np.log([0.5, 0.5, 0.5]))))
