"""YAML text → plain values, and the line of every key: what lets a recipe's errors name their place.

Only PyYAML's composer is used, with the scalars of YAML 1.2: `no` and `on` are words, `1e-3` is a number and
`2024-05-01` is text. Tags, duplicate keys, merge keys and anchors that expand beyond reason are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

MAX_BYTES = 1_000_000  # of a recipe file
MAX_NODES = 100_000  # values in a recipe once its aliases are written out

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of a recipe: the line it stands in, the key path, and what to do about it."""

    line: int
    key: str
    text: str
    path: KeyPath = field(default=(), compare=False)  # the key with its list positions


@dataclass
class Document:
    """A recipe as plain values, with the line (from 1) of every key and list item."""

    value: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """The line of a key path, or of its nearest ancestor that is written down."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: KeyPath, text: str) -> None:
        """Note a fault at a key path."""
        self.problems.append(Problem(self.line(path), dotted(path), text, path))

    def is_faulty(self, path: KeyPath) -> bool:
        """Whether a fault is noted at a key path or under it."""
        return any(problem.path[: len(path)] == path for problem in self.problems)


class _Loader(yaml.SafeLoader):
    """SafeLoader whose plain scalars follow YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def dotted(path: KeyPath) -> str:
    """A key path as errors print it: `adapters.biographies.fields`; list positions are left to the line."""
    return ".".join(part for part in path if isinstance(part, str))


def parse(text: str) -> Document:
    """Read one YAML document; never raises: what is wrong with it stands in `problems`."""
    document = Document()
    if len(text.encode()) > MAX_BYTES:
        document.problem((), f"the file has more than {MAX_BYTES:,} bytes; put large targets in a table file")
        return document
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        finding = " ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem(line, "", f"no YAML: {finding}; mend the line or the one before it"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        finding = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        document.problem((), f"no YAML: {finding}; expected one readable document")
    else:
        if root is not None:
            document.value = _Builder(document).build(root, (), ())
    return document


class _Builder:
    """Walks the composed nodes once, writing aliases out and noting every key's line."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.n_nodes = 0

    def build(self, node: yaml.Node, path: KeyPath, above: tuple[int, ...]) -> object:
        """The node's plain value; `above` holds the ids of the nodes around it, to find circles."""
        self.n_nodes += 1
        if self.n_nodes > MAX_NODES:
            if self.n_nodes == MAX_NODES + 1:
                self.document.problem(
                    (), f"more than {MAX_NODES:,} values once aliases are written out; use fewer"
                )
            return None
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in above:
            self.document.problem(path, "the alias points to a value around itself; write the value out")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != "tag:yaml.org,2002:seq":
                self._refuse_tag(node, path)
            return [self.build(item, (*path, i), (*above, id(node))) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        if node.tag != "tag:yaml.org,2002:map":
            self._refuse_tag(node, path)
        return self._mapping(node, path, (*above, id(node)))

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, above: tuple[int, ...]) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.document.problems.append(
                    Problem(line, dotted(path), "a key is no plain word; write `key: value`")
                )
                continue
            key = str(key_node.value)
            if key in values:
                first = self.document.lines[(*path, key)]
                text = f"the key is written twice, first in line {first}; keep one"
                self.document.problems.append(Problem(line, dotted((*path, key)), text))
                continue
            self.document.lines[(*path, key)] = line
            values[key] = self.build(value_node, (*path, key), above)
            if self.n_nodes > MAX_NODES:
                break
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        kind = node.tag.rpartition(":")[2]
        text = str(node.value)
        match kind:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float":
                try:
                    return int(text) if kind == "int" else float(text)
                except ValueError:
                    self.document.problem(path, f"found {text[:40]!r}; expected a number")
                    return None
        self._refuse_tag(node, path)
        return text

    def _refuse_tag(self, node: yaml.Node, path: KeyPath) -> None:
        self.document.problem(
            path, f"found the tag {node.tag!r}; a recipe holds plain values only: remove it"
        )
