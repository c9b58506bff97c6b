"""From a pool of candidates to a weighted batch: score, smooth, draw, weigh; then learn from what the batch lost."""
