"""Frames that fill a group, and how their answers are counted."""

from fill import ACCEPTED, REFUSED, count, masked


def test_a_frame_says_how_long_it_is() -> None:
    assert masked(b"x" * 300) == b"\x81\xfe\x01\x2c\0\0\0\0" + b"x" * 300


def test_answers_are_counted_once_wherever_a_read_ends() -> None:
    answers = (ACCEPTED + b',"id":"s","data":{}}') * 3
    for cut in range(len(answers) + 1):
        first, _, rest = count(answers[:cut], b"")
        second, refused, _ = count(answers[cut:], rest)
        assert (first + second, refused) == (3, 0), cut
    assert count(ACCEPTED + REFUSED, b"")[:2] == (1, 1)
