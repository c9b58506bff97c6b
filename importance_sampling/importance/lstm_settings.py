"""What `LSTMImportance` may be given, and the unit in which its network sees losses."""


def check(classes, learning_rate, quantity, **sizes):
    """Refuses arguments that break a rule, see `LSTMImportance`."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"`{name}` must be >= 1. Received: {name}={value}")
    if classes is not None and classes < 0:
        raise ValueError(f"`classes` must be >= 0 or None. Received: classes={classes}")
    if not learning_rate > 0:
        raise ValueError(f"`learning_rate` must be > 0. Received: learning_rate={learning_rate}")
    if quantity not in ("loss", "gnorm"):
        raise ValueError(f"`quantity` must be 'loss' or 'gnorm'. Received: quantity={quantity!r}")


def unit_of(mean):
    """The unit in which the network sees losses: 1, as in the paper, unless their first mean is far from it."""
    return 1.0 if mean <= 0 or 0.1 <= mean <= 10 else mean
