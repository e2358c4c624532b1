"""What is said of many times at once; does not know whose they are."""

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which `part`, 0..1, of sorted values lie; not a number when there are none."""
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else math.nan
