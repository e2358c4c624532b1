"""What a client does with overload feedback; c5 and the like are RFC 7339's rules for clients."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.core.throttle import (
    MEASURE_S,
    RESET_DISTANCE,
    TAU_ORDINARY,
    TAU_PRIORITY,
    Bucket,
    Mix,
    Throttle,
    admit,
    open_bucket,
    renewed,
    shed_probability,
)

LOSS, RATE = Algorithm.LOSS, Algorithm.RATE
SECOND = 1_000_000
NOW = 50 * SECOND

SEQS = st.none() | st.tuples(st.integers(0, 10**12 - 1), st.integers(0, 99_999))
TIMES = st.integers(0, 10**18 - 1)
THROTTLES = st.builds(Throttle, st.integers(0, 10**9 - 1), st.sampled_from(Algorithm), SEQS, TIMES)
BUCKETS = st.builds(Bucket, st.floats(0, allow_infinity=False).map(abs), TIMES)


def loss(oc=20, validity_ms=1000, seq=(1000, 5)):
    """Return feedback of a server that wants a share shed."""
    return Feedback(oc, validity_ms, seq, LOSS)


def throttled(seq=(1000, 5), until_us=NOW + SECOND):
    """Return what earlier feedback left."""
    return Throttle(10, LOSS, seq, until_us)


# --- what is in force ---


@given(THROTTLES)
def test_a_throttle_that_was_written_is_read_back(throttle):
    """Every field survives, on one line."""
    assert throttle == Throttle.decode(throttle.encode())
    assert 1 == len(throttle.encode().splitlines())


def test_a_throttle_is_written_for_people_too():
    """Algorithm, value, number, end."""
    assert "rate 150 1000.5 50000000" == Throttle(150, RATE, (1000, 5), NOW).encode()
    assert "loss 20 - 50000000" == Throttle(20, LOSS, None, NOW).encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loss",
        "loss 20 - ",
        "loss 20 -  5",
        "loss -1 - 5",
        "loss 20 1 5",
        "least 20 - 5",
        "loss 20 - 5\n",
        "loss ٢ - 5",
    ],
)
def test_what_is_no_throttle_is_refused(text):
    """Nothing half-read is put in force."""
    with pytest.raises(ValueError, match="not a throttle"):
        Throttle.decode(text)


@pytest.mark.parametrize(
    ("throttle", "expected"),
    [
        (Throttle(1, LOSS, None, NOW + 1), True),
        (Throttle(1, LOSS, None, NOW), False),
        (Throttle(0, LOSS, None, NOW + 1), False),
        (Throttle(0, RATE, None, NOW + 1), True),
        (Throttle(0, RATE, None, NOW), False),
    ],
)
def test_c7_a_throttle_is_in_force_until_it_expires(throttle, expected):
    """A loss of 0 sheds nothing; a rate of 0 lets nothing through."""
    assert expected is throttle.in_force(NOW)


# --- news and no news ---


def test_the_first_feedback_is_taken():
    """It holds from its arrival for as long as it says."""
    assert Throttle(20, LOSS, (1000, 5), NOW + SECOND) == renewed(None, loss(), NOW)


def test_c5_an_equal_sequence_does_not_restart_validity():
    """A server repeats itself in every response; that is no news."""
    current = throttled()
    assert current is renewed(current, loss(), NOW)


@pytest.mark.parametrize("seq", [(1000, 6), (1001, 0), (10**12 - 1, 0)])
def test_c5_a_larger_sequence_restarts_validity(seq):
    """Value, algorithm and number are copied."""
    expected = Throttle(150, RATE, seq, NOW + 2 * SECOND)
    assert expected == renewed(throttled(), Feedback(150, 2000, seq, RATE), NOW)


@pytest.mark.parametrize("seq", [(1000, 4), (999, 99_999), (1000 - RESET_DISTANCE + 1, 0)])
def test_c5_a_smaller_sequence_is_stale(seq):
    """A response that was overtaken by a later one is ignored."""
    current = throttled()
    assert current is renewed(current, loss(seq=seq), NOW)


@pytest.mark.parametrize("seq", [(1000 - RESET_DISTANCE, 99_999), (0, 0)])
def test_c5_a_much_smaller_sequence_is_a_server_begun_anew(seq):
    """Its state is reset, or it would not be heard until the numbers are reached again."""
    assert Throttle(20, LOSS, seq, NOW + SECOND) == renewed(throttled(), loss(seq=seq), NOW)


@pytest.mark.parametrize(("known", "seq"), [((1000, 5), None), (None, (1, 0)), (None, None)])
def test_c5_what_cannot_be_compared_is_taken(known, seq):
    """The RFC's own example has no sequence."""
    assert Throttle(20, LOSS, seq, NOW + SECOND) == renewed(throttled(known), loss(seq=seq), NOW)


