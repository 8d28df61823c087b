"""Altair charts → inline SVG for the page: text in the page's font, colours as the page's variables, no ids.

The one place that starts Vega. vl-convert runs it in this process, without a browser and without a network; the
first chart of a process costs a quarter of a second, each further one a few hundredths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from xml.etree import ElementTree

import altair as alt
import vl_convert

Size = Literal["half", "full", "natural", "map"]
WIDTHS: dict[Size, int] = {"half": 240, "full": 400}  # units; page.css stretches them to the place there is
# Room is left for a text of this size in a narrow font; page.css makes it smaller, as a reader's font may be wider.
_FONTS: dict[Size, float] = {"half": 12.5, "full": 14.5, "natural": 13.5, "map": 12.0}

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # no XML may hold these
_LONG = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_ROUNDED = frozenset({"d", "transform", "x2", "y2"})
_KEPT = _ROUNDED | {
    "width", "height", "viewBox", "text-anchor", "font-size", "font-weight",
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin",
}  # fmt: skip
_UNSEEN = frozenset({"background", "foreground"})  # classes of Vega's own frames around groups


def inline(
    chart: alt.LayerChart | alt.Chart, spoken: str, size: Size, large: Mapping[str, Any] | None = None
) -> str:
    """A chart as one `<svg role="img">`.

    What a mark's `description` says becomes its `<title>`, which browsers show as a tooltip; all other words for
    screen readers are `spoken`, the picture's one label. `large` data, by the name that the chart has for them,
    pass by Altair, which would look at every number.
    """
    spec = _printable(chart.to_dict())
    spec["config"] = _config(_FONTS[size])  # not what a notebook's theme says
    spec["datasets"] = {**spec.get("datasets", {}), **(large or {})}
    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    root = ElementTree.fromstring(drawn)  # noqa: S314 - Vega's output, not a stranger's
    _clean(root)
    if size != "natural":
        del root.attrib["width"], root.attrib["height"]
    root.attrib = {"class": size, "role": "img", "aria-label": _printable(spoken), **root.attrib}
    return ElementTree.tostring(root, encoding="unicode")


def _config(font_size: float) -> dict[str, Any]:
    axis = {
        "labelColor": "var(--soft)",
        "labelFontSize": font_size,
        "labelPadding": 4,
        "title": None,
        "domainColor": "var(--soft)",
        "gridColor": "var(--line)",
        "ticks": False,
    }
    return {
        "autosize": {"type": "fit", "contains": "padding"},
        "background": None,
        "padding": 1,
        "view": {"stroke": None},
        "axis": axis,
        "text": {"fontSize": font_size, "color": "var(--ink)"},
        "legend": {"disable": True},
    }


def _printable(part: Any) -> Any:
    """A part of a specification without the characters that XML cannot hold: at one of them vl-convert aborts."""
    if isinstance(part, str):
        return _NOT_XML.sub("\ufffd", part)
    if isinstance(part, dict):
        return {name: _printable(value) for name, value in part.items()}
    return [_printable(value) for value in part] if isinstance(part, list) else part


def _clean(element: ElementTree.Element) -> None:
    """Keep what is seen, and descriptions as titles; round what is finer than a screen; let nothing clip.

    So there are no ids, which would have to differ between the pictures of a page.
    """
    element.tag = element.tag.removeprefix(_NAMESPACE)
    for child in list(element):
        _clean(child)
        if child.get("class") in _UNSEEN or child.tag == "defs" or (child.tag == "g" and len(child) == 0):
            element.remove(child)
    described = element.get("aria-label")
    is_mark = element.get("role") == "graphics-symbol" and element.tag != "g"
    element.attrib = {
        name: _LONG.sub(_rounded, value) if name in _ROUNDED else value
        for name, value in element.attrib.items()
        if name in _KEPT or (name == "class" and value in _UNSEEN)
    }
    if described and is_mark:
        title = ElementTree.Element("title")
        title.text = described
        element.insert(0, title)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
