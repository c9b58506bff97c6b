"""Sample weights alpha_i for samples drawn with probabilities p_i (eq. 11 and 12 of arXiv:1706.00043).

The paper draws from the whole data set; here the draw is from a pool, so its N is the pool size B.
"""

import numpy as np

RULES = ("rescaled", "literal")


def literal(pool_probabilities, chosen, k):
    """The paper's weights, `alpha_i = 1 / (B p_i^k)` (eq. 12).

    k = 1 is unbiased (eq. 11). For k < 1 the mean weight falls with k (to about B^(k-1) where p is near 1/B), and the
    step of plain SGD with it.

    Args:
        pool_probabilities: `(B,)` float64, p over the pool, summing to 1.
        chosen: `(b,)` ints, positions in the pool.
        k: number <= 1.

    Returns:
        `(b,)` float64.

    Example:
        >>> import numpy as np
        >>> literal(np.array([0.25, 0.75]), np.array([0, 1]), k=1.0)
        array([2.        , 0.66666667])
    """
    p = pool_probabilities
    with np.errstate(over="ignore"):  # far below k = 0 the weights of the formula are 0
        return 1.0 / (len(p) * p[chosen] ** k)  # eq. 12, arXiv:1706.00043


def rescaled(pool_probabilities, chosen, k):
    """The paper's weights times a constant of the pool, so that the loss keeps its scale for every k.

    With q_i = B p_i, which is 1 on average over the pool:

        alpha_i = q_i^-k / mean_j(q_j^(2 - k))

    k = 1 is exactly eq. 11. For k < 1 the weights are those of eq. 12 up to a factor of the pool, so that given the pool the
    expected gradient points where that of eq. 12 does. The factor is the one for which `E[alpha q] = 1`: the weighted
    importance of a batch is on average that of a uniform batch. It is smaller for a pool with outliers, so over pools of
    few samples the average direction is pulled less towards them than by `literal`.

    Args:
        pool_probabilities: `(B,)` float64, p over the pool, summing to 1.
        chosen: `(b,)` ints, positions in the pool.
        k: number <= 1.

    Returns:
        `(b,)` float64.

    Example:
        >>> import numpy as np
        >>> p = np.array([0.25, 0.75])
        >>> rescaled(p, np.array([0, 1]), k=1.0)
        array([2.        , 0.66666667])
        >>> rescaled(p, np.array([0, 1]), k=0.0)
        array([0.8, 0.8])
    """
    q = len(pool_probabilities) * pool_probabilities
    drawable = q[q > 0]
    largest = drawable.max()  # powers of q / max(q) <= 1 cannot overflow, however far k is below 1
    scale = np.sum((drawable / largest) ** (2 - k)) / len(q)
    return (q[chosen] / largest) ** -k / (scale * largest**2)


def sample_weights(rule, pool_probabilities, chosen, k):
    """Weights by the rule of that name, `"rescaled"` or `"literal"`. Returns `(b,)` float32."""
    weigh = {"rescaled": rescaled, "literal": literal}[rule]
    return weigh(pool_probabilities, chosen, k).astype(np.float32)


def check(k, rule):
    """Refuses a k or a rule that the formulas do not cover.

    Raises:
        ValueError: `k` is NaN, infinite or above 1; `rule` is unknown.
    """
    if not (isinstance(k, (int, float, np.number)) and np.isfinite(k) and k <= 1):
        raise ValueError(f"`k` must be a finite number <= 1 (1 is unbiased). Received: k={k!r}")
    if rule not in RULES:
        raise ValueError(f"`reweighting` must be one of {', '.join(RULES)}. Received: reweighting={rule!r}")
