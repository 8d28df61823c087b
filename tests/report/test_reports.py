"""Terminal, HTML, card and JSON: the same facts in each, and none of them harmed by what the data holds."""

import dataclasses
import io
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
import yaml
from rich.console import Console

from synthgen.report import card, html, terminal, write_reports
from synthgen.report import wording as w
from synthgen.report.bars import said_of
from synthgen.report.facts import compute
from synthgen.report.figures import Facts, FieldInfo
from tests.report import biographies as bios

EVIL = "<script>alert(\"x\")</script><img src=//example.org/a.png onerror=alert(1)> | `x` & 'y'"


@pytest.fixture(scope="module")
def facts() -> Facts:
    return bios.facts()


@pytest.fixture(scope="module")
def drawn(facts: Facts) -> str:
    return html.render(facts)


@pytest.fixture(scope="module")
def evil() -> Facts:
    table = pl.DataFrame(
        {"name": [EVIL] * 3 + ["b"], "note": [EVIL + " and more text"] * 4, EVIL: ["[red]x[/red]"] * 4}
    )
    reference = {"name": {EVIL: 0.5, "b": 0.5}}
    run: dict[str, object] = {
        "title": EVIL,
        "recipe": EVIL,
        "engine": EVIL,
        "accepted": 4,
        "attempted": 5,
        "rejected": 1,
        "rejects": {EVIL: 1},
        "versions": {EVIL: EVIL},
        "adapters": {EVIL: {"after": {"kl": 1.0, "fields": {EVIL: 1.0}}}},
        "extra": {EVIL: EVIL},
    }
    return compute(table, reference=reference, before=table, run=run)


def on_screen(facts: Facts, width: int = 120, plain: bool = True) -> str:
    out = io.StringIO()
    terminal.render(facts, Console(file=out, width=width, force_terminal=not plain), plain=plain)
    return out.getvalue()


