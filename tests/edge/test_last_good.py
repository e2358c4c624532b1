"""The last good list comes back as it was, or says which file is damaged."""

import pytest
from steelyard.edge.last_good import FILE_NAME, LastGood

TEXT = {
    "weight": {"sip:[2001:db8::1]:5060;transport=tcp": "1.50", "sip:127.0.0.1:5001": " 2"},
    "settings": {"policy": "weighted", "fall@sip:127.0.0.1:5001": "5"},
    "state": {},
}


def test_what_is_saved_is_loaded(tmp_path) -> None:
    """The operator's own text comes back, character by character."""
    LastGood(tmp_path).save(TEXT)
    assert TEXT == LastGood(tmp_path).load()


def test_nothing_saved_is_nothing_loaded(tmp_path) -> None:
    """Before the first list there is none, and that is no error."""
    assert LastGood(tmp_path).load() is None


def test_a_newer_list_replaces_the_older_one(tmp_path) -> None:
    """Only the last one is kept."""
    LastGood(tmp_path).save(TEXT)
    LastGood(tmp_path).save({"weight": {}})
    assert {"weight": {}} == LastGood(tmp_path).load()


@pytest.mark.parametrize("text", ["", "{", '{"weight": {"sip:a": "1"', "[]", "null", "7", '{"weight": []}', '{"a": 1}'])
def test_a_damaged_file_is_named(tmp_path, text) -> None:
    """The message says which file, and what to do."""
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=f"{FILE_NAME} is damaged.*remove it"):
        LastGood(tmp_path).load()


def test_a_file_of_random_bytes_is_named(tmp_path) -> None:
    """Bytes that are no text are damage like any other."""
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=FILE_NAME):
        LastGood(tmp_path).load()


def test_a_crash_while_writing_leaves_the_old_list(tmp_path) -> None:
    """The new list is written beside the old one: a part of it is never read."""
    LastGood(tmp_path).save(TEXT)
    (tmp_path / FILE_NAME).with_suffix(".part").write_text('{"weight": {"sip:a"')
    assert TEXT == LastGood(tmp_path).load()


def test_what_a_crash_left_is_overwritten(tmp_path) -> None:
    """The next list is saved whole, and nothing stays beside it."""
    (tmp_path / FILE_NAME).with_suffix(".part").write_text("x" * 10_000)
    LastGood(tmp_path).save(TEXT)
    assert TEXT == LastGood(tmp_path).load()
    assert [FILE_NAME] == [path.name for path in tmp_path.iterdir()]


def test_a_disk_that_refuses_leaves_the_old_list(tmp_path) -> None:
    """OSError reaches the caller, and what was there stays."""
    LastGood(tmp_path).save(TEXT)
    (tmp_path / FILE_NAME).with_suffix(".part").mkdir()
    with pytest.raises(OSError, match=r"last_good\.part"):
        LastGood(tmp_path).save({"weight": {}})
    assert TEXT == LastGood(tmp_path).load()
