"""Adapter folders: what is written reads back, and what does not fit is refused with the difference named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from safetensors.numpy import save_file

from synthgen.adapters import (
    AdapterManifest,
    check_name,
    differences,
    load_manifest,
    save_manifest,
    verify,
    weights_sha256,
)
from synthgen.errors import AdapterError, RecipeError
from synthgen.prompt import Prompt, Tokenizer
from synthgen.targets import TargetSource
from synthgen.tuning_config import ALGORITHM, TuningConfig, TuningTask, labels_of, tuning_fingerprint


def task(prompt: str, targets: str, weight: float = 1.0, n_targets: int | None = None) -> TuningTask:
    """A task of which only the fingerprints are known."""
    source = SimpleNamespace(fingerprint=targets, schema=SimpleNamespace(name="Die"))
    return TuningTask(cast(Prompt, SimpleNamespace(fingerprint=prompt)), cast(TargetSource, source),
                      cast(Tokenizer, None), weight, n_targets)  # fmt: skip


TASKS = [task("p1", "t1"), task("p2", "t2", 3)]


def make(folder: Path, scope: str = "record") -> AdapterManifest:
    folder.mkdir(parents=True)
    save_file({"a": np.zeros(3, dtype=np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    figures = {"kl": 2.0, "leak": 1.5, "shape": 0.5, "cross_entropy": 4.3, "optimum": 2.3}
    manifest = AdapterManifest.model_validate(
        {
            "name": folder.name,
            "scope": scope,
            "model": "nano",
            "model_fingerprint": "m1",
            "rank": 4,
            "alpha": 8,
            "modules": ["q_proj"],
            "prompts": [
                {
                    "label": f"Die {i}",
                    "text": "Roll.\n{Number}",
                    "prompt": f"p{i}",
                    "schema_fingerprint": "s1",
                    "targets": f"t{i}",
                    "fields": ["value"],
                    "n_targets": 210,
                    "share": share,
                    "before": figures,
                    "after": figures | {"kl": None},
                }
                for i, share in ((1, 0.25), (2, 0.75))
            ],
            "tuning_fingerprint": "f1",
            "settings": TuningConfig().settings(),
            "result": {"steps": 3, "stopped_by": "kl"},
            "weights_sha256": weights_sha256(folder),
            "synthgen": "0.1.0",
            "libraries": {},
        }
    )
    save_manifest(folder, manifest)
    return manifest


def test_a_manifest_reads_back_and_the_card_shows_its_figures(tmp_path: Path) -> None:
    manifest = make(tmp_path / "bios")
    assert load_manifest(tmp_path / "bios") == manifest
    card = (tmp_path / "bios" / "README.md").read_text()
    assert "| Die 1 | 0.25 | before | 2.0000 | 1.5000 | 0.5000 | 4.3000 | 2.3000 |" in card
    assert "| Die 2 | 0.75 | after | – |" in card
    assert "> Roll.\n> {Number}" in card


def test_an_adapter_that_fits_is_let_through(tmp_path: Path) -> None:
    manifest = make(tmp_path / "bios")
    verify(manifest, "m1", "p2", rank_max=4)
    verify(manifest, "m1")
    verify(make(tmp_path / "six-tasks", "any"), "m1", "a prompt it never saw")


@pytest.mark.parametrize(
    ("model", "prompt", "rank_max", "message"),
    [
        ("m2", None, None, r"'bios': made for base model 'nano' \(m1\), this run's model is m2"),
        ("m1", "p3", None, r"tuned on Die 1 \(p1\), Die 2 \(p2\), this run's prompt is p3; .*`scope: any`"),
        ("m1", "p1", 2, r"rank 4, the engine takes at most 2"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, model: str, prompt: str | None, rank_max: int | None, message: str
) -> None:
    with pytest.raises(AdapterError, match=message) as caught:
        verify(make(tmp_path / "bios"), model, prompt, rank_max)
    assert "\n" not in str(caught.value)


def test_changed_or_unsafe_weights_are_refused(tmp_path: Path) -> None:
    make(folder := tmp_path / "bios")
    save_file({"a": np.ones(3, dtype=np.float32)}, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="the weights were changed"):
        load_manifest(folder)
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin; only safetensors"):
        load_manifest(folder)


def test_a_folder_that_is_none_or_lies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no manifest\.json"):
        load_manifest(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AdapterError, match=r"manifest\.json cannot be read"):
        load_manifest(tmp_path / "file")
    make(folder := tmp_path / "bios")
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(AdapterError, match=r"adapter_config\.json: found list, expected keys"):
        load_manifest(folder)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 64, "lora_alpha": 8}))
    with pytest.raises(AdapterError, match=r"adapter_config\.json: r is 64, the manifest says 4"):
        load_manifest(folder)
    text = (folder / "manifest.json").read_text().replace('"rank": 4', '"rank": "wide"')
    (folder / "manifest.json").write_text(text)
    with pytest.raises(AdapterError, match=r"manifest\.json: rank: "):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["../bios", "a/b", "", "..", "base", "a b", "a\n"])
def test_names_that_are_no_safe_folder_are_refused(name: str) -> None:
    with pytest.raises(AdapterError, match="adapter name"):
        check_name(name)


def test_the_fingerprint_follows_what_decides_and_not_the_pace() -> None:
    config = TuningConfig()
    same = TuningConfig(pack_nodes=64, device="cpu", bf16=True)
    other = TuningConfig(lr=1e-3)
    first = tuning_fingerprint("m", TASKS, config)
    assert first == tuning_fingerprint("m", TASKS, same)
    assert first == tuning_fingerprint("m", [task("p1", "t1", 2), task("p2", "t2", 6)], same)
    others = [
        tuning_fingerprint("m2", TASKS, config),
        tuning_fingerprint("m", TASKS[:1], config),
        tuning_fingerprint("m", TASKS[::-1], config),
        tuning_fingerprint("m", [TASKS[0], task("p2", "t2")], config),
        tuning_fingerprint("m", [TASKS[0], task("p2", "t2", 3, n_targets=9)], config),
        tuning_fingerprint("m", [TASKS[0], task("p2", "t3", 3)], config),
        tuning_fingerprint("m", TASKS, other),
    ]
    assert len({first, *others}) == 8


def test_differences_say_what_keeps_an_adapter_from_reuse(tmp_path: Path) -> None:
    manifest = make(tmp_path / "bios")
    assert differences(manifest, TuningConfig(), "m1", TASKS) == []
    found = differences(manifest, TuningConfig(lr=0.5), "m2", [TASKS[0], task("p2", "t3", 1, 9)])
    assert found == [
        "model: m1 → m2",
        "prompt 1, share: 0.25 → 0.5",
        "prompt 2, n_targets: 210 → 9",
        "prompt 2, share: 0.75 → 0.5",
        "prompt 2, targets: t2 → t3",
        "lr: 0.002 → 0.5",
    ]
    assert "prompts: 2 → 1" in differences(manifest, TuningConfig(), "m1", TASKS[:1])


def test_an_adapter_of_another_algorithm_is_not_reused(tmp_path: Path) -> None:
    manifest = make(tmp_path / "bios")
    old = manifest.model_copy(update={"settings": manifest.settings | {"algorithm": 0}})
    assert differences(old, TuningConfig(), "m1", TASKS) == [f"algorithm: 0 → {ALGORITHM}"]


def test_prompts_of_one_record_are_told_apart_by_a_number() -> None:
    assert labels_of(TASKS) == ["Die 1", "Die 2"]
    assert labels_of(TASKS[:1]) == ["Die"]


def test_gamma_and_fresh_tuples_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match=r"stop\.gamma needs a fixed target list"):
        TuningConfig(gamma=0.2, fresh=True)
    assert not TuningConfig(gamma=0.2).is_fresh(True)
    assert TuningConfig().is_fresh(True)
    assert not TuningConfig().is_fresh(False)
