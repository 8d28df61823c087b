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
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PrivateAttr, Tag

from synthgen.elicit.config import HardConfig, Position, SoftConfig
from synthgen.tuning_config import Anchor, Schedule, Scope, TuningConfig

if TYPE_CHECKING:
    from synthgen.engines.protocol import Engine
    from synthgen.progress import Progress
    from synthgen.run import Run
    from synthgen.runners import RayCluster
    from synthgen.schema import RecordSchema
    from synthgen.targets import Reference, TargetSource
    from synthgen.validation import Record

BASE = "base"  # the untuned model's name in a mix
TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Distribution = dict[str, Positive]  # value as it is written in the answer → weight
Balance = Literal["none", "prefill", "in-prompt", "quota", "exact"]
Asking = Literal["plain", "varied", "verbalised", "avoid", "seed-string"]
Method = Literal["lora", "sft", "soft-prompt", "hard-prompt"]
UNLIMITED = 1_000_000_000  # steps of a run that something else ends
PROMPT_KEYS = ("n_virtual", "position", "n_tokens", "template", "readable", "restarts")  # of an adapter


FORMS = ("weights", "table", "all", "by field")  # how something is declared; no keys of the user's


def _form(declared: object) -> str:
    is_table = isinstance(declared, dict) and isinstance(declared.get("given"), str)
    return FORMS[is_table]


Table = dict[str, object]  # {given: gender, Female: {Nurse: 3}, Male: {Nurse: 1}}; see conditionals.py
Declared = Annotated[
    Annotated[Distribution, Tag(FORMS[0])] | Annotated[Table, Tag(FORMS[1])], Discriminator(_form)
]
Tolerance = Annotated[  # total variation
    Annotated[Share, Tag(FORMS[2])] | Annotated[dict[str, Share], Tag(FORMS[3])],
    Discriminator(lambda written: FORMS[2 + isinstance(written, dict)]),
]


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
    tolerance: Tolerance | None = None  # exact TV of every declared field, or by field; goes on until reached
    tokens: Count | None = None  # evaluated by the steps
    seconds: Positive | None = None  # that the steps have taken


class TaskSpec(_Spec):
    """One of the prompts that an adapter is tuned on, and the targets of its answers."""

    schema_ref: str | None = Field(default=None, alias="schema", min_length=1)  # None: the recipe's own
    prompt: PromptSpec | None = None  # None: the recipe's own where the schema is, else the usual one
    targets: str | dict[str, object] | None = None  # as an adapter's own, like the next three
    fields: list[str] | None = Field(default=None, min_length=1)
    closed: dict[str, Declared] = {}
    n_targets: Count | None = None  # None: the adapter's
    weight: Positive = 1.0  # of its loss beside the other prompts'


class TargetSpec(_Spec):
    """The distribution that a recipe declares for its own record, whoever makes it; forms as an adapter's."""

    targets: str | dict[str, object] | None = None  # as an adapter's; must be there
    fields: list[str] | None = Field(default=None, min_length=1)  # any of the schema's
    closed: dict[str, Declared] = {}


