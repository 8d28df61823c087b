"""Shares of n records → whole places for every value of a field, and who has them. Pure arithmetic, for `quota`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping


class Places:
    """One field's places: how many records each value must have at least, may have at most, and has."""

    def __init__(self, name: str, shares: Mapping[str, float], n: int, loose: bool) -> None:
        """Places for `n` records; `loose`: to within one record of n·p, else whole numbers by largest remainder."""
        total = math.fsum(shares.values())
        self.name, self.n = name, n
        self.expected = {text: n * share / total for text, share in shares.items()}
        if loose:
            self.least = {text: max(0, math.ceil(_rounded(x) - 1)) for text, x in self.expected.items()}
            self.most = {text: math.floor(_rounded(x) + 1) for text, x in self.expected.items()}
        else:
            self.least = largest_remainder(self.expected)
            self.most = dict(self.least)
        self.n_lacking = sum(self.least.values())  # records that some value must still have
        self._open = math.fsum(x for text, x in self.expected.items() if self.least[text])
        self.taken: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()  # valid answers by value, accepted or not

    @property
    def open_share(self) -> float:
        """Share of the records of those values that must still have some: how easily one of them is met with."""
        return max(0.0, self._open / self.n)

    def needs(self, text: str) -> bool:
        """Whether the value must have further records."""
        return self.taken[text] < self.least.get(text, 0)

    def lag(self, text: str, n_left: int) -> float:
        """How much more of a value's places is left than its share of the records left, in units of that share.

        Below 0 the value is ahead of the others. A share of less than one record counts as one.
        """
        share = self.expected.get(text, 0.0) * n_left / self.n
        return (self.expected.get(text, 0.0) - self.taken[text] - share) / max(1.0, share)

    def has_room(self, text: str) -> bool:
        """Whether the value may have further records."""
        return self.taken[text] < self.most.get(text, 0)

    def take(self, text: str, n: int = 1) -> None:
        """Take `n` of a value's places, or give them back if negative."""
        before = self._lacking(text)
        self.taken[text] += n
        after = self._lacking(text)
        self.n_lacking += after - before
        self._open += self.expected.get(text, 0.0) * ((after > 0) - (before > 0))

    def relax(self, n_left: int) -> None:
        """Ask for less where more is lacking than there are records left, as may be after an extension.

        A value that had its share rounded up among fewer records may be over it now; others stay below by one.
        """
        while self.n_lacking > n_left:
            wanting = [text for text in self.least if self._lacking(text)]
            text = min(wanting, key=lambda text: self.expected[text] - self.least[text])
            self.least[text] -= 1
            self.n_lacking -= 1
            self._open -= 0.0 if self._lacking(text) else self.expected[text]

    def lacking(self) -> list[tuple[str, int]]:
        """Values that must have further records, and how many; the most first."""
        found = [(text, self._lacking(text)) for text in self.least if self._lacking(text)]
        return sorted(found, key=lambda pair: -pair[1])

    def _lacking(self, text: str) -> int:
        return max(0, self.least.get(text, 0) - self.taken[text])


def largest_remainder(expected: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers with the same sum, each less than one off: rounded down, and the largest remainders up."""
    whole = {text: math.floor(_rounded(x)) for text, x in expected.items()}
    n_up = round(math.fsum(expected.values())) - sum(whole.values())
    up = set(sorted(expected, key=lambda text: whole[text] - _rounded(expected[text]))[:n_up])
    return {text: number + (text in up) for text, number in whole.items()}


def _rounded(expected: float) -> float:
    """Without the rounding errors that would make 480 places 479.999…"""
    return round(expected, 6)
