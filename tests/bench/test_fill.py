"""Frames that fill a group, and how their answers are counted."""

from fill import ACCEPTED, BUSY, REFUSED, count, masked


def test_a_frame_says_how_long_it_is() -> None:
    assert masked(b"x" * 300) == b"\x81\xfe\x01\x2c\0\0\0\0" + b"x" * 300


def test_answers_are_counted_once_wherever_a_read_ends() -> None:
    accepted, refused = ACCEPTED + b',"id":"s","data":{}}', REFUSED + b',"data":{' + BUSY + b"}}"
    answers = accepted + refused + accepted * 2 + refused
    for cut in range(len(answers) + 1):
        for again in range(cut, min(cut + 40, len(answers) + 1)):
            first = count(answers[:cut], b"")
            second = count(answers[cut:again], first[3])
            third = count(answers[again:], second[3])
            assert [sum(those) for those in zip(first[:3], second[:3], third[:3], strict=True)] == [3, 2, 2], (cut, again)