class AdapterSpec(_Spec):
    """One adapter: tuned on `targets` or on several `prompts`, or taken ready-made with `use`."""

    method: Method = "lora"
    after: str | None = Field(default=None, min_length=1)  # an adapter above it, whose weights it starts from
    targets: str | dict[str, object] | None = None  # function, table file, or marginals by field
    fields: list[str] | None = Field(
        default=None, min_length=1
    )  # leading fields; None: see `Recipe.fields_of`
    closed: dict[str, Declared] = {}  # declared distributions of fields that a function or table fills
    prompts: list[TaskSpec] | None = Field(default=None, min_length=1)  # tuned together; instead of `targets`
    prompts_per_step: Count | None = None  # None: they take turns
    scope: Scope = "record"  # any: may serve prompts that it was not tuned on
    n_targets: Count = 210
    batch_size: Count | None = None  # of sft: answers sampled for a step
    fresh: bool | None = None
    rank: Count = 4
    alpha: Positive | None = None
    lr: Positive | None = None
    schedule: Schedule | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    steps: Count | None = None
    stop: StopSpec = StopSpec()
    anchor: Anchor | None = None
    anchor_weight: Annotated[float, Field(ge=0)] | None = None
    n_virtual: Count | None = None  # of a soft prompt: trained vectors; None, as below: see elicit/config.py
    position: Position | None = None  # of a soft prompt
    n_tokens: Count | None = None  # of a hard prompt: tokens that are searched
    template: str | None = Field(default=None, min_length=1)  # of a hard prompt
    readable: bool | None = None  # of a hard prompt
    restarts: Count | None = None  # of either
    use: str | None = None  # folder of a tuned adapter; then nothing else is set

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """The prompts that it is tuned on: `prompts`, or the recipe's own with `targets`; none if ready-made."""
        if self.prompts is not None:
            return tuple(self.prompts)
        if self.targets is None:
            return ()
        return (TaskSpec(targets=self.targets, fields=self.fields, closed=self.closed),)

    def tuning_config(self, seed: int = 0) -> TuningConfig:
        """The tuner's or the search's settings: what the recipe says, their own defaults elsewhere."""
        said = {
            "rank": self.rank,
            "alpha": self.alpha,
            "lr": self.lr,
            "schedule": self.schedule,
            "warmup_steps": self.warmup_steps,
            "steps": self._steps,
            "prompts_per_step": self.prompts_per_step,
            "n_targets": self.n_targets if self._says_n_targets else None,
            "fresh": self.fresh,
            "gamma": self.stop.gamma,
            "kl": self.stop.kl,
            "patience": self.stop.patience,
            "tolerance": self.stop.tolerance,
            "tokens": self.stop.tokens,
            "seconds": self.stop.seconds,
            "anchor": "none" if self.method == "sft" else self.anchor,
            "anchor_weight": self.anchor_weight,
            "seed": seed,
        }
        said |= {key: getattr(self, key) for key in PROMPT_KEYS}
        settings: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
        if self.method == "sft":
            settings["method"], settings["batch_size"] = "sft", self.batch_size
        if self.method == "soft-prompt":
            return SoftConfig(**settings)
        return HardConfig(**settings) if self.method == "hard-prompt" else TuningConfig(**settings)

    @property
    def _steps(self) -> int | None:
        """Where tokens or seconds say how long, steps do so only if they are written down."""
        steps = self.steps if self.steps is not None else self.stop.steps
        has_budget = self.stop.tokens is not None or self.stop.seconds is not None
        return UNLIMITED if steps is None and has_budget else steps

    @property
    def _says_n_targets(self) -> bool:
        """A search compares prompts on fewer targets, unless the recipe says how many."""
        return self.method != "hard-prompt" or "n_targets" in self.model_fields_set


class GenerateSpec(_Spec):
    """How records are drawn. Every attempt of a record uses the adapter that `mix` gave it."""

    mix: Distribution = {}  # share of records per adapter; `base` is the untuned model
    engine: Literal["auto", "vllm", "transformers", "fake"] = "auto"
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0  # 0: no limit
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0  # least probability beside the likeliest token's; 0: off
    typical_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # mass of the locally typical tokens; 1: off
    balance: Balance = "none"  # how records are made to follow the declared distribution, beside tuning
    balance_fields: list[str] | None = Field(default=None, min_length=1)  # None: all that the target has
    ask: Asking = "plain"  # how the prompt asks for variety
    max_tokens: Count = 160  # per record
    max_attempts: Count = 10  # per record
    stall_s: Positive = 900.0  # an engine that finishes nothing for so long is replaced by a fresh one
    adapter_column: bool = True

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys that change nothing as they are, left out of fingerprints so that older ones stand."""
        remedies = ("min_p", "typical_p", "balance", "balance_fields", "ask")
        return tuple(key for key in remedies if getattr(self, key) == GenerateSpec.model_fields[key].default)


class UniqueSpec(_Spec):
    """A rule: no two records are equal in these fields together, or nearly so."""

    fields: list[str] | None = Field(default=None, min_length=1)  # declared or derived; None: all declared
    near: Annotated[float, Field(ge=0.5, lt=1)] | None = None  # Jaccard similarity from which texts are alike

    @property
    def label(self) -> str:
        """How reasons and messages name the rule's fields."""
        return "+".join(self.fields) if self.fields else "record"


