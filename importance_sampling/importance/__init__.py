"""What is important: each source of importance in a file of its own, and the history of losses."""

from importance_sampling.importance import gaussian, lstm, moving_mean, oracle, uniform  # noqa: F401  # each registers its names
