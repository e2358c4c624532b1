"""What is refused is named once."""

from steelyard.core.refusals import MAX_SOURCES, REPEAT_S, Refusals


def test_a_source_is_told_once():
    """However often it comes again."""
    refusals = Refusals()
    assert "; told once" == refusals.add("a", now_s=0.0)
    assert ["", ""] == [refusals.add("a", now_s=now_s) for now_s in (1.0, REPEAT_S - 1)]
    assert "; told once" == refusals.add("b", now_s=1.0)


def test_one_that_goes_on_is_told_again_every_hour_with_its_number():
    """So that it is not forgotten."""
    refusals = Refusals()
    for now_s in (0.0, 1.0, 2.0):
        refusals.add("a", now_s=now_s)
    assert "; 3 more since it was told" == refusals.add("a", now_s=REPEAT_S)
    assert "" == refusals.add("a", now_s=REPEAT_S + 1)


def test_a_source_that_was_forgiven_is_told_again():
    """A good report came between."""
    refusals = Refusals()
    refusals.add("a", now_s=0.0)
    refusals.forgive("a")
    refusals.forgive("nobody")
    assert "; told once" == refusals.add("a", now_s=1.0)


def test_ever_new_sources_do_not_grow_it():
    """The oldest is forgotten."""
    refusals = Refusals()
    for number in range(MAX_SOURCES + 1):
        refusals.add(str(number), now_s=0.0)
    assert "" == refusals.add(str(MAX_SOURCES), now_s=1.0)
    assert "; told once" == refusals.add("0", now_s=1.0)
