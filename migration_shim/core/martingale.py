"""
Bounds on a rate that stay valid however often they are looked at: after every pair, daily, for ever.

A rate is tested by a mixture martingale (Robbins 1970; Ville's inequality): the likelihood of what was observed,
averaged over a uniform mixture of rates, against its likelihood at the rate in question. Once that ratio reaches
1/error, the rate is refuted.
"""

from __future__ import annotations

import math


def _log_beta_tail(n: int, k: int, x: float, *, upper: bool) -> float:
    """
    Return the log of the integral of p^k (1-p)^(n-k) over [0, x], or over [x, 1] with ``upper``.

    With whole numbers the incomplete beta function is a binomial tail: for X ~ Bin(n+1, x), P(X > k) is the share of
    [0, x] and P(X <= k) that of [x, 1]. The terms are summed in logarithms; each tail is summed by itself, so that
    neither is lost as a difference from 1.
    """
    trials = n + 1
    terms: list[float] = []
    top = -math.inf
    for j in range(k + 1) if upper else range(k + 1, trials + 1):
        term = math.lgamma(trials + 1) - math.lgamma(j + 1) - math.lgamma(trials - j + 1)
        term += j * math.log(x) + (trials - j) * math.log1p(-x)
        terms.append(term)
        # Past the mode the terms only fall; a term of e^-45 times the largest does not change a float.
        top = max(top, term)
        if j > trials * x and term < top - 45:
            break
    log_share = top + math.log(math.fsum(math.exp(term - top) for term in terms))
    log_whole = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2)
    return log_share + log_whole


def evidence_below(n: int, k: int, rate: float) -> float:
    """
    Return the martingale against "the rate is at least ``rate``", after k divergences in n pairs. 1 means no evidence.

    The mixture is uniform on [0, rate].
    """
    at_threshold = k * math.log(rate) + (n - k) * math.log1p(-rate)
    return math.exp(min(700.0, _log_beta_tail(n, k, rate, upper=False) - math.log(rate) - at_threshold))


def evidence_above(n: int, k: int, rate: float) -> float:
    """Return the martingale against "the rate is at most ``rate``". The mixture is uniform on [rate, 1]."""
    at_threshold = k * math.log(rate) + (n - k) * math.log1p(-rate)
    return math.exp(min(700.0, _log_beta_tail(n, k, rate, upper=True) - math.log1p(-rate) - at_threshold))


def pairs_needed(n: int, k: int, rate: float, error: float, *, limit: int = 1_000_000) -> int | None:
    """Return how many more clean pairs would show a rate under ``rate``; None when ``limit`` pairs would not."""
    wanted = 1 / error

    def enough(more: int) -> bool:
        return evidence_below(n + more, k, rate) >= wanted

    if enough(0):
        return 0
    high = 1
    while not enough(high):
        high *= 2
        if high > limit:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


_STEPS = 30


def lower_bound(n: int, k: int, error: float) -> float:
    """
    Return the greatest rate (within 1e-9) that k in n refute as too low: the true rate is above it. 0 where none is.
    """
    low, high = 0.0, k / n if n else 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle and evidence_above(n, k, middle) >= 1 / error:
            low = middle
        else:
            high = middle
    return low


def upper_bound(n: int, k: int, error: float) -> float:
    """
    Return the least rate (within 1e-9) that k in n refute as too high: the true rate is below it. 1 where none is.
    """
    low, high = k / n if n else 1.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if 0 < middle < 1 and evidence_below(n, k, middle) >= 1 / error:
            high = middle
        else:
            low = middle
    return high