def test_c6_feedback_holds_for_its_validity():
    """What a missing one counts as is decided where it is read."""
    assert NOW + 500_000 == renewed(None, loss(validity_ms=500), NOW).until_us


@pytest.mark.parametrize("seq", [(1000, 6), (3, 0), None])
def test_c6_stop_ends_throttling(seq):
    """A validity of 0 leaves nothing to remember."""
    assert None is renewed(throttled(), loss(0, 0, seq), NOW)


@pytest.mark.parametrize("seq", [(1000, 5), (1000, 4)])
def test_c5_c6_an_old_stop_does_not_end_throttling(seq):
    """A server that stops must give that a number of its own."""
    current = throttled()
    assert current is renewed(current, loss(0, 0, seq), NOW)


def test_c6_stop_without_a_throttle_is_nothing():
    """A server that is not overloaded says it all the time."""
    assert None is renewed(None, loss(0, 0), NOW)


@pytest.mark.parametrize("seq", [(1000, 5), (999, 0)])
def test_c7_an_expired_throttle_is_forgotten_with_its_sequence(seq):
    """From its last microsecond on any number is news."""
    assert Throttle(20, LOSS, seq, NOW + SECOND) == renewed(throttled(until_us=NOW), loss(seq=seq), NOW)
    current = throttled(until_us=NOW + 1)
    assert current is renewed(current, loss(seq=seq), NOW)
    assert None is renewed(throttled(until_us=NOW), loss(0, 0, seq), NOW)


# --- loss ---


@pytest.mark.parametrize(
    ("oc", "ordinary_percent", "ordinary", "priority"),
    [
        (0, 80.0, 0.0, 0.0),
        (10, 40.0, 0.25, 0.0),
        (80, 80.0, 1.0, 0.0),
        (90, 80.0, 1.0, 0.5),
        (100, 80.0, 1.0, 1.0),
        (0, 0.0, 0.0, 0.0),
        (30, 0.0, 1.0, 0.3),
        (30, 100.0, 0.3, 0.0),
        (100, 100.0, 1.0, 0.0),
        (-5, 80.0, 0.0, 0.0),
        (120, 80.0, 1.0, 1.0),
        (120, 100.0, 1.0, 0.0),
    ],
)
def test_c8_c10_ordinary_requests_are_shed_before_those_of_priority(oc, ordinary_percent, ordinary, priority):
    """The RFC's examples, and the ends where a category is empty."""
    assert ordinary == pytest.approx(shed_probability(oc, ordinary_percent, priority=False))
    assert priority == pytest.approx(shed_probability(oc, ordinary_percent, priority=True))


@given(st.integers(0, 100), st.floats(0, 100))
def test_c8_the_part_that_is_shed_is_what_was_asked_for(oc, ordinary_percent):
    """Over both categories it is oc percent, no less and no more."""
    ordinary = shed_probability(oc, ordinary_percent, priority=False)
    priority = shed_probability(oc, ordinary_percent, priority=True)
    assert 0.0 <= priority <= ordinary <= 1.0
    assert oc == pytest.approx(ordinary_percent * ordinary + (100.0 - ordinary_percent) * priority)