def _unique_rules(written: object) -> object:
    """`true`, `[name]` and `{fields: …, near: …}` are short for a list of rules."""
    if isinstance(written, bool):
        return ({},) if written else ()
    if isinstance(written, dict | UniqueSpec):
        return (written,)
    if isinstance(written, list | tuple) and written:
        if all(isinstance(item, str) for item in written):
            return ({"fields": list(written)},)
        if all(isinstance(item, dict | UniqueSpec) for item in written):
            return tuple(written)
    return written


def _folder(written: object) -> object:
    """A folder may be written as file://…; an address elsewhere is refused with what to do instead."""
    from synthgen.publish import local_folder

    return local_folder(written) if isinstance(written, str) else written


class ExportSpec(_Spec):
    """Where the dataset goes."""

    dir: Annotated[Path | None, BeforeValidator(_folder)] = Field(
        default=None, strict=False
    )  # None: data/<recipe's name> beside the recipe
    format: Literal["parquet"] = "parquet"
    rows_per_shard: Count = 50_000


class Recipe(_Spec):
    """Everything a run is told. Frozen; `model_copy(update=…)` gives a changed one."""

    schema_ref: str = Field(alias="schema")  # "file.py:Class" or "package.module:Class"
    model: str = Field(default="nano", min_length=1)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    prompt: PromptSpec | None = None
    target: TargetSpec | None = None  # None: what the adapters declare
    adapters: dict[str, AdapterSpec] = {}
    tuned_dir: Path | None = Field(default=None, strict=False)  # keeps tuned adapters; None: ./adapters
    generate: GenerateSpec = GenerateSpec()
    export: ExportSpec = ExportSpec()
    unique: Annotated[tuple[UniqueSpec, ...], BeforeValidator(_unique_rules)] = ()
    gates: dict[str, float | dict[str, float]] = {}  # {field: {tv, js, kl: most; entropy, coverage: least}}

    _path: Path | None = PrivateAttr(default=None)
    _source: str = PrivateAttr(default="")
    _schema: tuple[str, RecordSchema] | None = PrivateAttr(default=None)  # with what it was read from
    _targets: dict[tuple[str, int, str], tuple[AdapterSpec | TargetSpec, TargetSource]] = PrivateAttr(
        default_factory=dict
    )

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

    def targets_of(self, adapter: str, task: int = 0) -> TargetSource:
        """The targets of one of the prompts that an adapter is tuned on here, read once.

        Raises:
            RecipeError: they cannot be read, or do not fit the schema.
        """
        from synthgen.recipe_tasks import read_targets

        spec, key = self.adapters[adapter], (adapter, task, self.schema_ref)
        if key not in self._targets or self._targets[key][0] is not spec:
            self._targets[key] = spec, read_targets(self, spec.tasks[task])
        return self._targets[key][1]

    def declared(self) -> TargetSource | None:
        """The one source of tuples for the recipe's own record: `target`, else its adapters' targets; read once.

        Raises:
            RecipeError: it cannot be read, does not fit the schema, or adapters declare different ones.
        """
        from synthgen.recipe_tasks import declared_spec, read_target

        spec, key = declared_spec(self), ("", 0, self.schema_ref)
        if spec is None:
            return None
        if key not in self._targets or self._targets[key][0] != spec:
            self._targets[key] = spec, read_target(spec, self.record_schema(), self.base)
        return self._targets[key][1]

    def reference(self) -> Reference:
        """The distribution that the recipe declares for its own record, by field and derived field.

        It is `target`'s, or what `generate.balance` draws from. Else, with several adapters in the mix, their
        mixture, of the fields that all of them declare: nothing, if one of them is the untuned model,
        ready-made, or tuned on other prompts only.
        """
        from synthgen.recipe_tasks import mixed_reference

        return mixed_reference(self)

    @property
    def facts(self) -> dict[str, object]:
        """All that decides the data, as JSON values: schema and its code, model, targets, sampling; files by hash.

        Left out: where the data goes, the gates, the engine, its time limit, and how often a record is tried.
        """
        spec = self.model_dump(
            mode="json", exclude={"schema_ref", "gates", "export", "adapters", "tuned_dir"}
        )
        for key in ("engine", "max_attempts", "stall_s", *self.generate.unused):
            del spec["generate"][key]
        spec["generate"]["mix"] = self.mix
        spec["model"] = Path(self.model).name if Path(self.model).is_dir() else self.model
        spec["schema"] = [self.record_schema().fingerprint, _content(self.schema_ref)]
        spec["rows_per_shard"] = self.export.rows_per_shard
        if not self.unique:
            del spec["unique"]  # so that a recipe without it keeps the fingerprint of its datasets
        if self.target is None:
            del spec["target"]
        elif isinstance(self.target.targets, str):
            spec["target"]["targets"] = _content(self.target.targets)
        spec["adapters"] = {name: _adapter_facts(adapter) for name, adapter in self.adapters.items()}
        return spec

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when the data would: a hash of `facts`."""
        text = json.dumps(self.facts, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(
        self,
        n: int,
        out: str | Path | None = None,
        *,
        engine: str | Engine | None = None,
        overwrite: bool = False,
        extend: bool = False,
        progress: Progress | None = None,
        runner: RayCluster | None = None,
    ) -> Run:
        """Tune what is not tuned yet, generate exactly `n` accepted records, write and report them.

        Running the same call again goes on where it stopped, or does nothing. `extend` adds records to a
        finished dataset of fewer; what it holds stays as it is, byte for byte. With a `runner`, workers on a Ray
        cluster make the records, the same ones as here.

        Raises:
            SynthgenError: see errors.py; GateError leaves the data on disk.
        """
        from synthgen.run import run_recipe

        folder = Path(out) if out is not None else self.out_dir
        ways = {"overwrite": overwrite, "extend": extend}
        return run_recipe(self, n, folder, engine=engine, **ways, progress=progress, runner=runner)

    def batches(
        self, n: int, batch_size: int = 1000, *, engine: str | Engine | None = None
    ) -> Iterator[list[Record]]:
        """Exactly `n` accepted records in lists of up to `batch_size`, as they finish; writes no file."""
        from synthgen.run import iterate

        return iterate(self, n, batch_size, engine=engine)


def _adapter_facts(spec: AdapterSpec) -> dict[str, object]:
    """What decides an adapter, with files as their content's hash instead of their place."""
    alone = {"targets", "fields", "closed", "prompts", "scope", "use"}
    facts: dict[str, object] = spec.model_dump(mode="json", exclude=alone)
    if spec.method == "lora":
        del facts["method"]
    for key in ("after", "warmup_steps", "batch_size", *PROMPT_KEYS):
        if facts[key] is None:  # so that a recipe without them keeps its fingerprint
            del facts[key]
    stop = facts["stop"]
    assert isinstance(stop, dict)
    for key in ("tolerance", "tokens", "seconds"):
        if stop[key] is None:
            del stop[key]
    facts["tasks"] = [_task_facts(task) for task in spec.tasks]
    facts["use"] = None if spec.use is None else _content(str(Path(spec.use) / "manifest.json"))
    return facts


def _task_facts(task: TaskSpec) -> dict[str, object]:
    facts: dict[str, object] = task.model_dump(mode="json", exclude={"schema_ref", "targets"})
    facts["schema"] = None if task.schema_ref is None else _content(task.schema_ref)
    facts["targets"] = _content(task.targets) if isinstance(task.targets, str) else task.targets
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
