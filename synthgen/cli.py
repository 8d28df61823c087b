"""The command line: arguments in, exit codes out; everything between is done elsewhere.

Results go to stdout, progress and errors to stderr. Environment variables are read here and nowhere else.
Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from synthgen import __version__
from synthgen.bench.scripts import Benches
from synthgen.errors import Incomplete, RecipeError, SynthgenError

if TYPE_CHECKING:
    from rich.console import Console

    from synthgen.progress import Progress

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_CODES = """\b
Exit codes:
  0  done, also when it was done already
  1  a fault of the run
  2  the recipe or the command line is wrong
  3  a gate failed: the data is not what was asked for
  4  stopped early; the same command goes on"""


@dataclass
class Terminal:
    """How one call talks to its user; filled by the options that every command has."""

    is_json: bool = False
    is_quiet: bool = False
    is_debug: bool = False
    log_format: Literal["text", "json"] = "text"

    def progress(self) -> Progress:
        """Who listens to the run."""
        from synthgen import progress

        if self.is_quiet:
            return progress.SilentProgress()
        if self.log_format == "json":
            return progress.JsonProgress()
        return progress.RichProgress() if sys.stderr.isatty() else progress.PlainProgress()

    def console(self) -> Console:
        """Where tables are drawn: stdout."""
        from rich.console import Console

        return Console(width=None if sys.stdout.isatty() else 120)

    def result(self, summary: object) -> None:
        """The last line on stdout, if it was asked for."""
        if self.is_json:
            click.echo(json.dumps(summary, ensure_ascii=False, default=str))

    def failure(self, problems: tuple[str, ...], exit_code: int, summary: object = None) -> None:
        """One line per problem on stderr, and the JSON line that was asked for."""
        for problem in problems:
            event = {"event": "error", "exit_code": exit_code, "text": problem}
            click.echo(
                json.dumps(event, ensure_ascii=False) if self.log_format == "json" else problem, err=True
            )
        content = dict(summary) if isinstance(summary, dict) else {}
        self.result(content | {"exit_code": exit_code, "problems": list(problems)})


@contextmanager
def without_collecting() -> Iterator[None]:
    """No garbage collection: it takes an eighth of a command that only imports, reads, and ends."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Commands(click.Group):
    """Turns what a command raises into lines on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; every error of ours ends here."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            terminal = ctx.find_object(Terminal) or Terminal()
            if terminal.is_debug:
                import traceback

                traceback.print_exc()
            exit_code, problems = explain(error)
            terminal.failure(problems, exit_code, getattr(error, "summary", None))
            ctx.exit(exit_code)


def explain(error: BaseException) -> tuple[int, tuple[str, ...]]:
    """An error's exit code, and its lines for the user."""
    if isinstance(error, RecipeError):
        return error.exit_code, error.problems
    if isinstance(error, SynthgenError):
        return error.exit_code, (f"synthgen: {error}",)
    if isinstance(error, KeyboardInterrupt):
        return Incomplete.exit_code, ("synthgen: stopped; run the same command again to go on",)
    text = " ".join(str(error).split()) or "no message"
    hint = "run again with --debug for the traceback"
    return SynthgenError.exit_code, (f"synthgen: fault: {type(error).__name__}: {text}; {hint}",)


