"""Where the shards of a plan are worked off."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from synthgen.errors import RecipeError

if TYPE_CHECKING:
    from synthgen.engines.protocol import Engine
    from synthgen.recipe import Recipe


ALONE = {  # what only one process can do, and why
    "exact": "draws from probabilities scored once",
    "quota": "counts all records",
    "avoid": "shows every prompt the records before it",
}


@dataclass(frozen=True)
class RayCluster:
    """Workers on a Ray cluster instead of one engine here: `recipe.run(n, runner=RayCluster(workers=8))`.

    `workers` None takes one per GPU share, or one per machine where there are no GPUs. `address` is Ray's ("auto",
    "host:6379"); None takes the session that this process is in, or starts Ray on this machine.
    `gpus_per_worker` is at most 1; None takes a whole GPU each if the cluster has any.
    """

    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float | None = None

    def check(self, recipe: Recipe, engine: str | Engine | None) -> None:
        """Whether a recipe can be run this way.

        Raises:
            RecipeError: Ray is not installed, or the recipe wants what several processes cannot do.
        """
        if missing := [name for name in ("ray", "pyarrow", "pandas") if find_spec(name) is None]:
            raise RecipeError(
                f"runner ray: {', '.join(missing)} not installed here; install synthgen[ray] on every machine of "
                "the cluster (without a GPU: pip install --no-deps -r requirements/ray.lock), or use the local runner"
            )
        if recipe.unique:
            raise RecipeError(
                f"{recipe.path or 'recipe'}: unique: cannot be kept by the ray runner, whose workers do not know "
                "each other's records; use the local runner, or leave `unique` out"
            )
        for key, value in (("balance", recipe.generate.balance), ("ask", recipe.generate.ask)):
            if value in ALONE:
                raise RecipeError(
                    f"{recipe.path or 'recipe'}: generate.{key}: {value} {ALONE[value]}, which the ray runner's workers "
                    "do not share; use the local runner, or another way"
                )
        if engine is not None and not isinstance(engine, str):
            raise RecipeError("runner ray: every worker opens an engine of its own; give the engine's name")
        if self.address is not None and "://" in self.address:
            raise RecipeError(
                f"--address {self.address}: the run must be in the cluster itself; expected host:port or auto; "
                "submit the command as a Ray job, or call it on a machine of the cluster"
            )
