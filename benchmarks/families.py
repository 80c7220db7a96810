"""The families of landscapes: what expert counts may do to four objectives.

sat     every layer helps with diminishing returns, a few hurt fairness or robustness, and
        overfitting grows with size; noise 10 % of an objective's spread
inter   the same with interactions of layers, a preferred count a layer and a price on jumps; 20 %
noisy   like sat with noise of 50 % (accuracy least, fairness most)
dtlz2   the textbook problem DTLZ2 on the grid, its variables permuted and flipped; no noise
trees   sums of small decision trees: thresholds and plateaus; 20 %
flat    like sat with weak interactions; one training's noise is as large as all differences
lowdim  each objective is a wavy function of three of four layers, the other five do nothing; 15 %
width   like sat, with a categorical width that changes offsets, gains and sizes; 30 %

The samplers were chosen on instances from 100 on of the first six; instances below 100, and
lowdim and width altogether, were only looked at to report them.
"""

from __future__ import annotations

import numpy as np

from landscapes import DENSE, HIGH, LAYERS, LOW, OBJECTIVES, PER_EXPERT, Landscape, Rows, Values


class Sat(Landscape):
    """Additive, saturating; the base of most others."""

    family, stream = "sat", 0
    noise_share = (0.1,) * OBJECTIVES

    def _draw(self, rng: np.random.Generator) -> None:
        shape = (OBJECTIVES, LAYERS)
        self._tau = rng.uniform(0.7, 3.5, shape)  # how soon a layer saturates
        self._gain = rng.dirichlet(np.ones(LAYERS) * 1.5, OBJECTIVES)
        sign = np.ones(shape)
        sign[1, rng.permutation(LAYERS)[:3]] = -1  # three layers cost fairness
        sign[2, rng.permutation(LAYERS)[:2]] = -1  # two cost robustness
        self._gain_signed = self._gain * sign
        self._fit_weight = rng.dirichlet(PER_EXPERT / PER_EXPERT.mean() * 4)
        self._fit_power = rng.uniform(1.2, 2.2)
        pairs = (OBJECTIVES, LAYERS, LAYERS)
        self._pairs = np.triu(rng.normal(0, 1, pairs), 1) * (rng.random(pairs) < 0.35)
        self._peak = rng.uniform(LOW, HIGH, shape)
        self._peak_weight = rng.dirichlet(np.ones(LAYERS), OBJECTIVES)

    def _grown(self, X: Rows) -> Values:
        """Return how far each layer has saturated for each objective, [n, 4, 9] in 0..1."""
        grown = 1 - np.exp(-(X[:, None, :LAYERS] - 1.0) / self._tau)
        return np.asarray(grown / (1 - np.exp(-7 / self._tau)))

    def _raw(self, X: Rows) -> Values:
        grown = self._grown(X)
        Y = (grown * self._gain_signed).sum(2)
        own = 0.15 * (grown[:, 3] * self._gain[3]).sum(1)
        Y[:, 3] = own - (((X[:, :LAYERS] - 1.0) / 7) @ self._fit_weight) ** self._fit_power
        return np.asarray(Y)

    def _pairwise(self, X: Rows) -> Values:
        centred = self._grown(X) - 0.5
        return np.asarray(np.einsum("noi,oij,noj->no", centred, self._pairs, centred))


class Inter(Sat):
    """Interactions, preferred counts, a price on jumps."""

    family, stream = "inter", 1
    noise_share = (0.2,) * OBJECTIVES
    _scales: tuple[Values, ...] | None = None

    def _raw(self, X: Rows) -> Values:
        Y, pairs = super()._raw(X), self._pairwise(X)
        peaks = -(((X[:, None, :] - self._peak) / 7) ** 2 * self._peak_weight).sum(2)
        jumps = -np.abs(np.diff(X, axis=1)).mean(1) / 7
        if self._scales is None:  # fixed by the first, large sample
            self._scales = (Y.std(0), pairs.std(0), peaks.std(0), jumps.std())
        a, b, c, d = self._scales
        bumpy = 0.3 * (jumps / d)[:, None] * np.array([1, 0, 0.5, 0])
        return np.asarray(Y / a + 0.6 * pairs / b + 0.6 * peaks / c + bumpy)


class Noisy(Sat):
    """Much noise, least in accuracy and most in fairness."""

    family, stream = "noisy", 2
    noise_share = (0.2, 0.7, 0.5, 0.6)


class DTLZ2(Landscape):
    """Deb, Thiele, Laumanns and Zitzler (2002), problem 2."""

    family, stream = "dtlz2", 4

    def _draw(self, rng: np.random.Generator) -> None:
        self._order = rng.permutation(LAYERS)
        self._flip = rng.random(LAYERS) < 0.5

    def _raw(self, X: Rows) -> Values:
        x = (X - 1) / 7
        x = np.where(self._flip, 1 - x, x)[:, self._order]
        far = ((x[:, OBJECTIVES - 1 :] - 3 / 7) ** 2).sum(1)
        angle = x[:, : OBJECTIVES - 1] * np.pi / 2
        columns = []
        for i in range(OBJECTIVES):
            value = (1 + far) * np.prod(np.cos(angle[:, : OBJECTIVES - 1 - i]), axis=1)
            if i:
                value = value * np.sin(angle[:, OBJECTIVES - 1 - i])
            columns.append(-value)
        return np.stack(columns, axis=1)