def talking(command: Command) -> Command:
    """Add the options that every command has; they fill the call's Terminal."""

    def fill(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
        setattr(ctx.find_object(Terminal), str(parameter.name), value)

    options = (
        click.option(
            "--json", "is_json", is_flag=True, help="Print one JSON summary as the last line of stdout."
        ),
        click.option("--quiet", "is_quiet", is_flag=True, help="No progress on stderr."),
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            envvar="SYNTHGEN_LOG_FORMAT",
            help="Progress and errors as text or as JSON lines.",
        ),
        click.option(
            "--debug",
            "is_debug",
            is_flag=True,
            envvar="SYNTHGEN_DEBUG",
            help="Show the traceback of an error.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    for parameter in getattr(command, "__click_params__", []):
        if parameter.name in ("is_json", "is_quiet", "log_format", "is_debug"):
            parameter.expose_value, parameter.callback = False, fill
    return command


def epilog(example: str) -> str:
    """What ends a command's help: one real example, and the exit codes."""
    return f"\b\nExample:\n  {example}\n\n{EXIT_CODES}"


recipe_file = click.argument("recipe_file", metavar="RECIPE", type=click.Path(path_type=Path))
engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", "vllm", "transformers", "fake"]),
    envvar="SYNTHGEN_ENGINE",
    help="Instead of the recipe's.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")


class Folder(click.Path):
    """A folder, also as file://…; an address elsewhere is refused with what to do instead."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder as a Path."""
        from synthgen.publish import local_folder

        try:
            folder = local_folder(str(value))
        except ValueError as error:
            raise RecipeError(f"--out {value}: {error}") from None
        return super().convert(folder, param, ctx)


out_option = click.option(
    "--out", type=Folder(file_okay=False, path_type=Path), help="Instead of the recipe's."
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=epilog("synthgen recipe recipes/bios.yaml --n 10000"),
)
@click.version_option(__version__, prog_name="synthgen", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Synthetic datasets whose distribution is declared, tuned into the model, and proven."""
    ctx.obj = Terminal()


@main.command(epilog=epilog("synthgen recipe recipes/bios.yaml --n 10000 --out data/bios"))
@recipe_file
@click.option("--n", type=click.IntRange(min=1), required=True, help="Accepted records, exactly.")
@out_option
@engine_option
@seed_option
@click.option("--overwrite", is_flag=True, help="Replace a dataset that another recipe made there.")
@click.option("--extend", is_flag=True, help="Add records to a finished dataset until it holds N.")
@click.option(
    "--copy-to", metavar="URL", help="Copy the finished dataset there: s3://…, gs://…, any that fsspec knows."
)
@click.option(
    "--runner",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Generate in this process, or by workers on Ray.",
)
@click.option("--workers", type=click.IntRange(min=1), help="On Ray; default: one per GPU, or per machine.")
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(min=0, max=1),
    help="On Ray; default: 1 if there are GPUs, else 0.",
)
@click.option("--address", envvar="RAY_ADDRESS", help="A Ray cluster; default: start Ray on this machine.")
@talking
@click.pass_obj
def recipe(
    terminal: Terminal,
    recipe_file: Path,
    n: int,
    out: Path | None,
    engine: str | None,
    seed: int | None,
    overwrite: bool,
    extend: bool,
    copy_to: str | None,
    runner: str,
    workers: int | None,
    gpus_per_worker: float | None,
    address: str | None,
) -> None:
    """Do the whole job: tune the adapters, generate N records, validate, write and report them."""
    loaded = load(recipe_file, seed)
    folder = out or loaded.out_dir
    from synthgen.publish import Destination
    from synthgen.report import terminal as report
    from synthgen.run import run_recipe
    from synthgen.runners import RayCluster

    if runner == "local" and (workers or gpus_per_worker is not None):
        raise RecipeError(
            "--workers and --gpus-per-worker belong to Ray; add --runner ray, or leave them out"
        )
    cluster = RayCluster(workers, address, gpus_per_worker) if runner == "ray" else None
    destination = None if copy_to is None else Destination(copy_to)
    progress = terminal.progress()
    try:
        ways = {"overwrite": overwrite, "extend": extend}
        run = run_recipe(loaded, n, folder, engine=engine, **ways, progress=progress, runner=cluster)
        if destination is not None:
            progress.stage("copy", destination.url)
            destination.copy(run.out)
    finally:
        progress.close()
    if not terminal.is_json:
        report.render(run.report, terminal.console())
        click.echo(f"data: {run.out}\nreport: {run.out / 'report.json'}")
    terminal.result(run.summary)


@main.command(epilog=epilog("synthgen init my-data"))
@click.argument("folder", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default=".")
@talking
@click.pass_obj
def init(terminal: Terminal, folder: Path) -> None:
    """Write a small recipe and its schema into DIR, to start from; existing files are never replaced."""
    from synthgen.starter import write_starter

    written = write_starter(folder)
    if not terminal.is_json:
        for path in written:
            click.echo(f"wrote {path}")
        click.echo(f"next: synthgen check {written[0]}, then synthgen recipe {written[0]} --n 1000")
    terminal.result({"written": [str(path) for path in written]})


@main.command(epilog=epilog("synthgen check recipes/bios.yaml --n 10000"))
@recipe_file
@click.option("--n", type=click.IntRange(min=1), default=1000, show_default=True, help="Records to plan for.")
@out_option
@seed_option
@talking
@click.pass_obj
def check(terminal: Terminal, recipe_file: Path, n: int, out: Path | None, seed: int | None) -> None:
    """Validate a recipe and print its plan, without loading a model."""
    with without_collecting():
        from synthgen.summary import plan_summary

        plan = plan_summary(load(recipe_file, seed), n, out)
        if not terminal.is_json:
            from synthgen.display import print_plan

            print_plan(plan, terminal.console())
        terminal.result(plan.to_json())


@main.command(epilog=epilog("synthgen preview recipes/bios.yaml --n 5 --base"))
@recipe_file
@click.option("--n", type=click.IntRange(min=1), default=5, show_default=True, help="Answers to show.")
@click.option(
    "--base", is_flag=True, help="Ask the untuned model; without it adapters are tuned if they must be."
)
@engine_option
@seed_option
@talking
@click.pass_obj
def preview(
    terminal: Terminal, recipe_file: Path, n: int, base: bool, engine: str | None, seed: int | None
) -> None:
    """Show a few records, and rejected answers with their reason; writes no dataset."""
    loaded = load(recipe_file, seed)
    from synthgen import run

    progress = terminal.progress()
    try:
        outcomes = run.preview(loaded, n, engine=engine, base=base, progress=progress)
    finally:
        progress.close()
    if not terminal.is_json:
        from synthgen.display import print_preview
        from synthgen.summary import time_estimate

        n_told = 10_000
        estimate = None if base else time_estimate(loaded, n_told, engine)
        print_preview(outcomes, terminal.console(), None if estimate is None else (n_told, estimate))
    from dataclasses import asdict

    terminal.result({"answers": [asdict(outcome) for outcome in outcomes]})


@main.command(epilog=epilog("synthgen tune recipes/bios.yaml"))
@recipe_file
@seed_option
@talking
@click.pass_obj
def tune(terminal: Terminal, recipe_file: Path, seed: int | None) -> None:
    """Tune a recipe's adapters and generate nothing; an adapter that still fits is kept."""
    loaded = load(recipe_file, seed)
    from synthgen.run import tune_recipe

    progress = terminal.progress()
    try:
        folders = tune_recipe(loaded, progress)
    finally:
        progress.close()
    if not terminal.is_json:
        for folder in folders:
            click.echo(str(folder))
    terminal.result({"adapters": [str(folder) for folder in folders]})


@main.command(epilog=epilog("synthgen report data/bios --recipe recipes/bios.yaml"))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--schema", "schema_ref", help="A Pydantic model, such as schemas/biography.py:Biography.")
@click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path), help="Take the schema and targets from here."
)
@click.option(
    "--target", "target_file", type=click.Path(path_type=Path),
    help="YAML or JSON: field → value → probability; without a recipe.",
)  # fmt: skip
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as one HTML file."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write report.json, report.html and a card here.",
)
@click.option(
    "--plain", is_flag=True, help="For logs: no colour, no blocks; the default where stdout is no terminal."
)
@talking
@click.pass_obj
def report(
    terminal: Terminal,
    paths: tuple[Path, ...],
    schema_ref: str | None,
    recipe_file: Path | None,
    target_file: Path | None,
    html: Path | None,
    out: Path | None,
    plain: bool,
) -> None:
    """Report on any Parquet, CSV or JSONL: files, folders, or datasets that synthgen made.

    Several paths are several tables, shown side by side.
    """
    from synthgen import report as reports
    from synthgen.report import html as pages
    from synthgen.report import terminal as drawing

    schema, reference, draws, together = None, None, None, None
    if recipe_file is not None:
        loaded = load(recipe_file, None)
        declared = loaded.reference()
        schema, together = loaded.record_schema(), declared.together
        reference, draws = declared.shares, declared.draws
    if schema_ref is not None:
        from synthgen.schema import RecordSchema, load_model

        schema = RecordSchema.from_model(load_model(schema_ref, Path()))
    if target_file is not None:
        from synthgen.report.target_file import read_target_file

        reference, draws, together = read_target_file(target_file, schema), None, None
    console, plain = terminal.console(), plain or not sys.stdout.isatty()
    if len(paths) > 1:
        comparison = reports.compare_tables(paths, schema, reference, reference_draws=draws)
        if out is not None:
            reports.write_comparison(comparison, out)
        if html is not None:
            html.write_text(pages.render_side_by_side(comparison), encoding="utf-8")
        if not terminal.is_json:
            drawing.render_side_by_side(comparison, console, plain)
        terminal.result(comparison.to_dict())
        return
    facts = reports.summarise(paths[0], schema, reference, reference_draws=draws, together=together)
    if out is not None:
        reports.write_reports(facts, out)
    if html is not None:
        html.write_text(pages.render(facts), encoding="utf-8")
    if not terminal.is_json:
        drawing.render(facts, console, plain)
    terminal.result(facts.to_dict())


