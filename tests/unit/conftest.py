"""Properties are tried on the same examples every time, so that a red run is red for everybody."""

from hypothesis import settings

settings.register_profile("unit", max_examples=40, deadline=None, database=None, derandomize=True)
settings.load_profile("unit")
