"""The published numbers, as data, to stand beside measured ones and never to be mixed with them.

Zhang et al., Forcing Diffuse Distributions out of Language Models, COLM 2024, arXiv 2404.10859. Entropy in nats,
coverage of 1,000 answers. Two misprints are known and treated so: the Mistral column of the held-out entropies repeats
Llama-2's and is left out; the coverage of the two tuned columns of the biographies is swapped, and swapped back here, as
no entropy may exceed the logarithm of its coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "Zhang et al. 2024, arXiv 2404.10859"
GEMMA, LLAMA, MISTRAL = "Gemma-7B-it", "Llama-2-13B-chat", "Mistral-7B-Instruct"
MODELS = (GEMMA, LLAMA, MISTRAL)


@dataclass(frozen=True)
class Pair:
    """Entropy and coverage before and after; None where what is printed cannot be right."""

    entropy: tuple[float, float] | None
    coverage: tuple[float, float]

    @property
    def entropy_ratio(self) -> float | None:
        """After over before."""
        return None if self.entropy is None else self.entropy[1] / self.entropy[0]

    @property
    def coverage_ratio(self) -> float:
        """After over before."""
        return self.coverage[1] / self.coverage[0]


NUMBER, NAMES = "random number 1–10", "baby names"

# Tuned on the task itself.
SINGLE: dict[str, dict[str, Pair]] = {
    NUMBER: {
        GEMMA: Pair((1.16, 2.28), (8, 10)),
        LLAMA: Pair((1.07, 2.29), (7, 10)),
        MISTRAL: Pair((1.88, 2.30), (9, 10)),
    },
    NAMES: {
        GEMMA: Pair((3.19, 5.69), (170, 442)),
        LLAMA: Pair((3.24, 5.83), (129, 490)),
        MISTRAL: Pair((4.02, 5.78), (225, 479)),
    },
}
NATURAL: dict[str, tuple[float, float]] = {NUMBER: (2.30, 10), NAMES: (6.43, 714)}  # entropy, coverage

# Tuned on the other five tasks.
HELD_OUT: dict[str, dict[str, Pair]] = {
    "names": {
        GEMMA: Pair((3.20, 5.03), (170, 346)),
        LLAMA: Pair((3.24, 5.57), (129, 426)),
        MISTRAL: Pair(None, (225, 493)),
    },
    "countries": {
        GEMMA: Pair((1.58, 2.59), (23.3, 53.3)),
        LLAMA: Pair((1.19, 2.73), (17.8, 43.0)),
        MISTRAL: Pair(None, (44.0, 71.5)),
    },
    "fruits": {
        GEMMA: Pair((1.96, 2.82), (20.5, 62.0)),
        LLAMA: Pair((2.33, 3.28), (45.0, 60.5)),
        MISTRAL: Pair(None, (46.0, 64.0)),
    },
    "days and dates": {
        GEMMA: Pair((1.82, 2.71), (18.5, 23.0)),
        LLAMA: Pair((1.47, 2.81), (14.3, 22.5)),
        MISTRAL: Pair(None, (22.7, 22.5)),
    },
    "numbers": {
        GEMMA: Pair((1.28, 2.65), (16.0, 31.0)),
        LLAMA: Pair((0.91, 2.70), (10.0, 31.9)),
        MISTRAL: Pair(None, (29.3, 32.0)),
    },
    "occupations": {
        GEMMA: Pair((1.59, 3.40), (51.7, 148)),
        LLAMA: Pair((3.21, 4.68), (192.7, 313.3)),
        MISTRAL: Pair(None, (180.3, 305)),
    },
}


@dataclass(frozen=True)
class Triple:
    """A field of 1,000 biographies: base, tuned on other tasks, tuned on biographies after them."""

    coverage: tuple[float, float, float]
    entropy: tuple[float, float, float]


BIOGRAPHIES: dict[str, Triple] = {  # Llama-2-13B-chat
    "first_name": Triple((158, 637, 375), (3.23, 6.18, 5.58)),
    "last_name": Triple((288, 845, 557), (4.30, 6.63, 5.96)),
    "birth_year": Triple((26, 67, 89), (1.10, 3.15, 4.22)),
    "birthplace": Triple((98, 305, 533), (2.65, 5.08, 5.98)),
    "profession": Triple((178, 276, 198), (3.81, 4.61, 4.33)),
}
GENDERS: dict[str, tuple[int, int, int]] = {  # of 1,000, the same three columns; of the rest nothing is said
    "Female": (966, 762, 487),
    "Non-binary": (17, 31, 34),
    "Male": (13, 189, 478),
}

# How many targets each prompt's list had; of the continents in an order that is not given.
TARGETS = {
    "names": "200",
    "countries": "54, 49, 45, 22, 16, 13",
    "days and dates": "7 ×2, 30 ×2, 31 ×2",
    "fruits": "81 ×2",
    "numbers": "even, odd, prime and plain ranges, small and large",
    "occupations": "200, 18, 16",
}
