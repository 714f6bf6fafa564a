"""Is the difference between two networks on the same test images more than chance?"""

from __future__ import annotations

from fractions import Fraction


def mcnemar_exact(only_first_right: int, only_second_right: int) -> float:
    """Return the two-sided p value of McNemar's exact test.

    Only the images that one network has right and the other wrong count. If both networks were as
    good, each of these would be a fair coin, so with n of them and the smaller count k

        p = min(1, 2 * sum_{i <= k} C(n, i) / 2^n)

    computed in whole numbers and rounded once; a p below the smallest float is 0.

    Reference:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions".
    """
    trials = only_first_right + only_second_right
    smaller = min(only_first_right, only_second_right)
    ways, tail = 1, 0
    for successes in range(smaller + 1):
        tail += ways
        ways = ways * (trials - successes) // (successes + 1)
    return min(1.0, float(Fraction(2 * tail, 2**trials)))