def shed(oc, ordinary_percent, seed):
    """Return how many of 10,000 requests of that mix are shed: ordinary ones, those of priority."""
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    counts = [0, 0]
    for n in range(10_000):
        priority = n % 100 >= ordinary_percent
        counts[priority] += rng.random() < shed_probability(oc, ordinary_percent, priority=priority)
    return tuple(counts)


@pytest.mark.parametrize("seed", range(5))
def test_c8_a_loss_of_10_sheds_a_quarter_of_40_percent_ordinary_ones(seed):
    """A thousand of ten thousand within three standard deviations, and none of priority."""
    ordinary, priority = shed(10, 40, seed)
    assert abs(ordinary - 1000) <= 82
    assert 0 == priority


@pytest.mark.parametrize("seed", range(5))
def test_c8_a_loss_of_90_sheds_all_ordinary_ones_and_half_of_the_others(seed):
    """Three standard deviations of 2,000 tosses of a coin are 67."""
    ordinary, priority = shed(90, 80, seed)
    assert 8000 == ordinary
    assert abs(priority - 1000) <= 67


# --- the mix ---


def count(mix, ordinary, priority, now_us):
    """Let requests come at one moment."""
    for n in range(ordinary + priority):
        mix.on_request(priority=n >= ordinary, now_us=now_us)


def test_before_the_first_measurement_the_mix_is_80_to_20():
    """So says the RFC."""
    mix = Mix()
    assert 80.0 == mix.ordinary_percent
    count(mix, 1, 9, NOW)
    count(mix, 0, 1, NOW + round(MEASURE_S * SECOND) - 1)
    assert 80.0 == mix.ordinary_percent


def test_the_mix_is_that_of_the_last_whole_interval():
    """450 ordinary ones of 500 in 5 seconds are 90 percent."""
    mix = Mix()
    count(mix, 450, 50, NOW)
    count(mix, 0, 1, NOW + 5 * SECOND)
    assert 90.0 == mix.ordinary_percent
    count(mix, 1, 0, NOW + 10 * SECOND)
    assert 0.0 == mix.ordinary_percent


def test_requests_that_nobody_counted_count_for_their_interval():
    """They are asked for when it ends, and at no other time."""
    mix = Mix()
    left = [8, 0]
    for at_us in (NOW, NOW + 1, NOW + 5 * SECOND, NOW + 6 * SECOND):
        mix.on_request(priority=False, now_us=at_us, besides=lambda: left.pop(0))
    assert 20.0 == mix.ordinary_percent
    assert [0] == left


def test_an_interval_without_requests_keeps_the_mix():
    """And the intervals stay where they were."""
    mix = Mix()
    count(mix, 1, 1, NOW)
    count(mix, 1, 0, NOW + 23 * SECOND)
    assert 50.0 == mix.ordinary_percent
    count(mix, 1, 0, NOW + 25 * SECOND - 1)
    assert 50.0 == mix.ordinary_percent
    count(mix, 1, 0, NOW + 25 * SECOND)
    assert 100.0 == mix.ordinary_percent


# --- rate ---


@given(BUCKETS)
def test_a_bucket_that_was_written_is_read_back(bucket):
    """To the last digit, on one line."""
    assert bucket == Bucket.decode(bucket.encode())
    assert 1 == len(bucket.encode().splitlines())


@pytest.mark.parametrize("text", ["", "1.5", "1.5 x", "nan 1", "inf 1", "-1.0 1", "1.5 1.5", "1e999 1", "1.5 1\n"])
def test_what_is_no_bucket_is_refused(text):
    """Neither is one without an end."""
    with pytest.raises(ValueError, match="not a bucket"):
        Bucket.decode(text)


def burst(rate, now_us, *, priority, bucket=None):
    """Return how many requests of one moment are admitted, and the bucket after them."""
    bucket = bucket or Bucket(0.0, now_us)
    for admitted in range(1000):
        passed, bucket = admit(bucket, rate, now_us, priority=priority, jitter=0.0)
        if not passed:
            return admitted, bucket
    raise AssertionError


