"""The Ray runner on this machine, with engines that cost nothing: what it makes is what the local runner makes."""

import gc
import json
import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from synthgen import Recipe
from synthgen.cli import main
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Sampling
from synthgen.engines.serving import Serving
from synthgen.errors import AdapterError, EngineError, RecipeError
from synthgen.files import sha256
from synthgen.job import prepare
from synthgen.models import model_fingerprint
from synthgen.plan import Plan
from synthgen.progress import SilentProgress
from synthgen.run import run_recipe
from synthgen.runners import RayCluster
from synthgen.runners.local import Work, owed
from synthgen.runners.local import work_off as work_off_here
from synthgen.sink import Sink
from tests.runners import planted
from tests.runners.planted import Planted

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")  # Ray copies its own settings

ROOT = Path(__file__).parent.parent.parent
N = 500
PLAN = Plan(N, 3, (("low", 0.4), ("base", 0.6)), 120)
TWO = RayCluster(workers=2)


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """One Ray for the whole module: it takes seconds to start."""
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    ray.cloudpickle.register_pickle_by_value(planted)  # workers need not see the tests
    from synthgen.runners.ray_cluster import start

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its processes to the collector
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        start("local", {"num_cpus": 2, "num_gpus": 0, **quiet})
        gc.collect()
        yield
        ray.shutdown()
        gc.collect()


def make(**changes: object) -> Recipe:
    content: dict[str, object] = {
        "schema": "schemas/die.py:Die",
        "seed": 3,
        "generate": {"mix": {"base": 1.0}, "engine": "fake"},
        "export": {"rows_per_shard": 120},
    }
    return Recipe.from_mapping(content | changes, base=ROOT)