class Trees(Sat):
    """Sums of 12 trees of depth 2 an objective, and a price on size for the last."""

    family, stream = "trees", 5
    noise_share = (0.2,) * OBJECTIVES
    TREES = 12

    def _draw(self, rng: np.random.Generator) -> None:
        super()._draw(rng)
        shape = (OBJECTIVES, self.TREES, 3)  # a root and its two children
        self._layer = rng.integers(0, LAYERS, shape)
        self._cut = rng.integers(LOW, HIGH, shape)  # above it: to the right
        self._leaf = rng.normal(size=(OBJECTIVES, self.TREES, 4))

    def _raw(self, X: Rows) -> Values:
        right = X[:, self._layer] > self._cut  # [n, 4, trees, 3]
        root = right[..., 0].astype(np.int64)
        child = np.where(root == 1, right[..., 2], right[..., 1]).astype(np.int64)
        objective, tree = np.indices(self._leaf.shape[:2])
        Y = self._leaf[objective, tree, 2 * root + child].sum(axis=2)
        Y[:, 3] -= 4 * self.size(X)
        return np.asarray(Y)


class Flat(Sat):
    """Real trainings of one length: seeds move a score as much as architectures do."""

    family, stream = "flat", 6
    noise_share = (1.0,) * OBJECTIVES
    _scales: tuple[Values, ...] | None = None

    def _raw(self, X: Rows) -> Values:
        Y, pairs = super()._raw(X), self._pairwise(X)
        if self._scales is None:
            self._scales = (Y.std(0), pairs.std(0))
        return np.asarray(Y / self._scales[0] + 0.5 * pairs / self._scales[1])


class LowDim(Landscape):
    """Of four layers that matter, each objective knows three: five cosines of random directions."""

    family, stream = "lowdim", 7
    noise_share = (0.15,) * OBJECTIVES
    WAVES, ACTIVE = 5, 3

    def _draw(self, rng: np.random.Generator) -> None:
        active = rng.permutation(LAYERS)[: self.ACTIVE + 1]
        self._layers = np.stack([np.delete(active, m) for m in range(OBJECTIVES)])
        self._direction = rng.normal(0, 2.5, (OBJECTIVES, self.WAVES, self.ACTIVE))
        self._phase = rng.uniform(0, 2 * np.pi, (OBJECTIVES, self.WAVES))

    def _raw(self, X: Rows) -> Values:
        x = (X[:, self._layers] - 1) / 7  # [n, 4, 3]
        return np.asarray(
            np.cos(np.einsum("noa,owa->now", x, self._direction) + self._phase).sum(axis=2)
        )


class Width(Sat):
    """A categorical width (0.5, 0.625, 0.75) in a tenth column, by index 0..2."""

    family, stream = "width", 8
    noise_share = (0.3,) * OBJECTIVES
    SCALE = np.array([1.0, 1.25, 1.5]) ** 2  # parameters grow with the square of the width
    low = np.append(Landscape.low, 0)
    high = np.append(Landscape.high, 2)

    def _draw(self, rng: np.random.Generator) -> None:
        super()._draw(rng)
        self._offset = np.cumsum(rng.uniform(0, 0.3, (OBJECTIVES, 3)), axis=1)
        self._offset[1:3] = rng.normal(0, 0.2, (2, 3))  # a wider model is not always fairer
        self._use = np.cumprod(rng.uniform(0.5, 1.0, (OBJECTIVES, 3)), axis=1)

    def random(self, n: int, rng: np.random.Generator) -> Rows:
        """Return ``n`` uniform points, feasible or not."""
        return np.concatenate([super().random(n, rng), rng.integers(0, 3, (n, 1))], axis=1)

    def size(self, X: Rows) -> Values:
        """Return the sizes [n] of points [n, 10] in millions of parameters."""
        return np.asarray(super().size(X) * self.SCALE[np.asarray(X)[:, LAYERS]])

    def _raw(self, X: Rows) -> Values:
        width = X[:, LAYERS]
        Y = (self._grown(X) * self._gain_signed).sum(2) * self._use[:, width].T
        Y += self._offset[:, width].T
        Y[:, 3] -= 1.5 * ((self.size(X) - DENSE) / 2) ** self._fit_power
        return np.asarray(Y)


FAMILIES: dict[str, type[Landscape]] = {
    kind.family: kind for kind in (Sat, Inter, Noisy, DTLZ2, Trees, Flat, LowDim, Width)
}