@main.command(epilog=epilog("synthgen compare recipes/bios.yaml --n 1000 --other recipes/diffuse.yaml"))
@recipe_file
@click.option(
    "--n", type=click.IntRange(min=100), default=1000, show_default=True, help="Records of each way."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Default: data/compare-RECIPE.")
@click.option(
    "--other",
    "other_file",
    type=click.Path(path_type=Path),
    help="A recipe whose adapter was tuned on other tasks.",
)
@click.option("--only", help="Some ways, by name, separated by commas; --only help lists them.")
@engine_option
@seed_option
@talking
@click.pass_obj
def compare(
    terminal: Terminal,
    recipe_file: Path,
    n: int,
    out: Path | None,
    other_file: Path | None,
    only: str | None,
    engine: str | None,
    seed: int | None,
) -> None:
    """Make the same records in every way there is, and set distance, variety and cost side by side.

    Base model at several temperatures, min-p, typical sampling; prompts that ask for variety; values drawn
    outside the model; hard-target fine-tuning; tuning on other tasks, on the recipe's own tuples, with quotas.
    """
    loaded = load(recipe_file, seed)
    other = None if other_file is None else load(other_file, None)
    from synthgen.rivals import chosen, other_adapter, rivals

    ways = rivals(loaded, None if other is None else other_adapter(other))
    if only == "help":
        for way in ways:
            click.echo(f"{way.name:16} {way.label}")
        return
    from synthgen import compare as comparison
    from synthgen.compare_page import render

    wanted = chosen(ways, only.split(",") if only else ())
    progress = terminal.progress()
    try:
        folder = out or loaded.base.parent / "data" / f"compare-{loaded.name}"
        outcomes = comparison.compare(wanted, n, folder, engine=engine, progress=progress)
    finally:
        progress.close()
    if not terminal.is_json:
        render(outcomes, n, terminal.console())
        click.echo(f"page: {folder / 'compare.md'}")
    terminal.result(comparison.summary(outcomes, n, folder))


@main.command(epilog=epilog("synthgen elicit nano --target die.yaml --kind soft --out adapters/die-soft"))
@click.argument("model", metavar="[MODEL]", default="nano")
@click.option(
    "--target", "target_file", type=click.Path(path_type=Path), help="YAML or JSON: answer → probability."
)
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    help="Its own prompt, target and model instead.",
)
@click.option(
    "--adapter", metavar="NAME", help="Of the recipe: whose targets; default: the first that has some."
)
@click.option("--kind", type=click.Choice(["soft", "hard"]), default="soft", show_default=True)
@click.option("--prompt", "message", default="", help="The user's message that the prompt is added to.")
@click.option("--next-token", is_flag=True, help="Answers are single tokens, and what follows is left open.")
@click.option("--n", type=click.IntRange(min=1), help="Tokens of the prompt: virtual ones, or of words.")
@click.option(
    "--position", type=click.Choice(["prefix", "infix"]), help="Soft: where the virtual tokens stand."
)
@click.option("--template", help="Hard: such as '{prompt}\\n{found}', around the message and the words.")
@click.option("--readable", is_flag=True, default=None, help="Hard: words of letters only.")
@click.option("--steps", type=click.IntRange(min=1))
@click.option("--restarts", type=click.IntRange(min=1))
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), help="Soft: in units of the embeddings' size."
)
@click.option("--kl", type=click.FloatRange(min=0, min_open=True), help="Stop at this distance, in nats.")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option(
    "--engine",
    type=click.Choice(["auto", "vllm", "transformers", "fake"]),
    help="Measure it again as served.",
)
@click.option("--out", type=Folder(file_okay=False, path_type=Path), help="Default: adapters/TARGET-KIND.")
@talking
@click.pass_obj
def elicit(
    terminal: Terminal,
    /,
    model: str,
    target_file: Path | None,
    recipe_file: Path | None,
    adapter: str | None,
    kind: Literal["soft", "hard"],
    message: str,
    next_token: bool,
    n: int | None,
    seed: int,
    engine: str | None,
    out: Path | None,
    **said: Any,
) -> None:
    """Find the prompt that brings a model's answers nearest to a distribution; no weight of the model changes.

    Soft: trained embeddings, saved in PEFT's format. Hard: words, found by their gradient, saved as text.
    """
    from synthgen.elicit import finding

    method: Literal["soft-prompt", "hard-prompt"] = "soft-prompt" if kind == "soft" else "hard-prompt"
    said["n_virtual" if kind == "soft" else "n_tokens"] = n
    progress = terminal.progress()
    try:
        if recipe_file is not None:
            loaded = load(recipe_file, seed or None)
            found = finding.elicit_recipe(loaded, adapter, method, said, out, progress)
        else:
            folder = out or finding.default_folder(target_file, method)
            config = finding.search_config(method, said, seed)
            ways: Any = {"message": message, "next_token": next_token, "engine": engine}
            found = finding.elicit_file(model, target_file, method, config, folder, progress, **ways)
    finally:
        progress.close()
    if not terminal.is_json:
        from synthgen.display import print_elicited

        print_elicited(found, terminal.console())
    terminal.result(found.to_json())