class Making:
    """One plan of two adapters, made by either runner, in whole or in parts."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.job = prepare(make())
        self.adapter = out.parent / "adapter"
        self.adapter.mkdir(exist_ok=True)
        (self.adapter / "adapter_config.json").write_text("{}")
        self.notes: list[str] = []

    def serving(self, **faults: Any) -> Serving:
        adapters = {"low": self.adapter}
        return Planted("fake", self.job.model, adapters, Sampling(), 3, self.job.prompt.ids, **faults)

    def sink(self) -> Sink:
        identity = {"schema": self.job.schema.fingerprint, "model": model_fingerprint(self.job.model)}
        return Sink(self.out, PLAN, self.job.schema, identity)

    def work(self, sink: Sink) -> Work:
        return Work(sink.plan, self.job.schema, self.job.prompt.ids, 10)

    def here(self) -> None:
        with self.sink() as sink:
            engine = self.serving().open(SilentProgress())
            work_off_here(self.work(sink), engine, sink)

    def on_ray(self, stopping: Callable[[], bool] = lambda: False, workers: int = 2, **faults: Any) -> int:
        from synthgen.runners import ray

        progress = SilentProgress()
        progress.note = self.notes.append  # type: ignore[assignment, method-assign]
        source = ray.Source("schemas/die.py:Die", ROOT, "nano", self.job.prompt)
        with self.sink() as sink:
            ways = (self.serving(**faults), sink, 50, RayCluster(workers), progress, stopping)
            return ray.work_off(self.work(sink), source, *ways).n_new

    def shards(self) -> dict[str, Any]:
        entries: dict[str, Any] = json.loads((self.out / "_manifest.json").read_text())["shards"]
        return {
            number: entry | {"counts": entry["counts"]["attempted"]}
            for number, entry in sorted(entries.items())
        }

    def files(self) -> dict[str, str]:
        return {path.name: sha256(path) for path in sorted(self.out.glob("part-*.parquet"))}

    def rejects(self) -> pl.DataFrame:
        return pl.read_parquet(self.out / "rejects" / "*.parquet").sort("_id", "_attempt")


@pytest.fixture
def local(tmp_path: Path) -> Making:
    (tmp_path / "local").mkdir()
    making = Making(tmp_path / "local" / "data")
    making.here()
    return making


@pytest.fixture
def remote(tmp_path: Path) -> Making:
    (tmp_path / "ray").mkdir()
    return Making(tmp_path / "ray" / "data")


def test_a_worker_that_dies_in_mid_shard_changes_nothing(
    local: Making, remote: Making, tmp_path: Path
) -> None:
    remote.on_ray(dies_after=130, grave=tmp_path / "grave")
    assert (tmp_path / "grave").exists()
    assert any("its worker died" in note and "tried again" in note for note in remote.notes)
    assert remote.files() == local.files() and len(remote.files()) == 5
    assert remote.shards() == local.shards()
    assert remote.rejects().equals(local.rejects()) and remote.rejects().height > 20
    frame = pl.read_parquet(remote.out / "part-*.parquet")
    assert frame["_id"].to_list() == list(range(N))
    assert frame["_adapter"].to_list() == [PLAN.adapter_of(i) for i in range(N)]


def test_what_ray_began_the_local_runner_finishes_and_the_reverse(local: Making, remote: Making) -> None:
    def has_begun() -> bool:
        return any(remote.out.glob(".work/*.journal"))

    assert remote.on_ray(has_begun, workers=1, latency_s=0.5) < N
    assert sum(path.stat().st_size for path in remote.out.glob(".work/*.journal")) > 0
    assert not list(remote.out.glob(".work/ray-*"))
    remote.here()
    assert remote.files() == local.files()
    (remote.out / "part-00002.parquet").unlink()
    assert remote.on_ray(workers=1) == 120
    assert remote.files() == local.files() and remote.shards() == local.shards()


def test_an_error_in_a_worker_arrives_as_it_is(remote: Making) -> None:
    with pytest.raises(AdapterError, match=r"^adapter low: rank 9000$"):
        remote.on_ray(workers=1, refusal="adapter low: rank 9000")


def test_the_whole_job_on_ray_is_the_whole_job_here(tmp_path: Path) -> None:
    here = run_recipe(make(), 300, tmp_path / "here", n_before=100)
    there = run_recipe(make(), 300, tmp_path / "there", n_before=100, runner=TWO)
    assert there.to_polars().equals(here.to_polars())
    for name in ("base.parquet", "part-00000.parquet", "part-00001.parquet", "part-00002.parquet"):
        assert sha256(tmp_path / "there" / name) == sha256(tmp_path / "here" / name)
    assert there.summary["engine"] == "fake" and (tmp_path / "there" / "_SUCCESS").exists()
    ours, theirs = (
        json.loads((run.out / "_manifest.json").read_text())["generation"] for run in (here, there)
    )
    assert theirs["n_spelled"] == ours["n_spelled"] == 300
    assert theirs["other_spelling"] == ours["other_spelling"]
    identities = [json.loads((run.out / "_manifest.json").read_text())["identity"] for run in (here, there)]
    assert identities[0] == identities[1]


def test_values_drawn_outside_the_model_are_the_same_on_ray(tmp_path: Path) -> None:
    ways = {"mix": {"base": 1.0}, "engine": "fake", "balance": "prefill", "ask": "varied"}
    recipe = make(generate=ways, target={"targets": {"value": {"2": 1, "7": 3}}})
    here = run_recipe(recipe, 200, tmp_path / "here", n_before=20)
    there = run_recipe(recipe, 200, tmp_path / "there", n_before=20, runner=TWO)
    assert there.to_polars().equals(here.to_polars())
    assert set(there.to_polars()["value"]) == {2, 7}
    assert there.report.run.details["balance"] == "prefill"


def test_a_journal_that_two_workers_wrote_gives_each_record_once(remote: Making) -> None:
    with remote.sink() as sink:
        work = remote.work(sink)
    journalled = [(Completion(i, "{3}", "stop", 2), 0, "base") for i in (0, 1, 0, 1)]
    kept: list[int] = []
    tries = list(owed(work, 0, journalled, lambda _, outcome: kept.append(outcome.id)))
    assert kept == [0, 1] and [record_id for record_id, _ in tries] == list(range(2, 120))


class Stub:
    """A board that is no actor: every method has a `remote`, as Ray's handles do."""

    def __init__(self, tries: int) -> None:
        import ray

        self.begin = SimpleNamespace(remote=lambda *_: ray.put(tries))
        self.tell = SimpleNamespace(remote=lambda *_: ray.put(False))
        self.note = self.end = SimpleNamespace(remote=lambda *_: None)


def worker(making: Making, tries: int = 1, **changes: Any) -> Any:
    from synthgen import __version__
    from synthgen.runners.ray_worker import Order, ShardWorker

    with making.sink() as sink:
        order: dict[str, Any] = {
            "version": __version__, "out": making.out, "token": "none", "schema_ref": "schemas/die.py:Die",
            "base": ROOT, "model": "nano", "fingerprints": sink.identity, "plan": PLAN,
            "prompt": making.job.prompt, "max_attempts": 10, "adapter_column": True,
            "metadata": sink.metadata, "n_before": 0, "serving": making.serving(),
            "adapter_files": {"low": {"adapter_config.json": b"{}"}},
        }  # fmt: skip
    return ShardWorker(Order(**order | changes), Stub(tries))


