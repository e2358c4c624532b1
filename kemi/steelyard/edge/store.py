"""
Redis as the control process sees it: the operator's list in, shares, reasons and events out.

The only module that imports redis. Every call has a short time limit, and after a failure the next ones are skipped
for a while, so that a slow Redis costs a tick and not the control process.
Does not know what the values mean.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..core.declared import HASHES

TIMEOUT_S: Final = 0.2
RETRY_AFTER_S: Final = 0.5
MAX_EVENTS_KEPT: Final = 1000  # while Redis is away; the oldest go first
STREAM_LENGTH: Final = 10_000
WHY_PER_WRITE: Final = 100  # a thousand reasons are spread over a second


class StoreUnavailable(Exception):
    """Redis cannot be used now; the message says why and what to do."""


class Store:
    """One destination set's keys."""

    def __init__(self, url: str, set_id: str, clock_s: Callable[[], float]) -> None:
        """
        Take the URL, the set's number and the monotonic clock; nothing is opened before the first call.

        Raises:
            ValueError: no such URL.
        """
        self._prefix = f"steelyard:{{{set_id}}}:"
        self._clock_s = clock_s
        self._skip_until_s = 0.0
        self._events: deque[dict[str, str]] = deque(maxlen=MAX_EVENTS_KEPT)
        self._why: dict[str, dict[str, str]] = {}
        self._stale_why: set[str] = set()
        self._connects = 0
        self._client = redis.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            redis_connect_func=self._on_connect,
        )
        # A time limit of the URL would win over ours, and a frozen Redis would hold the control process for as long.
        self._client.connection_pool.connection_kwargs |= {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
        }

    def key(self, name: str) -> str:
        """Return the full name of one of the set's keys."""
        return self._prefix + name

    @property
    def connects(self) -> int:
        """How often a connection was made: a Redis that has been away since may have lost its data."""
        return self._connects

    def read_list(self) -> dict[str, dict[str, str] | None]:
        """
        Return the operator's hashes; None for one whose key is of another type.

        Raises:
            StoreUnavailable: no answer, now or lately.
        """
        pipeline = self._client.pipeline(transaction=False)  # a full Redis takes no transaction, but can be read
        for name in HASHES:
            pipeline.hgetall(self.key(name))
        answers = self._execute(pipeline)
        return {
            name: answer if isinstance(answer, dict) else None for name, answer in zip(HASHES, answers, strict=True)
        }

    def read_reports(self, uris: Sequence[str]) -> dict[str, dict[str, str] | None]:
        """
        Return the pushed reports of destinations, empty where there is none; None where the key is no hash.

        Raises:
            StoreUnavailable: no answer, now or lately.
        """
        pipeline = self._client.pipeline(transaction=False)
        for uri in uris:
            pipeline.hgetall(self.key(f"report:{uri}"))
        answers = self._execute(pipeline)
        return {uri: answer if isinstance(answer, dict) else None for uri, answer in zip(uris, answers, strict=True)}

    def write_shares(self, shares: Mapping[str, float]) -> None:
        """
        Replace the effective shares, in percent.

        Raises:
            StoreUnavailable: no answer, now or lately.
        """
        pipeline = self._client.pipeline(transaction=True)
        pipeline.delete(self.key("effective"))
        if shares:
            pipeline.zadd(self.key("effective"), dict(shares))
        self._write(pipeline)

    def queue_why(self, rows: Mapping[str, dict[str, str]]) -> None:
        """Keep each destination's reasons until write_why gets to them; a newer row replaces an older one."""
        self._why.update(rows)
        self._stale_why -= rows.keys()

    def queue_forget_why(self, uris: Iterable[str]) -> None:
        """Have the reasons of destinations that left deleted by the next write_why."""
        for uri in uris:
            self._why.pop(uri, None)
            self._stale_why.add(uri)

    def write_why(self) -> None:
        """
        Write some of the queued reasons and delete the stale ones.

        Raises:
            StoreUnavailable: no answer, now or lately, or refused; the rows stay queued.
        """
        uris = list(self._why)[:WHY_PER_WRITE]
        stale = list(self._stale_why)
        if not uris and not stale:
            return
        pipeline = self._client.pipeline(transaction=False)
        if stale:
            pipeline.delete(*(self.key(f"why:{uri}") for uri in stale))
        for uri in uris:
            pipeline.hset(self.key(f"why:{uri}"), mapping=_values(self._why[uri]))
        self._write(pipeline)
        self._stale_why.difference_update(stale)
        for uri in uris:
            self._why.pop(uri, None)

    def queue_event(self, event: dict[str, str]) -> None:
        """Keep an event until write_events gets to it."""
        self._events.append(event)

    def write_events(self) -> None:
        """
        Append the queued events to the stream.

        Raises:
            StoreUnavailable: no answer, now or lately, or refused; the events stay queued.
        """
        if not self._events:
            return
        pipeline = self._client.pipeline(transaction=True)
        events = list(self._events)
        for event in events:
            pipeline.xadd(self.key("events"), _values(event), maxlen=STREAM_LENGTH, approximate=True)
        self._write(pipeline)
        for _ in events:
            self._events.popleft()

    def _on_connect(self, connection: Any) -> None:  # noqa: ANN401
        self._connects += 1
        connection.on_connect()

    def _write(self, pipeline: Any) -> None:  # noqa: ANN401
        for answer in self._execute(pipeline):
            if isinstance(answer, redis.RedisError):
                raise StoreUnavailable(f"Redis refuses to write: {answer}")

    def _execute(self, pipeline: Any) -> Sequence[Any]:  # noqa: ANN401 - redis-py's pipelines are loosely typed
        if self._clock_s() < self._skip_until_s:
            raise StoreUnavailable("Redis did not answer a moment ago")
        try:
            return pipeline.execute(raise_on_error=False)
        except redis.AuthenticationError as error:
            raise self._away(f"Redis refuses the password: put it into STEELYARD_REDIS_URL ({error})") from error
        except redis.ResponseError as error:
            raise StoreUnavailable(f"Redis refuses: {error}") from error
        except (redis.RedisError, OSError) as error:
            raise self._away(f"{error}; is Redis running where STEELYARD_REDIS_URL says?") from error

    def _away(self, reason: str) -> StoreUnavailable:
        self._skip_until_s = self._clock_s() + RETRY_AFTER_S
        self._client.connection_pool.disconnect()
        return StoreUnavailable(reason)


def _values(texts: Mapping[str, str]) -> dict[Any, Any]:
    """Return the texts as redis-py's types want them: any key, any value."""
    return dict(texts)
