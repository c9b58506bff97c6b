"""Where samples come from: arrays, single samples, batches one after another; and what may be known before they are read."""
