"""Samples from several sources in fixed proportions, without a coin to toss.

With integer weights w_i that add up to a period D, every D samples hold exactly w_i of source i.
Inside a period, sample j of source i may come no sooner than its even share allows and must come no
later: from slot floor(j D / w_i) + 1 to slot ceil((j + 1) D / w_i). Filling each slot with the open
sample whose last slot is the nearest meets every one of these limits, for any weights (earliest
deadline first; Steiner and Yeomans, "Level schedules for mixed-model, just-in-time processes",
1993). So after any n samples each source has had its share n w_i / D, rounded up or down.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, isclose, lcm

import numpy as np

from ttt_config.errors import InvalidValueError
from ttt_data.loading.source import TokenSource, array_source

MAX_PERIOD = 1 << 16
"""Largest period; it is planned slot by slot."""


class Mixture:
    """Several sources, each with a weight.

    Attributes:
        sources: in the order given.
        weights: of the sources, integers without a common divisor.
        period: their sum; the choice of sources repeats after so many samples.

    Args:
        parts: sources and weights: positive numbers in any scale, such as 3 and 1, or 0.75 and
            0.25. An array of tokens is a source of one document.

    Raises:
        InvalidValueError: there is no part, a weight is not positive, or the weights are not in a
            ratio of small integers.
    """

    def __init__(self, parts: Sequence[tuple[TokenSource | np.ndarray, float]]) -> None:
        self.sources = tuple(
            array_source(source) if isinstance(source, np.ndarray) else source
            for source, _ in parts
        )
        self.weights = integer_weights([weight for _, weight in parts])
        self.period = sum(self.weights)
        self._pattern = _plan(self.weights)
        self._earlier = np.empty(self.period, dtype=np.int64)
        for source, weight in enumerate(self.weights):
            self._earlier[self._pattern == source] = np.arange(weight)

    def locate(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the source of each sample, and how many samples of that source come before it.

        Args:
            samples: numbers of samples from 0, any shape, int64.
        """
        periods, slots = np.divmod(samples, self.period)
        sources = self._pattern[slots]
        return sources, periods * np.array(self.weights)[sources] + self._earlier[slots]

    def counts(self, num_samples: int) -> list[int]:
        """Return how many of the first samples come from each source."""
        periods, slots = divmod(num_samples, self.period)
        extra = np.bincount(self._pattern[:slots], minlength=len(self.weights)).tolist()
        return [periods * weight + more for weight, more in zip(self.weights, extra, strict=True)]


def integer_weights(weights: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest integers in the ratio of the weights.

    Raises:
        InvalidValueError: as for `Mixture`.
    """
    if not weights or not all(0 < weight < float("inf") for weight in weights):
        raise InvalidValueError(
            f"a mixture needs positive weights, one for each source: got {list(weights)}"
        )
    # A float such as 0.1 stands for the short fraction beside it, not for its 55 binary digits.
    ratios = [Fraction(weight).limit_denominator(MAX_PERIOD) for weight in weights]
    scale = lcm(*(ratio.denominator for ratio in ratios))
    integers = [int(ratio * scale) for ratio in ratios]
    divisor = gcd(*integers) or 1
    integers = [integer // divisor for integer in integers]
    exact = all(isclose(r, w, rel_tol=1e-12) for r, w in zip(ratios, weights, strict=True))
    if not exact or sum(integers) > MAX_PERIOD:
        total = sum(weights)
        rounded = ", ".join(str(max(1, round(1000 * weight / total))) for weight in weights)
        raise InvalidValueError(
            "the weights of a mixture must be in a ratio of integers that add up to at most "
            f"{MAX_PERIOD}, got {', '.join(map(str, weights))}; round them, for example to "
            f"{rounded}"
        )
    return tuple(integers)


def _plan(weights: Sequence[int]) -> np.ndarray:
    """Return the source of each slot of one period, (D,) int64."""
    period = sum(weights)
    pattern = np.empty(period, dtype=np.int64)
    counts = [0] * len(weights)
    for slot in range(1, period + 1):
        _, chosen = min(
            (-(-(count + 1) * period // weight), source)  # the last slot for its next sample
            for source, (count, weight) in enumerate(zip(counts, weights, strict=True))
            if count * period < weight * slot
        )
        pattern[slot - 1] = chosen
        counts[chosen] += 1
    return pattern
