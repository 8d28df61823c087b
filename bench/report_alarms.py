"""python bench/report_alarms.py [datasets]   # writes bench/results/report_alarms.md

False alarms of the report on data drawn from its own target, family by family (distances to the target, dependence
between fields, drift), and the detection of a 3-point shift in one category at n = 10,000.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

from synthgen.report.facts import compute

TARGET = {
    "gender": {"Female": 0.475, "Male": 0.475, "Non-binary": 0.05},
    "grade": {str(i): 1 / 12 for i in range(12)},
    "country": {f"C{i}": w for i, w in enumerate((1 / np.arange(1, 41)) / (1 / np.arange(1, 41)).sum())},
}


def dataset(n: int, rng: np.random.Generator, shift: float = 0.0) -> pl.DataFrame:
    columns = {}
    for name, declared in TARGET.items():
        p = np.array(list(declared.values()))
        if name == "gender":
            p += np.array([shift, -shift, 0.0])
        columns[name] = rng.choice(list(declared), n, p=p)
    return pl.DataFrame(columns)


def main() -> None:
    datasets = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = np.random.default_rng(5)
    alarms = {"distance to the target": 0, "dependence between fields": 0, "drift along the record order": 0}
    for i in range(datasets):
        facts = compute(dataset(1000, rng), reference=TARGET, seed=i)
        assert facts.joint is not None
        alarms["distance to the target"] += any(f.target and f.target.state == "off" for f in facts.fields)
        alarms["dependence between fields"] += any(pair.is_real for pair in facts.joint.pairs)
        alarms["drift along the record order"] += any(entry.is_real for entry in facts.joint.drift)
    found = 0
    shifted = max(20, datasets // 10)
    for i in range(shifted):
        target = compute(dataset(10_000, rng, 0.03), reference=TARGET, seed=i).field("gender").target
        found += target is not None and target.state == "off"
    lines = [
        f"`python bench/report_alarms.py {datasets}`: {datasets} datasets of 1,000 records from the target itself.",
        "",
    ]
    lines += ["| family of tests | datasets with an alarm |", "|---|---|"]
    lines += [f"| {name} | {count} ({count / datasets:.1%}) |" for name, count in alarms.items()]
    lines += ["", f"A 3-point shift in one category at n = 10,000: flagged in {found} of {shifted} datasets."]
    print("\n".join(lines))
    Path("bench/results").mkdir(exist_ok=True)
    Path("bench/results/report_alarms.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
