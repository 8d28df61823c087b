"""YAML → Recipe: what to make, with which adapters, how to sample, where to put it, and when to refuse it.

The first stage of the flow. `Recipe.from_yaml` finds every problem at once (recipe_reading.py) and raises one
RecipeError with a line for each; a Recipe that exists has its paths resolved against the YAML's folder.
Light: stdlib, Pydantic and PyYAML; tuning and engines are imported when `run` is called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from synthgen.tuning_config import Anchor, Schedule, TuningConfig

if TYPE_CHECKING:
    from synthgen.engines.protocol import Engine
    from synthgen.progress import Progress
    from synthgen.run import Run
    from synthgen.schema import RecordSchema
    from synthgen.targets import TargetSource
    from synthgen.validation import Record

BASE = "base"  # the untuned model's name in a mix
TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Distribution = dict[str, Positive]  # value as it is written in the answer → weight


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PromptSpec(_Spec):
    """What replaces the usual prompt: another instruction line, or the whole message word for word."""

    instruction: str | None = Field(default=None, min_length=1)
    text: str | None = Field(default=None, min_length=1)


class StopSpec(_Spec):
    """When tuning ends early; all are optional, the first to hold wins."""

    gamma: Annotated[float, Field(ge=0)] | None = (
        None  # a pass's loss ≤ (1 + gamma) · optimum; fixed lists only
    )
    kl: Positive | None = None  # KL of the declared fields, nats
    steps: Count | None = None  # the same as the adapter's `steps`
    patience: Count | None = None  # looks at held-out tuples without a gain


class AdapterSpec(_Spec):
    """One adapter: tuned on `targets`, or taken ready-made with `use`."""

    targets: str | dict[str, object] | None = None  # function, table file, or marginals by field
    fields: list[str] | None = Field(
        default=None, min_length=1
    )  # leading fields; None: see `Recipe.fields_of`
    closed: dict[str, Distribution] = {}  # declared distributions of fields that a function or table fills
    n_targets: Count = 210
    fresh: bool | None = None
    rank: Count = 4
    alpha: Positive | None = None
    lr: Positive | None = None
    schedule: Schedule | None = None
    steps: Count | None = None
    stop: StopSpec = StopSpec()
    anchor: Anchor | None = None
    anchor_weight: Annotated[float, Field(ge=0)] | None = None
    use: str | None = None  # folder of a tuned adapter; then nothing else is set

    def tuning_config(self, seed: int = 0) -> TuningConfig:
        """The tuner's settings: what the recipe says, the tuner's defaults elsewhere."""
        said = {
            "rank": self.rank,
            "alpha": self.alpha,
            "lr": self.lr,
            "schedule": self.schedule,
            "steps": self.steps if self.steps is not None else self.stop.steps,
            "n_targets": self.n_targets,
            "fresh": self.fresh,
            "gamma": self.stop.gamma,
            "kl": self.stop.kl,
            "patience": self.stop.patience,
            "anchor": self.anchor,
            "anchor_weight": self.anchor_weight,
            "seed": seed,
        }
        return TuningConfig(**{key: value for key, value in said.items() if value is not None})  # type: ignore[arg-type]


class GenerateSpec(_Spec):
    """How records are drawn. Every attempt of a record uses the adapter that `mix` gave it."""

    mix: Distribution = {}  # share of records per adapter; `base` is the untuned model
    engine: Literal["auto", "vllm", "transformers", "fake"] = "auto"
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0  # 0: no limit
    max_tokens: Count = 160
    max_attempts: Count = 10  # per record
    adapter_column: bool = True


class ExportSpec(_Spec):
    """Where the dataset goes."""

    dir: Path | None = Field(default=None, strict=False)  # None: data/<recipe's name> beside the recipe
    format: Literal["parquet"] = "parquet"
    rows_per_shard: Count = 50_000


class Recipe(_Spec):
    """Everything a run is told. Frozen; `model_copy(update=…)` gives a changed one."""

    schema_ref: str = Field(alias="schema")  # "file.py:Class" or "package.module:Class"
    model: str = Field(default="nano", min_length=1)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    prompt: PromptSpec | None = None
    adapters: dict[str, AdapterSpec] = {}
    tuned_dir: Path | None = Field(default=None, strict=False)  # keeps tuned adapters; None: ./adapters
    generate: GenerateSpec = GenerateSpec()
    export: ExportSpec = ExportSpec()
    gates: dict[str, float | dict[str, float]] = {}  # {field: {tv, js, kl: most; entropy, coverage: least}}

    _path: Path | None = PrivateAttr(default=None)
    _source: str = PrivateAttr(default="")
    _schema: tuple[str, RecordSchema] | None = PrivateAttr(default=None)  # with what it was read from
    _targets: dict[str, tuple[AdapterSpec, TargetSource]] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Recipe:
        """Read and check a recipe.

        Raises:
            RecipeError: with every problem, one line each: file, line, key, what was found, what to write.
        """
        from synthgen.recipe_reading import read_recipe

        return read_recipe(Path(path))

    @classmethod
    def from_mapping(cls, content: Mapping[str, object], base: str | Path = ".") -> Recipe:
        """The same from plain Python values; paths are taken from the folder `base`.

        Raises:
            RecipeError: with every problem, one line each.
        """
        from synthgen.recipe_reading import check_mapping

        return check_mapping(content, Path(base))

    @property
    def path(self) -> Path | None:
        """The YAML file; None if the recipe was made in Python."""
        return self._path

    @property
    def source(self) -> str:
        """The YAML text as the user wrote it."""
        return self._source

    @property
    def base(self) -> Path:
        """The folder that paths are relative to."""
        return self._path.parent if self._path else Path()

    @property
    def name(self) -> str:
        """The recipe's short name: the file's stem."""
        return self._path.stem if self._path else "recipe"

    @property
    def out_dir(self) -> Path:
        """Where the dataset goes unless the caller says otherwise."""
        return self.export.dir if self.export.dir is not None else self.base / "data" / self.name

    @property
    def adapters_dir(self) -> Path:
        """Where adapters that this recipe tunes are kept, one folder each, to be reused."""
        return self.tuned_dir if self.tuned_dir is not None else self.base / "adapters"

    @property
    def mix(self) -> tuple[tuple[str, float], ...]:
        """(adapter name, share) in the recipe's order, shares adding up to 1."""
        mix = self.generate.mix or dict.fromkeys(list(self.adapters)[:1] or [BASE], 1.0)
        total = sum(mix.values())
        return tuple((name, weight / total) for name, weight in mix.items())

    def record_schema(self) -> RecordSchema:
        """The record that the recipe names, read from the user's Pydantic model once.

        Raises:
            RecipeError: it cannot be loaded, or has a field of an unsupported type.
        """
        from synthgen.schema import RecordSchema, load_model

        if self._schema is None or self._schema[0] != self.schema_ref:
            self._schema = self.schema_ref, RecordSchema.from_model(load_model(self.schema_ref, self.base))
        return self._schema[1]

    def fields_of(self, adapter: str) -> tuple[str, ...] | None:
        """The leading fields an adapter is tuned on, if the recipe names them; else its targets say."""
        fields = self.adapters[adapter].fields
        return None if fields is None else tuple(fields)

    def targets_of(self, adapter: str) -> TargetSource:
        """The targets of an adapter that this recipe tunes, read once.

        Raises:
            RecipeError: they cannot be read, or do not fit the schema.
        """
        from synthgen.targets import load_targets

        spec, schema = self.adapters[adapter], self.record_schema()
        assert spec.targets is not None, adapter
        known = self._targets.get(adapter)
        if known is None or known[0] is not spec or known[1].schema is not schema:
            source = load_targets(spec.targets, schema, self.fields_of(adapter), spec.closed, self.base)
            self._targets[adapter] = known = (spec, source)
        return known[1]

    def reference(self) -> dict[str, dict[str, float]]:
        """The distribution that the recipe declares, by field and derived field: value as text → probability.

        With several adapters it is their mixture, of the fields that all of them declare.
        """
        import numpy as np

        parts: list[tuple[float, dict[str, dict[str, float]]]] = []
        for name, share in self.mix:
            if name not in self.adapters or self.adapters[name].targets is None:
                return {}
            parts.append((share, self.targets_of(name).reference(np.random.default_rng(self.seed))))
        shared = [field for field in parts[0][1] if all(field in reference for _, reference in parts)]
        mixture: dict[str, dict[str, float]] = {field: {} for field in shared}
        for share, reference in parts:
            for field in shared:
                for value, probability in reference[field].items():
                    mixture[field][value] = mixture[field].get(value, 0.0) + share * probability
        return mixture

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when the data would: schema and its code, model, targets, sampling.

        Left out: where the data goes, the gates, the engine, and how often a record is tried.
        """
        spec = self.model_dump(
            mode="json", exclude={"schema_ref", "gates", "export", "adapters", "tuned_dir"}
        )
        for key in ("engine", "max_attempts"):
            del spec["generate"][key]
        spec["generate"]["mix"] = self.mix
        spec["model"] = Path(self.model).name if Path(self.model).is_dir() else self.model
        spec["schema"] = [self.record_schema().fingerprint, _content(self.schema_ref)]
        spec["rows_per_shard"] = self.export.rows_per_shard
        spec["adapters"] = {name: _adapter_facts(adapter) for name, adapter in self.adapters.items()}
        text = json.dumps(spec, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(
        self,
        n: int,
        out: str | Path | None = None,
        *,
        engine: str | Engine | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Run:
        """Tune what is not tuned yet, generate exactly `n` accepted records, write and report them.

        Running the same call again goes on where it stopped, or does nothing.

        Raises:
            SynthgenError: see errors.py; GateError leaves the data on disk.
        """
        from synthgen.run import run_recipe

        folder = Path(out) if out is not None else self.out_dir
        return run_recipe(self, n, folder, engine=engine, overwrite=overwrite, progress=progress)

    def batches(
        self, n: int, batch_size: int = 1000, *, engine: str | Engine | None = None
    ) -> Iterator[list[Record]]:
        """Exactly `n` accepted records in lists of up to `batch_size`, as they finish; writes no file."""
        from synthgen.run import iterate

        return iterate(self, n, batch_size, engine=engine)


def _adapter_facts(spec: AdapterSpec) -> dict[str, object]:
    """What decides an adapter, with files as their content's hash instead of their place."""
    facts: dict[str, object] = spec.model_dump(mode="json", exclude={"targets", "use"})
    facts["targets"] = _content(spec.targets) if isinstance(spec.targets, str) else spec.targets
    facts["use"] = None if spec.use is None else _content(str(Path(spec.use) / "manifest.json"))
    return facts


def _content(reference: str) -> list[str]:
    """A reference without its place: the hash of its file if it has one, and the name after the colon."""
    file, name = split_reference(reference)
    path = Path(file)
    if not path.is_file():
        return [reference]
    with path.open("rb") as stream:
        return [hashlib.file_digest(stream, "sha256").hexdigest(), name]


def split_reference(reference: str) -> tuple[str, str]:
    """`file.py:Name` → ("file.py", "Name"); a reference without a name is all file."""
    file, colon, name = reference.rpartition(":")
    return (file, name) if colon and not {"/", "\\"} & set(name) else (reference, "")
