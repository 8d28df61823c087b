"""Targets as a weighted token trie: every distinct prefix once, with the probability mass below it.

Stands between `target_trie` and `packing`, and holds no tensor. With m(v) the mass of node v,

    L(θ) = − Σ_v m(v) · log pθ(token(v) | prompt, path to v)  =  KL(p* ‖ pθ) + H(p*)

is exactly the sum over whole targets, p* weighted (Zhang et al. 2024, arXiv 2404.10859, eq. 1), and the same
log-probabilities give leak and shape. Inside a field whose distribution is declared, the masses below a
prefix are the declared ones, whatever value the sampled tuple happened to hold.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import RecipeError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FieldFigures:
    """One field's share of the loss, in nats; kl = leak + shape, None where its distribution is not known.

    `tv` is the total variation between the field's target and what the model gives, the mass outside all its values
    included: exact below every target prefix, and the mean over these.
    """

    cross_entropy: float
    optimum: float
    kl: float | None = None
    leak: float | None = None
    shape: float | None = None
    tv: float | None = None


@dataclass(frozen=True)
class Figures:
    """How far a model is from a target, in nats.

    `exact`: the trie holds the whole target distribution, and kl, leak and shape are of whole answers. Else
    they are sums over the fields with a declared distribution, given target prefixes (chain rule), None if
    there is none.
    """

    cross_entropy: float
    optimum: float  # H(p*), the least cross-entropy any model can have on this trie
    kl: float | None
    leak: float | None
    shape: float | None
    exact: bool
    fields: dict[str, FieldFigures]


@dataclass(frozen=True, eq=False)
class Pack:
    """A part of a trie that is evaluated in one sequence: prompt, then `nodes`."""

    nodes: Ints  # (n,) trie nodes that are inputs: a stretch of the preorder, and the stretch's ancestors
    read_at: Ints  # (r,) where a prediction is read: 0 is the prompt's last token, i + 1 is nodes[i]
    read: Ints  # (r,) the trie node predicted there; over all packs, every node once


@dataclass(frozen=True, eq=False)
class TokenTrie:
    """Token sequences with shared prefixes; nodes in preorder, so `end` bounds each subtree.

    Arrays are (N,): `token`; `parent` (−1: the prompt); `depth` (0: first answer token); `mass`, the loss
    weight; `field`, an index into `fields`; `end`, one past the subtree's last node. Children's masses sum to
    their parent's, except where the parent closes a declared field (its mass is the declared one, its
    children's the sampled one) and on nodes of mass 0, which are there only as context.
    """

    token: Ints
    parent: Ints
    depth: Ints
    mass: Floats
    field: Ints
    end: Ints
    fields: tuple[str, ...]
    known: frozenset[str]  # the fields whose distribution the trie holds whole
    exact: bool  # the trie holds the whole target distribution

    @classmethod
    def from_sequences(
        cls,
        sequences: Sequence[Sequence[int]],
        weights: Sequence[float] | Floats,
        names: Sequence[str] | None = None,
    ) -> TokenTrie:
        """The exact trie of whole targets, one field called "answer"; weights are normalised, equal targets
        added up.

        Raises RecipeError naming both (by `names`, else by their tokens) where one target is a prefix of
        another.
        """
        shares = np.asarray(weights, dtype=np.float64)
        builder = Builder(("answer",))
        for i, (ids, weight) in enumerate(zip(sequences, shares / shares.sum(), strict=True)):
            last = builder.add(ids, [0] * len(ids), {0: float(weight)})
            builder.close(last, names[i] if names else str(list(ids)))
        return builder.build(known=("answer",), exact=True)

    def __len__(self) -> int:
        return len(self.token)

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Nodes that end a target or a branch; their tokens are predicted, never read as input."""
        return np.asarray(self.end == np.arange(len(self)) + 1)

    @property
    def outflow(self) -> Floats:
        """(N + 1,) mass of the children of the prompt (index 0) and of node i (index i + 1)."""
        return np.asarray(np.bincount(self.parent + 1, self.mass, len(self) + 1), dtype=np.float64)

    def per_field(self, values: Floats) -> Floats:
        """Sum over the nodes of each field: (N,) → (fields,)."""
        return np.asarray(np.bincount(self.field, values, len(self.fields)), dtype=np.float64)

    def surprisals(self) -> Floats:
        """(N,) −m(v) log p*(token(v) | path); their sum is H(p*), the optimum of the loss."""
        given = self.outflow[self.parent + 1]
        positive = self.mass > 0
        ratio = np.divide(self.mass, given, out=np.ones_like(given), where=positive)
        return np.asarray(-self.mass * np.log(ratio))

    def entropy(self) -> float:
        """H(p*) in nats."""
        return float(self.surprisals().sum())

    def figures(self, log_probs: Floats) -> Figures:
        """Cross-entropy, KL, leak and shape from log pθ(token(v) | path) of every node, (N,)."""
        log_probs = np.asarray(log_probs, dtype=np.float64)
        cross, best = self.per_field(-self.mass * log_probs), self.per_field(self.surprisals())
        fields: dict[str, FieldFigures] = {}
        for i, name in enumerate(self.fields):
            if name in self.known:
                inside = self.field == i
                kl, leak = float(cross[i] - best[i]), self._leak(log_probs, inside)
                tv = self._tv(log_probs, inside)
                fields[name] = FieldFigures(float(cross[i]), float(best[i]), kl, leak, kl - leak, tv)
            else:
                fields[name] = FieldFigures(float(cross[i]), float(best[i]))
        known = [fields[name] for name in self.fields if name in self.known]
        total_kl = sum(f.kl for f in known if f.kl is not None) if known else None
        total_leak = sum(f.leak for f in known if f.leak is not None) if known else None
        if self.exact:
            total_kl = float((cross - best).sum())
            total_leak = self._leak(log_probs, np.ones(len(self), dtype=np.bool_))
        shape = total_kl - total_leak if total_kl is not None and total_leak is not None else None
        return Figures(float(cross.sum()), float(best.sum()), total_kl, total_leak, shape, self.exact, fields)

    def _leak(self, log_probs: Floats, inside: NDArray[np.bool_]) -> float:
        """Mean of −log pθ(target set | prefix) over the prefixes where the nodes `inside` begin.

        One backward pass: the mass a model puts below a node is the sum over its children of p · (mass
        below).
        """
        inside = inside & (self.mass > 0)
        below = np.full(len(self) + 1, -np.inf)  # log mass below the prompt (0) and node i (i + 1)
        continues = np.zeros(len(self) + 1, dtype=np.bool_)
        np.logical_or.at(continues, self.parent[inside] + 1, True)
        below[1:][inside & ~continues[1:]] = 0.0
        for depth in range(int(self.depth[inside].max(initial=-1)), -1, -1):
            level = np.flatnonzero(inside & (self.depth == depth))
            np.logaddexp.at(below, self.parent[level] + 1, log_probs[level] + below[level + 1])
        begins = continues.copy()
        begins[1:] &= ~inside
        entry = np.flatnonzero(begins)
        flow = np.bincount(self.parent[inside] + 1, weights=self.mass[inside], minlength=len(self) + 1)[entry]
        return float(-(flow * below[entry]).sum() / flow.sum()) if flow.sum() > 0 else 0.0

    def _tv(self, log_probs: Floats, inside: NDArray[np.bool_]) -> float:
        """Mean TV between target and model over the prefixes where the nodes `inside` begin, leak included."""
        inside = inside & (self.mass > 0)
        reach = np.zeros(len(self) + 1)  # log pθ from where the field begins to node i (i + 1)
        begin = np.arange(len(self) + 1)  # where that is
        for depth in range(int(self.depth[inside].max(initial=-1)) + 1):
            level = np.flatnonzero(inside & (self.depth == depth))
            above = self.parent[level] + 1
            reach[level + 1], begin[level + 1] = reach[above] + log_probs[level], begin[above]
        first = np.flatnonzero(inside & (begin[1:] == self.parent + 1))
        flow = np.bincount(self.parent[first] + 1, self.mass[first], len(self) + 1)
        ends = inside.copy()
        ends[self.parent[inside & (self.parent >= 0)]] = False
        expected, total = self.mass[ends], float(flow.sum())
        given = np.exp(reach[1:][ends]) * flow[begin[1:][ends]]
        outside = total - float(given.sum())
        return 0.5 * (float(np.abs(expected - given).sum()) + outside) / total if total > 0 else 0.0

    def packs(self, max_nodes: int) -> list[Pack]:
        """Cut the trie into packs of about equal size with at most `max_nodes` inputs each.

        A cut repeats the path to the first node behind it, so it is made at a shallow node where one is near.
        A path longer than the budget makes a pack of its own.
        """
        inputs = np.flatnonzero(~self.is_leaf)
        depth = self.depth[inputs]
        n_packs = max(1, -(-len(inputs) // max_nodes))
        aim = max(1, -(-len(inputs) // n_packs))
        packs: list[Pack] = []
        start = 0
        while start < len(inputs) or not packs:
            path = self.path(int(inputs[start]))[:-1] if start < len(inputs) else []
            room = max(1, min(aim, max_nodes - len(path)))
            stop = min(len(inputs), start + room)
            if stop < len(inputs):
                window = np.arange(start + max(1, (3 * room) // 4), stop + 1)
                stop = int(window[::-1][np.argmin(depth[window[::-1]])])
            packs.append(self._pack(np.array(path, dtype=np.int64), inputs[start:stop], first=start == 0))
            start = stop
        return packs

    def _pack(self, path: Ints, stretch: Ints, first: bool) -> Pack:
        nodes = np.concatenate([path, stretch]).astype(np.int64)
        place = np.full(len(self) + 1, -1, dtype=np.int64)  # by node + 1; the prompt is node −1
        place[stretch + 1] = len(path) + 1 + np.arange(len(stretch))
        if first:
            place[0] = 0
        at = place[self.parent + 1]
        read = np.flatnonzero(at >= 0)
        return Pack(nodes, at[read], read)

    def path(self, node: int) -> list[int]:
        """The nodes from the first answer token to `node`."""
        nodes = [node]
        while (node := int(self.parent[node])) >= 0:
            nodes.append(node)
        return nodes[::-1]


class Builder:
    """A trie under construction: nodes in order of arrival, renumbered into preorder by `build`."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self._children: list[dict[int, int]] = [{}]  # node 0 is the prompt
        self._token: list[int] = [-1]
        self._mass: list[float] = [0.0]
        self._field: list[int] = [0]
        self._names: dict[int, str] = {}

    def add(self, ids: Sequence[int], fields: Sequence[int], weights: Mapping[int, float]) -> int:
        """Walk a path, adding each field's weight to its nodes (0 where not given); returns the last node."""
        node = 0
        for token, field in zip(ids, fields, strict=True):
            after = self._children[node].get(token)
            if after is None:
                after = len(self._token)
                self._children[node][token] = after
                self._children.append({})
                self._token.append(token)
                self._mass.append(0.0)
                self._field.append(field)
            self._mass[after] += weights.get(field, 0.0)
            node = after
        return node

    def close(self, node: int, name: str) -> None:
        """Note that a whole target ends at a node."""
        self._names[node] = name

    def build(self, known: Collection[str], exact: bool) -> TokenTrie:
        """Renumber; raises RecipeError where a target is a prefix of another."""
        order: list[int] = []
        parent: list[int] = []
        depth: list[int] = []
        stack: list[tuple[int, int, int]] = [(n, -1, 0) for n in reversed(self._children[0].values())]
        while stack:
            node, above, level = stack.pop()
            stack += [(n, len(order), level + 1) for n in reversed(self._children[node].values())]
            order.append(node)
            parent.append(above)
            depth.append(level)
        end = np.arange(len(order)) + 1
        for i in range(len(order) - 1, -1, -1):
            if parent[i] >= 0:
                end[parent[i]] = max(end[parent[i]], end[i])
        self._refuse_prefixes()
        return TokenTrie(
            token=np.array([self._token[n] for n in order], dtype=np.int64),
            parent=np.array(parent, dtype=np.int64),
            depth=np.array(depth, dtype=np.int64),
            mass=np.array([self._mass[n] for n in order]),
            field=np.array([self._field[n] for n in order], dtype=np.int64),
            end=end.astype(np.int64),
            fields=self.fields,
            known=frozenset(known),
            exact=exact,
        )

    def _refuse_prefixes(self) -> None:
        for node, name in self._names.items():
            below = list(self._children[node].values())
            while below:
                longer = self._names.get(inner := below.pop())
                if longer is not None:
                    raise RecipeError(
                        f"targets: {name!r} is a prefix of {longer!r}, so no probability can be given to it "
                        "alone; "
                        "end every target with a closing brace, or cover the whole record"
                    )
                below += self._children[inner].values()
