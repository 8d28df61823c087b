"""The trie's arithmetic, against numbers worked out by hand and against whole targets one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import RecipeError
from synthgen.trie import Builder, Floats, TokenTrie

STOP = 0


@st.composite
def weighted_targets(draw: st.DrawFn) -> tuple[list[list[int]], list[float]]:
    bodies = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=6), min_size=1, max_size=12))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(bodies), max_size=len(bodies)))
    return [[*body, STOP] for body in bodies], weights


def random_log_probs(trie: TokenTrie, seed: int) -> Floats:
    """A random model restricted to the trie's nodes, with some mass left over at every prefix."""
    rng = np.random.default_rng(seed)
    raw = rng.gamma(1.0, size=len(trie))
    spare = rng.gamma(0.3, size=len(trie) + 1)
    total = np.bincount(trie.parent + 1, weights=raw, minlength=len(trie) + 1) + spare
    return np.asarray(np.log(raw / total[trie.parent + 1]))


def optimal_log_probs(trie: TokenTrie) -> Floats:
    return np.asarray(np.log(trie.mass / trie.outflow[trie.parent + 1]))


def whole_targets(trie: TokenTrie, log_probs: Floats) -> tuple[Floats, Floats]:
    """Per target: its weight, and its log-probability as the sum along its path."""
    leaves = np.flatnonzero(trie.is_leaf)
    return trie.mass[leaves], np.array([log_probs[trie.path(int(leaf))].sum() for leaf in leaves])


@given(weighted_targets(), st.integers(0, 2**32))
def test_trie_figures_equal_those_of_whole_targets(
    targets: tuple[list[list[int]], list[float]], seed: int
) -> None:
    trie = TokenTrie.from_sequences(*targets)
    log_probs = random_log_probs(trie, seed)
    weight, score = whole_targets(trie, log_probs)
    figures = trie.figures(log_probs)
    assert weight.sum() == pytest.approx(1)
    assert figures.cross_entropy == pytest.approx(-(weight * score).sum())
    assert figures.optimum == pytest.approx(-(weight * np.log(weight)).sum(), abs=1e-9)
    leak = -np.log(np.exp(score).sum())
    inside = score + leak
    assert figures.leak == pytest.approx(leak, abs=1e-9)
    assert figures.shape == pytest.approx((weight * (np.log(weight) - inside)).sum(), abs=1e-9)
    assert figures.kl == pytest.approx(figures.cross_entropy - figures.optimum)
    tv = 0.5 * (np.abs(weight - np.exp(score)).sum() + 1 - np.exp(score).sum())
    assert figures.fields["answer"].tv == pytest.approx(tv, abs=1e-9)
    assert (figures.kl or 0) >= -1e-9


@given(weighted_targets())
def test_masses_add_up_and_the_optimum_has_no_divergence(
    targets: tuple[list[list[int]], list[float]],
) -> None:
    trie = TokenTrie.from_sequences(*targets)
    inner = np.flatnonzero(~trie.is_leaf)
    assert trie.outflow[0] == pytest.approx(1)
    np.testing.assert_allclose(trie.outflow[inner + 1], trie.mass[inner])
    figures = trie.figures(optimal_log_probs(trie))
    assert figures.kl == pytest.approx(0, abs=1e-9)
    assert figures.leak == pytest.approx(0, abs=1e-9)


@given(weighted_targets(), st.integers(1, 9))
def test_packs_read_every_node_once_below_its_own_path(
    targets: tuple[list[list[int]], list[float]], max_nodes: int
) -> None:
    trie = TokenTrie.from_sequences(*targets)
    packs = trie.packs(max_nodes)
    assert sorted(np.concatenate([pack.read for pack in packs])) == list(range(len(trie)))
    for pack in packs:
        present = set(pack.nodes.tolist())
        assert len(present) == len(pack.nodes) <= max(max_nodes, int(trie.depth.max()) + 1)
        assert (np.diff(pack.nodes) > 0).all()
        for at, node in zip(pack.read_at.tolist(), pack.read.tolist(), strict=True):
            assert (int(pack.nodes[at - 1]) if at else -1) == trie.parent[node]
        for node in present:
            assert set(trie.path(node)) <= present


