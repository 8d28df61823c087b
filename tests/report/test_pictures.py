"""The pictures, as the browser gets them: what they show is what is known, and values are nothing but values."""

import re
from xml.etree import ElementTree

import altair as alt
import pytest

from synthgen.report.bars import _named, columns, data, percent, rows
from synthgen.report.figures import Bar, Chart, Place, Places
from synthgen.report.pictures import heat_map, tuning_curve, world_map
from synthgen.report.reliability import AdapterFacts
from synthgen.report.svg import inline

PLANTED = (
    "</svg><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "datum.value[0]",
    'a.b["c"]',
    "\\u0041 \\' \" &amp; &lt;",
    '{"expr": "1+1"}',
    "${width} #{x}",
    "null",
    "\x00 \x0b \ufffe end",
    "two\nlines",
    "",
)


def chart(*shares: tuple[str, float, float]) -> Chart:
    """Values with their shares before and after, an interval of two points each way, and a target of a half."""
    bars = (
        Bar(label, old, new, 0.5, (max(0.0, old - 0.02), old + 0.02), (max(0.0, new - 0.02), new + 0.02))
        for label, old, new in shares
    )
    return Chart("values", tuple(bars))


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture[picture.index("<svg") : picture.index("</svg>") + 6])


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(parsed(svg).iter(tag))


def bars(svg: str) -> dict[str, tuple[str, tuple[float, float, float, float]]]:
    """Title of each bar → its colour, and x, y, width, height in its picture."""
    found = {}
    for path in elements(svg, "path"):
        title = path.find("title")
        box = re.fullmatch(r"M([-\d.]+),([-\d.]+)h([-\d.]+)v([-\d.]+)h[-\d.]+Z", path.get("d", ""))
        if title is not None and box is not None:
            x, y, width, height = map(float, box.groups())
            found[title.text or ""] = (path.get("fill", ""), (x, y, width, height))
    return found


def words(svg: str) -> list[str]:
    return [text.text or "" for text in elements(svg, "text")]


