"""pip install global-land-mask && python bench/report_land.py   # writes synthgen/report/land.txt

The dots behind the report's world map, from a land mask of one arc minute and less; the mask itself is 2.5 MB.
"""

from pathlib import Path

import numpy as np
from global_land_mask import globe  # type: ignore[import-not-found]

STEP = 2.5  # degrees
HEAD = """\
# Land on a grid of 2.5 degrees: row 1 is centred on 83.75 N, column 1 on 178.75 W; a bit is set where at least half is land.
# From global-land-mask 1.0.0 (NOAA's GLOBE elevation model, public domain) by bench/report_land.py.
"""


def main() -> None:
    north, east = np.arange(83.75, -58, -STEP), np.arange(-180 + STEP / 2, 180, STEP)
    inside = (np.arange(5) - 2) / 5 * STEP  # each cell is asked at 25 points
    points = np.meshgrid((north[:, None] + inside).ravel(), (east[:, None] + inside).ravel(), indexing="ij")
    share = globe.is_land(*points).reshape(len(north), 5, len(east), 5).mean(axis=(1, 3))
    rows = ["".join("1" if land else "0" for land in row) for row in share >= 0.5]
    lines = [format(int(row, 2), f"0{len(east) // 4}x") for row in rows]
    Path("synthgen/report/land.txt").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
