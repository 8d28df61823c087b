"""A target's raw values → checked text and typed values: what every kind of target goes through.

What is accepted here is what a record may hold: the field's own type and constraints, then the wire format's,
then the validators of the user's model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, TypeAdapter, ValidationError

from synthgen import braces
from synthgen.errors import RecipeError
from synthgen.loading import describe_error
from synthgen.schema import FieldSpec, RecordSchema, text_of

Row = tuple[tuple[str, ...], tuple[object, ...]]  # texts and typed values of the leading fields
_SHOWN = 5  # problems that are printed


class ValueReader:
    """Raw value of one field → its text between the braces and its typed value."""

    def __init__(self, schema: RecordSchema, field: FieldSpec) -> None:
        """Reads values for `field`, with the field's own type and constraints."""
        info = schema.model.model_fields[field.name]
        self.field = field
        self._adapter: TypeAdapter[object] = TypeAdapter(info.rebuild_annotation())
        self._known: dict[tuple[type, object], tuple[str, object]] = {}

    def read(self, raw: object) -> tuple[str, object]:
        """Text and typed value; ValueError names field, value and what was expected."""
        if not self.field.is_closed:
            return self._read(raw)
        try:
            key = (type(raw), raw)
            if key not in self._known:
                self._known[key] = self._read(raw)
            return self._known[key]
        except TypeError:  # not hashable
            return self._read(raw)

    def _read(self, raw: object) -> tuple[str, object]:
        field = self.field
        item = getattr(raw, "item", None)
        value = item() if item is not None and type(raw).__module__ == "numpy" else raw
        if isinstance(value, bool) and field.kind not in ("bool", "literal", "enum", "int"):
            value = text_of(value)  # YAML reads yes and no as truth values
        if isinstance(value, str):
            value = braces.convert_value(field, value)
        elif field.by_text:
            value = field.by_text.get(text_of(value), value)
        try:
            typed = self._adapter.validate_python(value, strict=False)
        except ValidationError as error:
            message = error.errors(include_url=False, include_context=False)[0]["msg"]
            if field.by_text:
                message = f"expected one of {', '.join(field.by_text)}"
            raise ValueError(f"field {field.name!r}: found {raw!r}; {message}") from None
        return braces.render_value(field, typed), typed


class RowReader:
    """Raw tuples, dicts or instances → texts and typed values of the leading fields."""

    def __init__(self, place: str, schema: RecordSchema, names: tuple[str, ...]) -> None:
        """`place` opens every error; `names` are the leading fields."""
        self.place, self.schema, self.names = place, schema, names
        self.readers = [ValueReader(schema, schema.field(name)) for name in names]

    def read(self, raws: Sequence[object], checked: bool) -> list[Row]:
        """All rows; `checked` runs the user's own validators too. RecipeError lists the first few faults."""
        rows: list[Row] = []
        problems: list[str] = []
        for number, raw in enumerate(raws, 1):
            try:
                pairs = [reader.read(v) for reader, v in zip(self.readers, self._values(raw), strict=True)]
                rows.append((tuple(text for text, _ in pairs), tuple(value for _, value in pairs)))
            except ValueError as error:
                problems.append(f"{self.place}: tuple {number}: {error}")
                if len(problems) == _SHOWN:
                    break
        if problems:
            raise RecipeError(problems)
        if checked:
            self.check(rows)
        return rows

    def typed(self, texts: tuple[str, ...]) -> Row:
        """A row from its texts."""
        return texts, tuple(reader.read(text)[1] for reader, text in zip(self.readers, texts, strict=True))

    def check(self, rows: Sequence[Row]) -> None:
        """Run the model's validators on every row; RecipeError names the first that they refuse."""
        whole = len(self.names) == len(self.schema.fields)
        keys = {field.key or field.name for field in self.schema.fields[: len(self.names)]}
        for number, (texts, _) in enumerate(rows, 1):
            try:
                self.schema.model.model_validate(braces.convert(self.schema, texts), strict=False)
            except ValidationError as error:
                faults = error.errors(include_url=False, include_context=False)
                own = [fault for fault in faults if fault["loc"] and fault["loc"][0] in keys]
                if fault := (own or (faults if whole else [])):
                    name = ".".join(map(str, fault[0]["loc"])) or self.schema.name
                    raise RecipeError(
                        f"{self.place}: tuple {number}: field {name!r}: found {fault[0]['input']!r}; "
                        f"{fault[0]['msg']}"
                    ) from None
            except Exception as error:  # a user's model validator that cannot do with some of the fields only
                if whole:
                    raise RecipeError(f"{self.place}: tuple {number}: {describe_error(error)}") from error

    def _values(self, raw: object) -> Sequence[object]:
        if isinstance(raw, BaseModel):
            return [getattr(raw, name) for name in self.names]
        if isinstance(raw, Mapping):
            if missing := [name for name in self.names if name not in raw]:
                raise ValueError(f"found no value for field {missing[0]!r}")
            return [raw[name] for name in self.names]
        if isinstance(raw, (tuple, list)):
            if len(raw) != len(self.names):
                raise ValueError(
                    f"found {len(raw)} values; expected {len(self.names)}: {', '.join(self.names)}"
                )
            return raw
        raise ValueError(f"found {type(raw).__name__}; expected a tuple, a dict or a {self.schema.name}")


def leading(place: str, schema: RecordSchema, fields: Sequence[str]) -> tuple[str, ...]:
    """The fields, if they are the schema's first ones in order."""
    for name in fields:
        if name not in schema.names:
            close = get_close_matches(name, schema.names, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(schema.names)}"
            raise RecipeError(f"{place}: {name!r} is no field of {schema.name}; {remedy}")
    expected = schema.names[: len(fields)]
    if tuple(fields) != expected:
        raise RecipeError(
            f"{place}: found the fields {', '.join(fields)}; expected the leading ones in schema order: "
            f"{', '.join(expected)} (or reorder the fields of {schema.name})"
        )
    return expected
