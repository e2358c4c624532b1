"""The benchmark: the same calls on the same real queues through Steelyard and through what users have today."""