class TestBars:
    shown = chart(("Female", 0.96, 0.5), ("Male", 0.03, 0.25), ("Non-binary", 0.01, 1.0))

    def test_a_rows_length_is_its_share(self) -> None:
        found = bars(rows(self.shown, ["before", "after"], 1.0, "x", "full"))
        assert len(found) == 6
        whole = found["Non-binary: 100 % (98–102 %), target 50 %"][1][2]
        for bar in self.shown.bars:
            for table, share in (("before", bar.before or 0.0), ("after", bar.after)):
                [(colour, box)] = [
                    shape
                    for title, shape in found.items()
                    if title.startswith(f"{bar.label}: {percent(share)} ")
                ]
                assert colour == f"var(--{table})"
                assert box[2] == pytest.approx(share * whole, abs=0.11)

    def test_a_columns_height_is_its_share(self) -> None:
        found = bars(columns(self.shown, "after", 1.0, "x", "half"))
        heights = {title.partition(":")[0]: box[3] for title, (_, box) in found.items()}
        assert heights["Female"] == pytest.approx(heights["Non-binary"] / 2, abs=0.11)
        assert heights["Male"] == pytest.approx(heights["Non-binary"] / 4, abs=0.11)

    def test_target_and_interval_stand_where_the_shares_say(self) -> None:
        svg = rows(chart(("a", 0.0, 0.25), ("b", 0.0, 1.0)), ["after"], 1.0, "x", "full")
        whole = bars(svg)["b: 100 % (98–102 %), target 50 %"][1][2]
        lines = [(line.get("transform", ""), line) for line in elements(svg, "line")]
        targets = [at for at, line in lines if line.get("stroke") == "var(--target)"]
        assert len(targets) == 2
        for at in targets:
            assert float(at[10:].split(",")[0]) == pytest.approx(whole / 2, abs=0.6)
        at, line = next(
            pair for pair in lines if pair[1].get("stroke") == "var(--ink)" and pair[1].get("x2") != "0"
        )
        assert float(at[10:].split(",")[0]) == pytest.approx(0.23 * whole, abs=0.6)
        assert float(line.get("x2", "0")) == pytest.approx(0.04 * whole, abs=0.6)

    def test_values_that_begin_alike_stay_apart(self) -> None:
        long = "the same long beginning of a value, over and over, "
        found = chart((long + "a", 0.0, 0.5), (long + "b", 0.0, 0.25))
        svg = rows(found, ["after"], 1.0, "x", "full")
        paths = [path.get("d") for path in elements(svg, "path") if path.find("title") is not None]
        assert len(set(paths)) == 2
        assert sum(word.startswith("the same") for word in words(svg)) == 2

    def test_many_columns_have_one_line_for_the_target(self) -> None:
        years = chart(*((str(year), 0.0, 0.01) for year in range(1925, 2006)))
        svg = columns(years, "after", 0.02, "x", "half")
        assert len(bars(svg)) == 81
        assert [path.get("stroke") for path in elements(svg, "path")].count("var(--target)") == 1
        assert not [line for line in elements(svg, "line") if line.get("stroke") == "var(--ink)"]
        assert {"1940", "1960", "1980", "2000"} <= set(words(svg))

    @pytest.mark.parametrize(
        ("labels", "named"),
        [
            (["1", "2", "3"], ["1", "2", "3"]),
            ([str(y) for y in range(1925, 2006)], ["1940", "1960", "1980", "2000"]),
            (["1903", "1920", *map(str, range(1930, 2011))], ["1940", "1960", "1980", "2000"]),
            (["1900", "1920", *map(str, range(1927, 2012))], ["1940", "1960", "1980", "2000"]),
            ([str(i / 10) for i in range(11)], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            ([*map(str, range(8)), "inf", "nan", "none"], ["0", "2", "4", "6"]),
            ([f"2001-01-{day:02d}" for day in range(1, 10)], ["2001-01-01", "2001-01-05", "2001-01-09"]),
            ([f"rank {i + 1}" for i in range(40)], ["rank 1", "rank 20", "rank 40"]),
            (["-1e308", *map(str, range(6)), "1e308"], ["-1e308", "1e308"]),
            (["1", "3", "17", "1001", "1003", "1007", "1009"], ["1", "1009"]),
        ],
    )
    def test_columns_are_named_at_round_numbers(self, labels: list[str], named: list[str]) -> None:
        assert [labels[at] for at in _named(labels)] == named


def test_a_value_is_a_value() -> None:
    n = len(PLANTED)
    shown = chart(*((value, i / 100, 1 / n) for i, value in enumerate(PLANTED)))
    places = Places(tuple(Place(value, 10.0 * i, 0.0, 1) for i, value in enumerate(PLANTED)), n, 0)
    cell: dict[str, object] = {"tone": 0.5, "marked": True}
    pairs = [{**cell, "row": i, "column": 0, "text": PLANTED[i], "said": PLANTED[i]} for i in range(1, n)]
    curve = ((1.0, 2.0, 1.0, 1.0), (2.0, 1.5, 1.0, 0.5))
    drawn = [
        rows(shown, ["before", "after"], 1.0, "".join(PLANTED), "full"),
        columns(shown, "after", 1.0, "".join(PLANTED), "half"),
        heat_map(PLANTED, pairs, "".join(PLANTED)),
        world_map(places, "".join(PLANTED)),
        tuning_curve(AdapterFacts("".join(PLANTED), curve=curve)),
    ]
    for svg in drawn:
        assert {element.tag for element in parsed(svg).iter()} <= {
            "svg",
            "g",
            "path",
            "line",
            "text",
            "title",
        }
        assert not any(name.startswith("on") for element in parsed(svg).iter() for name in element.attrib)
        assert svg.count("</svg>") == 1
    assert len(bars(drawn[0])) == 2 * n
    assert len(bars(drawn[1])) == n
    for svg in (drawn[0], drawn[2]):
        for value in PLANTED:
            visible = re.sub("[\x00\ufffe]", "\ufffd", " ".join(value.split()))
            assert any(word[:15] == visible[:15] for word in words(svg)), value
    titles = {title.text for title in elements(drawn[3], "title")}
    assert {"null: 1", "datum.value[0]: 1", '{"expr": "1+1"}: 1'} <= titles


def test_a_letter_of_two_halves_is_not_cut_in_half() -> None:
    flags = tuple("\U0001f1eb\U0001f1f7" * i for i in (5, 20, 40))
    svg = rows(chart(*((value, 0.3, 0.2) for value in flags)), ["after"], 1.0, "x", "full")
    assert sum(word.startswith(flags[0]) for word in words(svg)) == 3


def test_nothing_in_a_picture_is_of_one_theme_or_needs_another_file() -> None:
    drawn = [
        rows(TestBars.shown, ["before", "after"], 1.0, "x", "full"),
        columns(TestBars.shown, "after", 1.0, "x", "half"),
        world_map(Places((Place("Paris", 2.35, 48.85, 3),), 3, 0), "Place"),
    ]
    for svg in drawn:
        for element in parsed(svg).iter():
            assert not {"style", "id", "font-family", "clip-path"} & set(element.attrib)
            for name in ("fill", "stroke"):
                assert re.fullmatch(r"none|var\(--[a-z]+\)", element.get(name, "none")), element.attrib
        assert "xmlns" not in svg and "url(" not in svg


def test_a_picture_reads_no_address() -> None:
    outside = alt.Chart("https://example.org/data.json").mark_bar().encode(x="a:Q", description="a:N")
    with pytest.raises(ValueError, match="example"):
        inline(outside, "x", "half")
    assert "<title>" in inline(data([{"a": 1}]).mark_bar().encode(x="a:Q", description="a:N"), "x", "half")


def test_the_optimum_is_drawn_where_every_step_knows_it() -> None:
    curve = ((1.0, 12.0, 10.0, 2.0), (2.0, 11.0, 10.0, 1.0))
    known = tuning_curve(AdapterFacts("a", curve=curve))
    unknown = tuning_curve(AdapterFacts("a", curve=((1.0, 12.0, None, None), *curve[1:])))
    assert known.count("stroke-dasharray") == 1
    assert "optimum 10.00" in known
    assert "stroke-dasharray" not in unknown
    assert "optimum" not in unknown
    assert tuning_curve(AdapterFacts("a", curve=curve[:1])) == ""


def test_a_place_stands_on_the_map_where_it_is() -> None:
    points = (
        Place("Null Island", 0.0, 0.0, 4),
        Place("Far North", 0.0, 60.0, 1),
        Place("Far East", 90.0, 0.0, 1),
    )
    svg = world_map(Places(points, 6, 0), "Place")
    at = {}
    for path in elements(svg, "path"):
        title = path.find("title")
        if title is not None:
            x, y = (path.get("transform") or "")[10:-1].split(",")
            at[title.text] = (float(x), float(y))
    assert at["Null Island: 4"] == (500, 242)
    y60 = 242 - 184.7 * 1.0883  # Šavrič, Patterson and Jenny (2018): the Equal Earth projection
    assert at["Far North: 1"] == pytest.approx((500, y60), abs=1)
    assert at["Far East: 1"] == pytest.approx((500 + 184.7 * 2.7066 / 2, 242), abs=1)
    [land] = [path.get("d", "") for path in elements(svg, "path") if path.get("fill") == "var(--land)"]
    ys = [float(y) for y in re.findall(r",(-?[\d.]+)", land)]
    assert len(ys) > 3000
    assert 0 <= min(ys) < 20
    assert 380 < max(ys) <= 435


def test_a_heat_map_is_the_lower_triangle() -> None:
    labels = ["Gender", "Born", "Place"]
    cells: list[dict[str, object]] = [
        {
            "row": i,
            "column": j,
            "tone": 1.0 if marked else 0.0,
            "text": f"0.{i}{j}",
            "said": f"{labels[j]} and {labels[i]}",
            "marked": marked,
        }
        for i, j, marked in ((1, 0, True), (2, 0, False), (2, 1, False))
    ]
    svg = heat_map(labels, cells, "x")
    found = {title: box for title, (_, box) in bars(svg).items()}
    assert found["Gender and Born"][:2] < found["Gender and Place"][:2] < found["Born and Place"][:2]
    bold = [text.text for text in elements(svg, "text") if text.get("font-weight") in ("700", "bold")]
    assert bold == ["0.10"]
    assert sorted(words(svg)) == sorted(["Gender", "Born", "Born", "Place", "0.10", "0.20", "0.21"])