@pytest.mark.parametrize(("priority", "tau"), [(False, TAU_ORDINARY), (True, TAU_PRIORITY)])
@pytest.mark.parametrize("rate", [1, 150, 4000])
def test_c8_a_burst_is_bounded_by_tau(rate, priority, tau):
    """An empty bucket takes TAU / T requests and one more at a time."""
    assert tau + 1 == burst(rate, NOW, priority=priority)[0]


def test_c10_priority_finds_room_where_ordinary_requests_do_not():
    """The upper half of the bucket is kept for it."""
    admitted, bucket = burst(100, NOW, priority=False)
    assert 6 == admitted
    assert 5 == burst(100, NOW, priority=True, bucket=bucket)[0]


def test_what_is_not_admitted_leaves_the_bucket_alone():
    """Rejected requests do not hold up later ones."""
    _, bucket = burst(100, NOW, priority=False)
    assert (False, bucket) == admit(bucket, 100, NOW + 5_000, priority=False, jitter=0.5)
    assert (True, Bucket(60_000.0, NOW + 10_000)) == admit(bucket, 100, NOW + 10_000, priority=False, jitter=0.5)


def test_c8_a_rate_of_0_admits_nothing():
    """Not even what is of priority, however long ago the last request was."""
    bucket = open_bucket(0, NOW, 0.0)
    assert Bucket(0.0, NOW) == bucket
    assert (False, bucket) == admit(bucket, 0, NOW + 3600 * SECOND, priority=True, jitter=0.0)


@pytest.mark.parametrize("jitter", [-0.5, 0.0, 0.5])
def test_jitter_moves_the_start(jitter):
    """Clients that are throttled at once do not all send at once."""
    assert Bucket(10_000.0 * (1 + jitter), NOW) == open_bucket(100, NOW, jitter)


@pytest.mark.parametrize("jitter", [-0.5, 0.0, 0.5])
def test_jitter_is_added_where_the_bucket_had_emptied(jitter):
    """Elsewhere each request adds one interval, no more and no less."""
    bucket = Bucket(10_000.0, NOW)
    later = NOW + 10_000
    assert (True, Bucket(10_000 * (1 + jitter), later)) == admit(bucket, 100, later, priority=False, jitter=jitter)
    assert (True, Bucket(10_001.0, later - 1)) == admit(bucket, 100, later - 1, priority=False, jitter=jitter)


def test_a_clock_that_is_behind_empties_nothing():
    """Workers share a bucket and read their clocks one after the other."""
    bucket = Bucket(10_000.0, NOW)
    assert (True, Bucket(20_000.0, NOW)) == admit(bucket, 100, NOW - 7, priority=False, jitter=0.0)


@pytest.mark.parametrize("seed", range(3))
def test_c8_a_rate_of_150_admits_150_a_second_of_1000(seed):
    """Requests come at random for a minute; the first burst is the only surplus."""
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    bucket, now_us, admitted = open_bucket(150, 0, rng.random() - 0.5), 0, 0
    while now_us < 60 * SECOND:
        now_us += round(rng.expovariate(1000) * SECOND)
        passed, bucket = admit(bucket, 150, now_us, priority=rng.random() < 0.2, jitter=rng.random() - 0.5)
        admitted += passed
    assert 9000 == pytest.approx(admitted, rel=0.02)


@given(st.lists(st.tuples(st.integers(0, 50_000), st.booleans()), max_size=60))
def test_c8_no_time_sees_more_than_its_rate_and_one_burst(arrivals):
    """In any stretch of time t at most (t + TAU) / T + 1 are admitted, whatever comes."""
    bucket, now_us, times = open_bucket(100, NOW, 0.0), NOW, []
    for gap_us, priority in arrivals:
        now_us += gap_us
        passed, bucket = admit(bucket, 100, now_us, priority=priority, jitter=0.0)
        times += [now_us] if passed else []
    for first, start_us in enumerate(times):
        for last in range(first, len(times)):
            assert last - first <= (times[last] - start_us) / 10_000 + TAU_PRIORITY + 1e-6
