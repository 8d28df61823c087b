"""A user's Python file → the object named in it: where schemas and target functions enter.

A schema file is the user's code and is run as such. Each file is loaded as a module of a package that stands
for its folder, so that files side by side share code with `from .sources import cities`, nothing is put on
`sys.path`, and two folders may hold files of the same name. Whatever the file raises becomes one line.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from synthgen.errors import RecipeError

_loaded: dict[Path, tuple[tuple[int, int], ModuleType]] = {}  # file → (mtime and size when loaded, module)


def load_object(path_and_name: str, base: Path) -> object:
    """The object at "file.py:name" (relative to `base`) or "package.module:name".

    The same unchanged file gives the same module each time, so its classes stay identical. RecipeError, one
    line, if file or name do not exist or the file raises.
    """
    where, colon, name = path_and_name.rpartition(":")
    if not colon or not where or not name.strip():
        raise RecipeError(f"{path_and_name}: found no name; expected 'file.py:Name' or 'package.module:Name'")
    module = _load_file(where, base) if where.endswith(".py") else _load_module(where)
    try:
        return getattr(module, name.strip())
    except AttributeError:
        names = [known for known in vars(module) if not known.startswith("_")]
        close = difflib.get_close_matches(name, names, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else "check the name after the colon"
        raise RecipeError(f"{where}: found no {name!r} in it; {remedy}") from None


def describe_error(error: BaseException, path: str | Path | None = None) -> str:
    """One line for what user code raised: the line of its file, the exception's type and message."""
    message = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if path is not None and frame.filename == str(path)]
    return f"line {lines[-1]}: {message}" if lines else message


def _load_file(where: str, base: Path) -> ModuleType:
    path = (base / Path(where).expanduser()).resolve()
    if not path.is_file():
        raise RecipeError(f"{where}: found no such file (looked for {path}); check the path before the colon")
    stat = path.stat()
    stamp = (stat.st_mtime_ns, stat.st_size)
    if path in _loaded and _loaded[path][0] == stamp:
        return _loaded[path][1]
    name = f"{_package_of(path.parent)}.{path.stem.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{where}: cannot be loaded; expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Pydantic looks a class's module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        remedy = ""
        if isinstance(error, ModuleNotFoundError) and error.name:
            beside = (path.parent / f"{error.name}.py").is_file()
            remedy = f"; write `from .{error.name} import …`" if beside else f"; is {error.name} installed?"
        raise RecipeError(f"{where}: cannot be loaded: {describe_error(error, path)}{remedy}") from error
    _loaded[path] = (stamp, module)
    return module


def _package_of(folder: Path) -> str:
    name = f"synthgen_user_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        package = ModuleType(name, f"Stands for the folder {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


def _load_module(where: str) -> ModuleType:
    try:
        return importlib.import_module(where)
    except (Exception, SystemExit) as error:
        remedy = "expected an installed module, or a path ending in .py"
        raise RecipeError(f"{where}: cannot be imported: {describe_error(error)}; {remedy}") from error
