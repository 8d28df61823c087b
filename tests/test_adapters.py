"""Adapter folders: what is written reads back, and what does not fit is refused with the difference named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from synthgen.adapters import (
    AdapterManifest,
    check_name,
    differences,
    load_manifest,
    save_manifest,
    tuning_fingerprint,
    verify,
    weights_sha256,
)
from synthgen.errors import AdapterError, RecipeError
from synthgen.tuning_config import TuningConfig


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
            "prompt_fingerprints": ["p1", "p2"],
            "schema_fingerprints": ["s1", "s1"],
            "target_fingerprints": ["t1", "t2"],
            "tuning_fingerprint": "f1",
            "settings": TuningConfig().settings(),
            "result": {
                "before": [figures],
                "after": [figures | {"kl": None}],
                "steps": 3,
                "stopped_by": "kl",
            },
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
    assert "| 1 | before | 2.0000 | 1.5000 | 0.5000 | 4.3000 | 2.3000 |" in card
    assert "| 1 | after | – |" in card


def test_an_adapter_that_fits_is_let_through(tmp_path: Path) -> None:
    manifest = make(tmp_path / "bios")
    verify(manifest, "m1", "p2", rank_max=4)
    verify(manifest, "m1")
    verify(make(tmp_path / "six-tasks", "any"), "m1", "a prompt it never saw")


@pytest.mark.parametrize(
    ("model", "prompt", "rank_max", "message"),
    [
        ("m2", None, None, r"'bios': made for base model 'nano' \(m1\), this run's model is m2"),
        ("m1", "p3", None, r"tuned on prompt p1, p2, this run's prompt is p3"),
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
    make(folder := tmp_path / "bios")
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
    first = tuning_fingerprint("m", ["p"], ["t"], config)
    assert first == tuning_fingerprint("m", ["p"], ["t"], same)
    assert (
        len(
            {
                first,
                tuning_fingerprint("m", ["p"], ["t2"], config),
                tuning_fingerprint("m", ["p"], ["t"], other),
            }
        )
        == 3
    )


def test_differences_say_what_keeps_an_adapter_from_reuse(tmp_path: Path) -> None:
    manifest = make(tmp_path / "bios")
    assert (
        differences(manifest, TuningConfig(), model_fingerprint="m1", prompt_fingerprints=["p1", "p2"]) == []
    )
    found = differences(
        manifest, TuningConfig(lr=0.5), model_fingerprint="m1", target_fingerprints=["t1", "t3"]
    )
    assert found == ["target_fingerprints: t1, t2 → t1, t3", "lr: 0.002 → 0.5"]


def test_gamma_and_fresh_tuples_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match=r"stop\.gamma needs a fixed target list"):
        TuningConfig(gamma=0.2, fresh=True)
    assert not TuningConfig(gamma=0.2).is_fresh(True)
    assert TuningConfig().is_fresh(True)
    assert not TuningConfig().is_fresh(False)