def test_a_worker_that_does_not_see_the_folder_sends_the_same_bytes_and_writes_nothing(
    local: Making, remote: Making
) -> None:
    with closing(worker(remote)) as made:
        shipment = made.make(3)
    assert shipment.error is None and shipment.n_new == 120 and shipment.info.name == "fake"
    assert sorted(path.name for path in remote.out.rglob("*")) == [".lock", "_manifest.json"]
    name = "part-00003.parquet"
    assert shipment.files[name] == (local.out / name).read_bytes()
    assert (
        shipment.entry["rejects"] == local.shards()["3"]["rejects"] > 0
        and f"rejects/{name}" in shipment.files
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tries": 5}, r"shard 3: its workers died, 4 in a row"),
        ({"version": "0.0.1"}, r"expected the driver's 0\.0\.1; use the same image everywhere"),
        ({"fingerprints": {"schema": "x"}}, r"schema \w+, expected the driver's x; put the same schema"),
    ],
)
def test_a_worker_says_why_it_cannot_work(remote: Making, changes: dict[str, Any], line: str) -> None:
    with closing(worker(remote, **changes)) as made:
        shipment = made.make(3)
    assert shipment.entry is None
    with pytest.raises((EngineError, RecipeError), match=line):
        raise shipment.error


def test_the_board_tells_deaths_and_spreads_the_word_to_stop() -> None:
    from synthgen.runners.ray_worker import Board

    board = Board()
    assert board.begin(7, "a, process 1") == 1 and not board.tell(7, 10, 12)
    assert board.begin(7, "b, process 2") == 2
    state = board.look([])
    assert state.is_busy and state.counts == {7: (0, 0)}
    assert list(state.notes) == ["shard 7: its worker died (a, process 1); tried again (b, process 2)"]
    board.end(7)
    assert not board.look([]).is_busy and board.look([7]).counts == {}
    board.stop()
    assert board.tell(8, 1, 1) and board.begin(9, "a, process 1") == 0


@pytest.mark.parametrize(
    ("recipe", "engine", "cluster", "line"),
    [
        (make(unique=True), "fake", TWO, r"recipe: unique: cannot be kept by the ray runner"),
        (make(), FakeEngine(["{1}"]), TWO, r"give the engine's name"),
        (
            make(),
            "fake",
            RayCluster(address="ray://head:10001"),
            r"--address ray://head:10001: .*as a Ray job",
        ),
        (make(), "fake", RayCluster(address="head:6379"), r"this process is in a Ray session already"),
    ],
)
def test_what_ray_cannot_do_is_refused_by_one_line(
    recipe: Recipe, engine: Any, cluster: RayCluster, line: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=line) as caught:
        run_recipe(recipe, 10, tmp_path / "out", engine=engine, runner=cluster)
    assert "\n" not in str(caught.value)


def test_without_ray_the_command_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.runners.find_spec", lambda name: None if name == "ray" else name)
    call = [
        "recipe",
        str(ROOT / "recipes" / "die.yaml"),
        "--n",
        "5",
        "--out",
        str(tmp_path),
        "--runner",
        "ray",
    ]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    assert result.output.startswith("runner ray: ray not installed here; install synthgen[ray]")
    result = CliRunner().invoke(main, [*call[:-2], "--workers", "2"])
    assert result.exit_code == 2 and "add --runner ray" in result.output


BIG, SMALL = {"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0}


@pytest.mark.parametrize(
    ("cluster", "machines", "n_items", "crew", "notes"),
    [
        (RayCluster(), [BIG, BIG, {"CPU": 0.0}], 100, (8, 1, 1.0), ()),
        (RayCluster(gpus_per_worker=0.4), [BIG, BIG], 100, (16, 1, 0.4), ()),
        (RayCluster(gpus_per_worker=0), [BIG, SMALL], 100, (2, 8, 0.0), ()),
        (RayCluster(workers=4), [SMALL, SMALL], 100, (4, 4, 0.0), ()),
        (RayCluster(workers=4), [SMALL], 3, (3, 2, 0.0), ("3 shards to do keep 3 of 4 workers busy",)),
        (
            RayCluster(10, gpus_per_worker=1),
            [BIG],
            100,
            (10, 1, 1.0),
            ("10 workers ask for 10 CPUs and 10 GPUs",),
        ),
    ],
)
def test_workers_fit_the_machines(
    cluster: RayCluster,
    machines: list[dict[str, float]],
    n_items: int,
    crew: tuple[int, int, float],
    notes: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    from synthgen.runners.ray_cluster import Crew, crew_of

    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": has} for has in machines])
    told: list[str] = []
    progress = SilentProgress()
    progress.note = told.append  # type: ignore[assignment, method-assign]
    assert crew_of(cluster, n_items, True, progress) == Crew(*crew)
    assert len(told) == len(notes) and all(
        line.startswith(note) for line, note in zip(told, notes, strict=True)
    )


def test_the_handler_for_sigterm_is_the_runs_and_not_rays() -> None:
    from synthgen.runners.ray_cluster import own_signals

    handler = signal.getsignal(signal.SIGTERM)
    with own_signals():
        signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_gpus_that_no_machine_has_are_refused() -> None:
    from synthgen.runners.ray_cluster import crew_of

    with pytest.raises(RecipeError, match=r"--gpus-per-worker 0\.5: Ray finds no GPU on this machine"):
        crew_of(RayCluster(gpus_per_worker=0.5), 9, False, SilentProgress())
