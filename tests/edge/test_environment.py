"""A variable that cannot be used stops the start with its name and what was expected."""

from pathlib import Path

import pytest
from steelyard.edge import environment
from steelyard.edge.environment import BadEnvironment, Environment

HOME = Path("/srv/steelyard")


def test_without_variables_everything_lies_beside_the_configuration() -> None:
    """The defaults are a private Redis, set 1 and the folder var."""
    assert Environment("unix:///srv/steelyard/var/redis.sock", "1", HOME / "var") == environment.read({}, HOME)


def test_an_empty_variable_is_as_good_as_none() -> None:
    """`make` exports names that nobody set."""
    names = ("STEELYARD_REDIS_URL", "STEELYARD_SET", "STEELYARD_RUN_DIR")
    assert environment.read({}, HOME) == environment.read(dict.fromkeys(names, ""), HOME)


def test_variables_are_taken_as_they_are() -> None:
    """Nothing is added to what the operator says."""
    given = {
        "STEELYARD_REDIS_URL": "rediss://user:secret@redis.example.com:6380/3",
        "STEELYARD_SET": "12",
        "STEELYARD_RUN_DIR": "/run/steelyard",
    }
    expected = Environment("rediss://user:secret@redis.example.com:6380/3", "12", Path("/run/steelyard"))
    assert expected == environment.read(given, HOME)


def test_the_private_redis_follows_the_run_folder() -> None:
    """Two nodes with folders of their own do not share a Redis by accident."""
    found = environment.read({"STEELYARD_RUN_DIR": "/run/two"}, HOME)
    assert "unix:///run/two/redis.sock" == found.redis_url


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("STEELYARD_SET", "0", "whole number from 1"),
        ("STEELYARD_SET", "-1", "whole number from 1"),
        ("STEELYARD_SET", "1.5", "whole number from 1"),
        ("STEELYARD_SET", "one", "whole number from 1"),
        ("STEELYARD_SET", "{1}", "whole number from 1"),
        ("STEELYARD_SET", "1234567890", "whole number from 1"),
        ("STEELYARD_RUN_DIR", "var", "begins with /"),
        ("STEELYARD_RUN_DIR", "~/var", "begins with /"),
        ("STEELYARD_REDIS_URL", "localhost:6379", "redis"),
        ("STEELYARD_REDIS_URL", "http://localhost", "redis"),
        ("STEELYARD_REDIS_URL", "/run/redis.sock", "redis"),
        pytest.param("STEELYARD_REDIS_URL", "redis://[::1", "redis"),
        pytest.param("STEELYARD_REDIS_URL", "redis://localhost:port", "redis"),
        pytest.param("STEELYARD_REDIS_URL", "redis://localhost:99999", "redis"),
    ],
)
def test_a_wrong_variable_is_named_with_what_was_expected(name, value, expected) -> None:
    """The message is enough to mend it."""
    with pytest.raises(BadEnvironment, match=name) as caught:
        environment.read({name: value}, HOME)
    assert value in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "userinfo",
    [
        "user:secret",
        ":secret",
        pytest.param("user:top:secret"),
        pytest.param("user:secret@home"),
        pytest.param("user:secret/7"),
    ],
)
def test_a_password_is_not_shown(userinfo) -> None:
    """A wrong URL is named, but what goes to logs and terminals holds no password."""
    with pytest.raises(BadEnvironment) as caught:
        environment.read({"STEELYARD_REDIS_URL": f"redos://{userinfo}@localhost"}, HOME)
    assert "STEELYARD_REDIS_URL" in str(caught.value)
    assert "localhost" in str(caught.value)
    for word in ("secret", "top", "home"):
        assert word not in str(caught.value)


def test_the_run_folder_is_made(tmp_path) -> None:
    """With those above it, and once only."""
    made = Environment("unix:///x", "1", tmp_path / "a" / "b")
    environment.prepare(made)
    environment.prepare(made)
    assert made.run_dir.is_dir()


@pytest.mark.parametrize("path", ["/proc/steelyard", "{tmp_path}/file", "{tmp_path}/file/var"])
def test_a_run_folder_that_cannot_be_made_is_named(tmp_path, path) -> None:
    """The message says which variable, which folder and why."""
    (tmp_path / "file").touch()
    run_dir = Path(path.format(tmp_path=tmp_path))
    with pytest.raises(BadEnvironment, match="STEELYARD_RUN_DIR") as caught:
        environment.prepare(Environment("unix:///x", "1", run_dir))
    assert str(run_dir) in str(caught.value)