class Page(HTMLParser):
    """What a browser would make of the page: its tags, its links, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "line", "rect") or (tag == "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_the_same_figures_everywhere(facts: Facts, tmp_path: Path) -> None:
    paths = {p.name: p.read_text(encoding="utf-8") for p in write_reports(facts, tmp_path)}
    assert sorted(paths) == ["README.md", "report.html", "report.json"]
    page, screen, readme = Page(paths["report.html"]).text, on_screen(facts, 160), paths["README.md"]
    plain = json.loads(paths["report.json"])
    assert plain["headline"] == facts.headline
    for text in (page, screen, readme):
        assert w.sentence(facts)[:-1] in text.replace("\\_", "_")
        assert w.arrow(w.share(bios.RUN["parse_rate_before"]), w.share(facts.run.parse_rate)) in text  # type: ignore[arg-type]
        for reason, n in facts.run.rejects.items():
            assert f"{reason} {n}" in text.replace("\\_", "_")
    for entry, record in zip(facts.fields, plain["fields"], strict=True):
        assert record["verdict"] == entry.verdict
        equal = record["at_equal_n"]
        figures = [
            w.arrow(w.count(equal["coverage_before"]), w.count(equal["coverage_after"])),
            w.arrow(w.nats(equal["entropy_before"]), w.nats(equal["entropy_after"])),
        ]
        if record["target"]:
            before, after = record["target_before"]["tv"], record["target"]["tv"]
            figures += [
                w.arrow(w.distance(before["value"]), w.distance(after["value"])),
                w.distance(after["floor_p95"]),
                record["verdict"],
            ]
        for figure in figures:
            for name, text in (("html", page), ("terminal", screen), ("card", readme)):
                assert figure in text, f"{name} lacks {record['info']['name']} {figure}"
    assert plain["joint"]["n"] == facts.n_records
    lines = w.findings(facts)
    assert [line.partition(":")[0] for line in lines] == [
        "joint target",
        "dependence",
        "drift",
        "seen in tuning",
    ]
    for line in [line.partition(": ")[2] for line in lines] + [w.spelling(facts), w.SPELLING]:
        for name, text in (("html", page), ("terminal", screen), ("card", readme)):
            assert line in text, f"{name} lacks {line}"
    both = plain["pairs"]["pairs"][0]
    assert {both["a"], both["b"]} == {"gender", "birth_year"}
    assert w.arrow(w.distance(both["tv_before"]), w.distance(both["tv"]["value"])) in lines[0]
    assert w.arrow(w.share(plain["seen_before"]), w.share(plain["seen_records"])) in lines[3]
    assert plain["run"]["other_spelling"] == 0.013
    for text in (page, readme):
        assert "204,800" in text and "3d0c1a2b4e5f6a7b" in text
    note = facts.field("accomplishments")
    assert note.after.text is not None
    for figure in w.TEXT_FIGURES:
        written = w.text_figure(note.before.text if note.before else None, note.after.text, figure)
        assert written in page
        assert written in readme
    exact = plain["run"]["adapters"][0]
    for name in ("kl", "leak", "shape"):
        figure = w.arrow(w.distance(exact["before"][name]), w.distance(exact["after"][name]))
        for text in (page, screen, readme):
            assert figure in text


class TestTerminal:
    @pytest.mark.parametrize("width", [60, 80, 104, 120, 200])
    @pytest.mark.parametrize("plain", [True, False])
    def test_fits_the_width(self, facts: Facts, width: int, plain: bool) -> None:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", on_screen(facts, width, plain)).splitlines()
        if not plain:
            assert max(len(line) for line in lines) <= width
        text = " ".join(lines)
        for entry in facts.fields:
            assert entry.info.label in text
            assert w.coverage(entry) in text
        assert "within noise" in text

    def test_plain_is_for_logs(self, facts: Facts) -> None:
        text = on_screen(facts, 120, plain=True)
        assert "\x1b" not in text
        assert not set(text) & set("▁▂▃▄▅▆▇█│─┃")

    def test_one_screen(self, facts: Facts) -> None:
        assert len(on_screen(facts, 120).splitlines()) <= 30

    def test_without_before_target_or_run(self) -> None:
        text = on_screen(compute(bios.after(100), fields=bios.FIELDS))
        assert text.startswith("Most concentrated field: Gender")
        assert "TV" not in text
        assert "→" not in text

    def test_markup_in_values_is_text(self, evil: Facts) -> None:
        for width in (60, 140):
            text = on_screen(evil, width, plain=False)
            assert "[red]x[/red]" in text


class TestHtml:
    def test_is_well_formed_and_self_contained(self, drawn: str) -> None:
        text = drawn
        page = Page(text)
        assert page.open == []
        assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(page.tags)
        assert not any(
            name in ("src", "href", "srcset") or name.startswith("on") for name, _ in page.attributes
        )
        assert "url(" not in text
        assert "@import" not in text
        assert " id=" not in text
        assert "http://" not in text
        assert "https://" not in text
        assert "default-src 'none'" in text

    def test_every_picture_has_words(self, drawn: str) -> None:
        pictures = re.findall(r'<svg class="\w+" role="img" aria-label="([^"]*)"', drawn)
        assert len(pictures) == drawn.count("<svg") > 10
        words = ("before, ", "after, ", "rarefaction of ", "Cramér's V ", "TV of pairs ")
        assert all(label.startswith(words) for label in pictures)
        assert all(any(label.startswith(word) for label in pictures) for word in words)
        assert any("Female 96" in label and "(target 48 %)" in label for label in pictures)

    def test_the_bars_show_the_facts(self, facts: Facts, drawn: str) -> None:
        for entry in facts.fields:
            for bar in entry.chart.bars if entry.chart else ():
                assert f"<title>{said_of(bar, 'after')}</title>" in drawn
                assert bar.before is None or f"<title>{said_of(bar, 'before')}</title>" in drawn

    def test_what_the_data_holds_does_nothing(self, evil: Facts) -> None:
        text = html.render(evil)
        page = Page(text)
        assert page.open == []
        assert not {"script", "img"} & set(page.tags)
        assert not any(name.startswith("on") for name, _ in page.attributes)
        assert "alert(&quot;x&quot;)" in text
        assert "alert(1)" in unescape(page.text)

    def test_the_tuning_curve_and_the_map_are_drawn(self) -> None:
        table = pl.DataFrame({"birthplace": ["Paris, France", "Lagos, Nigeria"] * 150})
        curve = [[1, 12.0, 9.9, 2.1], [2, 11.0, 9.9, 1.1], [3, 10.5, 9.9, 0.6]]
        losses = [[1, 12.0, None, None], [2, 10.5, None, None]]  # new targets at every step, none declared
        adapters = {
            "a": {"after": {"kl": 0.6, "fields": {"Die": 0.4}}, "curve": curve, "prompts": 2},
            "b": {"after": {"kl": 0.6}, "curve": losses},
        }
        run: dict[str, object] = {"adapters": adapters}
        facts = compute(table, fields=[FieldInfo("birthplace", "Birth place", "open")], run=run)
        text = html.render(facts)
        assert "loss of a: 12.00 nats at first, 10.50 at last, optimum 9.90; " in text
        assert "KL to the target of a: 2.100 nats at first, 0.600 at last" in text
        assert 'loss of b: 12.00 nats at first, 10.50 at last"' in text
        assert text.count("stroke-dasharray") == 1  # the one optimum that is known
        assert "mean of 2 prompts" in text and "whole answer" in text
        assert "<title>Lagos, Nigeria: 150</title>" in text
        assert "100.0 % of 300 records name a place known to GeoNames: 2 places" in text
        assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts

    def test_any_table(self) -> None:
        page = Page(html.render(compute(pl.DataFrame({"x": [1, 2, 2], "y": [None, None, None]}))))
        assert "Most concentrated field: Y" in page.text


class TestCard:
    def test_front_matter_is_yaml(self, facts: Facts, evil: Facts) -> None:
        for case in (facts, evil):
            _, front, _ = card.render(case).split("---\n", 2)
            head = yaml.safe_load(front)
            assert head["license"] == "unknown"
            assert head["configs"][0]["data_files"] == "part-*.parquet"
            assert head["pretty_name"] == case.run.title
        assert head["size_categories"] == ["n<1K"]

    def test_says_what_it_is(self, facts: Facts) -> None:
        text = card.render(facts)
        assert "2404.10859" in text
        assert "independent draws" in text
        assert "small stand-in" in text
        quota = dataclasses.replace(facts.run, details={"independent_draws": False}, license="cc-by-4.0")
        text = card.render(dataclasses.replace(facts, run=quota))
        assert "correlated" in text
        assert 'license: "cc-by-4.0"' in text

    def test_markup_in_values_is_text(self, evil: Facts) -> None:
        body = card.render(evil).split(card.MARK)[1]
        assert "<script>" not in body
        for row in (line for line in body.splitlines() if line.startswith("|")):
            assert len(re.findall(r"(?<!\\)\|", row)) in (3, 7)

    def test_a_foreign_readme_is_left_alone(self, tmp_path: Path) -> None:
        facts = compute(pl.DataFrame({"x": [1, 2, 2]}))
        readme = tmp_path / "README.md"
        readme.write_text("mine")
        assert [p.name for p in write_reports(facts, tmp_path)] == ["report.json", "report.html"]
        assert readme.read_text() == "mine"
        readme.unlink()
        for _ in range(2):
            assert readme in write_reports(facts, tmp_path)
        assert not list(tmp_path.glob(".*"))