@main.command(epilog=epilog("synthgen probe nano --recipe recipes/bios.yaml --out data/probe/nano"))
@click.argument("model", metavar="[MODEL]", required=False)
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    help="Probe its own fields too; MODEL may be left out.",
)
@click.option(
    "--adapter",
    type=click.Path(file_okay=False, path_type=Path),
    help="Probe the model with this tuned adapter.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="FAMILY/SIZE/KIND",
    help="Instead of the standard ones: zipf/20/words.",
)
@click.option(
    "--declare", multiple=True, metavar="VALUE=P,...", help="A distribution of your own: a=0.7,b=0.3."
)
@click.option("--draws", type=click.IntRange(2, 200), default=24, show_default=True, help="Draws of a list.")
@click.option(
    "--lists", type=click.IntRange(min=1), default=1, show_default=True, help="Per task and wording."
)
@click.option("--wordings", type=click.IntRange(1, 4), default=4, show_default=True, help="Of every task.")
@click.option(
    "--out",
    type=Folder(file_okay=False, path_type=Path),
    help="For probe.json and probe.html; default: data/probe/NAME.",
)
@click.option(
    "--plain", is_flag=True, help="For logs: no colour, no blocks; the default where stdout is no terminal."
)
@engine_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of draws and simulations."
)
@talking
@click.pass_obj
def probe(
    terminal: Terminal,
    model: str | None,
    recipe_file: Path | None,
    adapter: Path | None,
    tasks: tuple[str, ...],
    declare: tuple[str, ...],
    draws: int,
    lists: int,
    wordings: int,
    out: Path | None,
    plain: bool,
    engine: str | None,
    seed: int,
) -> None:
    """Find out what kind of sampler a model is: does it follow a distribution that its prompt states?

    Reads the model's own probabilities at every step of long lists and of single draws, and advises what that
    means: tune, prefill, lists or single draws, temperature.
    """
    loaded = None if recipe_file is None else load(recipe_file, None)
    from synthgen.probe import run as probing
    from synthgen.probe.tasks import battery

    chosen = battery(tasks, declare)
    progress = terminal.progress()
    try:
        settings = probing.Settings(draws, lists, wordings, seed=seed)
        folder = out or probing.default_folder(model, loaded, adapter)
        facts = probing.run_probe(
            model,
            loaded,
            adapter,
            tasks=chosen,
            settings=settings,
            engine=engine,
            out=folder,
            progress=progress,
        )
    finally:
        progress.close()
    if not terminal.is_json:
        from synthgen.probe.terminal import render

        render(facts, terminal.console(), plain or not sys.stdout.isatty())
        click.echo(f"page: {folder / 'probe.html'}")
    terminal.result(facts.summary() | {"out": str(folder)})


