"""What `synthgen init` writes: a small recipe and its schema, ready to run and to be changed."""

from __future__ import annotations

from pathlib import Path

from synthgen.errors import RecipeError

TEMPLATES = ("orders.yaml", "order.py")  # the recipe first


def write_starter(folder: Path) -> list[Path]:
    """Write the starter files into a folder, made if need be, and give back their paths, the recipe's first.

    Raises:
        RecipeError: one of them exists already, or the folder cannot be written; nothing was replaced.
    """
    targets = [folder / name for name in TEMPLATES]
    existing = [str(path) for path in targets if path.exists()]
    if existing:
        raise RecipeError(f"{', '.join(existing)}: exists already; give another folder: synthgen init DIR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in targets:
            with path.open("x", encoding="utf-8") as file:
                file.write((Path(__file__).parent / path.name).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{folder}: cannot write: {error.strerror}; give another folder: synthgen init DIR"
        ) from None
    return targets
