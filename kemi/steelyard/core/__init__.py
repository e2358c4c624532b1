"""The rules, free of the world: no KSR, Redis, clock, randomness, environment or logging in here."""