@main.group(epilog=epilog("synthgen adapters list"))
def adapters() -> None:
    """List tuned adapters, or show one."""


@adapters.command("list", epilog=epilog("synthgen adapters list adapters"))
@click.argument(
    "folder", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default="adapters"
)
@talking
@click.pass_obj
def list_adapters(terminal: Terminal, folder: Path) -> None:
    """List the adapters in a folder and below."""
    from synthgen.adapters import load_manifest

    if not folder.is_dir():
        raise RecipeError(f"{folder}: no such folder; expected one that holds adapters")
    found = [(path.parent, load_manifest(path.parent)) for path in sorted(folder.rglob("manifest.json"))]
    if not terminal.is_json:
        from synthgen.display import print_adapters

        print_adapters(found, terminal.console())
    terminal.result({str(path): manifest.model_dump(mode="json") for path, manifest in found})


@adapters.command("show", epilog=epilog("synthgen adapters show adapters/six-tasks"))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@talking
@click.pass_obj
def show_adapter(terminal: Terminal, folder: Path) -> None:
    """Show how an adapter was made.

    Base model, prompts, settings, figures before and after, versions; its files are checked on the way.
    """
    from synthgen.adapters import load_manifest

    manifest = load_manifest(folder)
    if not terminal.is_json:
        from synthgen.display import print_manifest

        print_manifest(manifest, terminal.console())
    terminal.result(manifest.model_dump(mode="json"))