def test_uniform_over_ten_has_entropy_ln_ten() -> None:
    trie = TokenTrie.from_sequences([[5, i, STOP] for i in range(1, 11)], [1] * 10)
    assert trie.entropy() == pytest.approx(math.log(10))
    assert len(trie) == 1 + 10 + 10
    assert trie.depth.tolist() == [0, *[1, 2] * 10]


def test_equal_targets_are_added_up() -> None:
    trie = TokenTrie.from_sequences([[1, STOP], [2, STOP], [1, STOP]], [1, 1, 2])
    assert dict(zip(trie.token[trie.is_leaf == 0].tolist(), trie.mass[trie.is_leaf == 0], strict=True)) == {
        1: 0.75,
        2: 0.25,
    }


def test_a_target_that_is_a_prefix_of_another_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"'Niger' is a prefix of 'Nigeria'"):
        TokenTrie.from_sequences([[1, 2, 3], [1, 2], [4]], [1, 1, 1], ["Nigeria", "Niger", "Mali"])


def two_field_trie() -> TokenTrie:
    """Open name (tokens 1, 2), then gender, declared 50/50 (tokens 7, 8) but sampled 7 twice, then stop."""
    builder = Builder(("name", "gender", "rest"))
    for name in (1, 2):
        builder.add([name, 7, STOP], [0, 1, 2], {0: 0.5, 2: 0.5})
        for gender in (7, 8):
            builder.add([name, gender], [0, 1], {1: 0.25})
    return builder.build(known=("gender",), exact=False)


def test_a_declared_field_has_its_declared_masses_whatever_was_sampled() -> None:
    trie = two_field_trie()
    assert trie.token.tolist() == [1, 7, STOP, 8, 2, 7, STOP, 8]
    assert trie.mass.tolist() == [0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 0.5, 0.25]
    assert trie.entropy() == pytest.approx(2 * math.log(2))  # of the names, of the gender, none of the stop


def test_field_figures_follow_the_chain_rule() -> None:
    trie = two_field_trie()
    given: Sequence[float] = [0.2, 0.6, 1.0, 0.1, 0.3, 0.4, 1.0, 0.4]  # by node
    figures = trie.figures(np.log(given))
    gender = figures.fields["gender"]
    assert gender.kl == pytest.approx(
        0.5 * (0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.1)) + 0.5 * math.log(0.5 / 0.4)
    )
    assert gender.leak == pytest.approx(-0.5 * math.log(0.7) - 0.5 * math.log(0.8))
    assert gender.shape == pytest.approx((gender.kl or 0) - (gender.leak or 0))
    assert figures.fields["name"].kl is None
    assert (figures.kl, figures.leak) == (gender.kl, gender.leak)
    assert figures.cross_entropy == pytest.approx(sum(f.cross_entropy for f in figures.fields.values()))


def test_a_fields_tv_is_the_mean_over_its_prefixes_leak_included() -> None:
    """Prefix 1 (weight 0.75) is followed by 5, 6 or something else, prefix 2 by just what it should."""
    builder = Builder(("open", "declared"))
    for prefix, weight in ((1, 0.75), (2, 0.25)):
        for token in (5, 6):
            builder.add([prefix, token, 9], [0, 1, 1], {1: weight * 0.5})
        builder.add([prefix], [0], {0: weight})
    trie = builder.build(known=("declared",), exact=False)
    chances = {(1, 5): 0.8, (1, 6): 0.1, (2, 5): 0.5, (2, 6): 0.5}
    log_probs = np.zeros(len(trie))
    for node, above in enumerate(trie.parent.tolist()):
        pair = int(trie.token[above]), int(trie.token[node])
        if above >= 0 and pair in chances:
            log_probs[node] = math.log(chances[pair])
    fields = trie.figures(log_probs).fields
    assert fields["declared"].tv == pytest.approx(0.75 * 0.5 * (0.3 + 0.4 + 0.1))
    assert fields["open"].tv is None
