"""The package's front door: public names, and what importing it costs."""

import subprocess
import sys

import synthgen

HEAVY = ("torch", "transformers", "peft", "vllm", "ray", "polars", "scipy", "numpy", "altair", "vl_convert")


def test_public_names_are_sorted_and_exist() -> None:
    assert synthgen.__all__ == sorted(synthgen.__all__)
    assert all(getattr(synthgen, name).__name__ == name for name in synthgen.__all__)


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "synthgen", "check", "missing.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("missing.yaml: no such file")


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import synthgen") == set()


def test_the_help_page_loads_nothing_heavy() -> None:
    code = "from synthgen.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_after(code) == set()


def test_reading_a_recipe_loads_no_model_library() -> None:
    code = "from synthgen import Recipe\nRecipe.from_yaml('recipes/die.yaml')"
    assert not loaded_after(code) & {"torch", "transformers", "peft", "vllm", "ray", "polars"}