@main.group(cls=Benches, epilog=epilog("synthgen bench paper --only 1,3"), invoke_without_command=True)
@click.pass_context
def bench(ctx: click.Context) -> None:
    """Run a measurement and write its results page; alone, list the measurements."""
    if ctx.invoked_subcommand is None:
        group = cast(click.Group, ctx.command)
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            click.echo(f"{name:<18}{command.get_short_help_str(130) if command else ''}")


@bench.command(epilog=epilog("synthgen bench paper --model recipes/paper/gemma-7b-it.yaml"))
@click.option(
    "--model",
    default="nano",
    show_default=True,
    help="nano, or a recipe: its model and tuning settings are taken.",
)
@click.option("--only", metavar="1,3,…", help="These experiments alone; default: all five.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Repetitions.")
@click.option(
    "--n", type=click.IntRange(min=10), default=1000, show_default=True, help="Answers to each prompt."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="bench/results", show_default=True,
    help="Where the page goes.",
)  # fmt: skip
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path),
    help="Where adapters and finished cells are kept; default: data/bench/paper-MODEL.",
)  # fmt: skip
@click.option(
    "--recipes", type=click.Path(file_okay=False, path_type=Path), default="recipes/paper", show_default=True,
    help="The experiments' recipes.",
)  # fmt: skip
@engine_option
@click.option(
    "--budget", "budget_min", type=click.FloatRange(min=0), help="Stop after so many minutes; resumable."
)
@click.option(
    "--lm-eval", "lm_eval", metavar="TASKS", help="Also run these tasks of lm-eval, if it is installed."
)
@talking
@click.pass_obj
def paper(
    terminal: Terminal, /, only: str | None, engine: str | None, lm_eval: str | None, **options: Any
) -> None:
    """Run the five published experiments beside the published numbers, and write their page."""
    from synthgen.bench.lab import EXPERIMENTS, Lab, Options
    from synthgen.bench.paper import run_paper

    try:
        numbers = EXPERIMENTS if only is None else tuple(int(number) for number in only.split(","))
    except ValueError:
        raise RecipeError(f"--only {only}: expected numbers of experiments such as 1,3") from None
    progress = terminal.progress()
    tasks = tuple(lm_eval.split(",")) if lm_eval else ()
    try:
        page = run_paper(
            Lab(Options(only=numbers, engine=engine or "auto", lm_eval=tasks, **options), progress)
        )
    finally:
        progress.close()
    if not terminal.is_json:
        click.echo(f"page: {page}")
    terminal.result({"page": str(page), "figures": str(page.with_suffix(""))})


@bench.command("elicit", epilog=epilog("synthgen bench elicit --model nano"))
@click.option("--model", default="nano", show_default=True, help="nano, a folder, or a Hugging Face id.")
@click.option(
    "--per-level", type=click.IntRange(min=2), default=6, show_default=True, help="Targets per entropy."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="bench/results",
    show_default=True,
    help="Where the page goes.",
)
@talking
@click.pass_obj
def bench_elicit(terminal: Terminal, model: str, per_level: int, seed: int, out: Path) -> None:
    """Study how near soft and hard prompts come to distributions of every kind, and write the page."""
    from synthgen.bench.stamp import stamp
    from synthgen.elicit.study import Plan, run_study, write_study

    progress = terminal.progress()
    try:
        progress.stage("study", model)
        study = run_study(model, Plan(per_level=per_level, seed=seed), progress.note)
        written = write_study(study, out, f"elicit-{Path(model).name}", stamp())
    finally:
        progress.close()
    if not terminal.is_json:
        for path in written:
            click.echo(str(path))
    terminal.result({"written": [str(path) for path in written]})


def load(path: Path, seed: int | None) -> Any:
    """The recipe in a file, with another seed if one is given."""
    from synthgen.recipe import Recipe

    loaded = Recipe.from_yaml(path)
    return loaded if seed is None else loaded.model_copy(update={"seed": seed})


if __name__ == "__main__":
    main(prog_name="synthgen")
