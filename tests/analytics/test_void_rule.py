"""The void rule against sequences made by hand."""

from __future__ import annotations

import pytest

from void_rule import CLAIM_TYPE, Stamp, Verdict, VoidRule, stamp_of

CLAIM = Stamp(True, None, None)
NOTHING = Stamp(False, None, None)


def event(claim: int, index: int) -> Stamp:
    return Stamp(False, claim, index)


def verdicts(records: list[Stamp], first: int = 0, from_start: bool = True) -> str:
    """C claim, + valid, - void, ? unknown."""
    rule = VoidRule(from_start=from_start)
    letters = {Verdict.CLAIM: "C", Verdict.VALID: "+", Verdict.VOID: "-", Verdict.UNKNOWN: "?"}
    return "".join(letters[rule.admit(first + n, stamp)] for n, stamp in enumerate(records))


@pytest.mark.parametrize(
    ("what", "records", "expected"),
    [
        ("an ordinary run", [CLAIM, event(0, 0), event(0, 1), event(0, 2)], "C+++"),
        ("nothing counts before the first claim", [event(0, 0), CLAIM, event(1, 0)], "-C+"),
        ("fail-over: the new claim's events count", [CLAIM, event(0, 0), CLAIM, event(2, 0), event(2, 1)], "C+C++"),
        ("a late zombie's are void", [CLAIM, event(0, 0), CLAIM, event(0, 1), event(2, 0), event(0, 2)], "C+C-+-"),
        ("a zombie's can't fill the next index of another claim", [CLAIM, CLAIM, event(0, 0), event(1, 0)], "CC-+"),
        ("after a hole all is void", [CLAIM, event(0, 0), event(0, 2), event(0, 3)], "C+--"),
        ("until it is filled", [CLAIM, event(0, 0), event(0, 2), event(0, 1), event(0, 2)], "C+-++"),
        ("a hole at the start", [CLAIM, event(0, 1), event(0, 2)], "C--"),
        ("a new claim ends the hole", [CLAIM, event(0, 1), CLAIM, event(2, 0)], "C-C+"),
        ("a repeat is void", [CLAIM, event(0, 0), event(0, 0), event(0, 1)], "C+-+"),
        ("a claim twice: the later one counts", [CLAIM, CLAIM, event(1, 0), event(0, 1)], "CC+-"),
        ("an old claim doesn't come back", [CLAIM, event(0, 0), CLAIM, event(0, 0), event(2, 0)], "C+C-+"),
        ("a claim of the future doesn't count", [CLAIM, event(2, 0), CLAIM, event(2, 0)], "C-C+"),
        ("no stamp is void", [CLAIM, NOTHING, event(0, 0)], "C-+"),
        ("half a stamp is void", [CLAIM, Stamp(False, 0, None), Stamp(False, None, 0), event(0, 0)], "C--+"),
        ("claims only, an hour apart", [CLAIM, CLAIM, CLAIM], "CCC"),
    ],
)
def test_sequences(what: str, records: list[Stamp], expected: str) -> None:
    assert verdicts(records) == expected, what


def test_a_reader_may_start_at_any_claim() -> None:
    whole = [CLAIM, event(0, 0), event(0, 1), CLAIM, event(3, 0), event(0, 2), CLAIM, event(6, 0)]
    assert verdicts(whole) == "C++C+-C+"
    for claim in (3, 6):
        assert verdicts(whole[claim:], first=claim, from_start=False) == verdicts(whole)[claim:]


def test_whoever_starts_between_claims_knows_nothing_until_the_next() -> None:
    rest = [event(0, 1), event(0, 2), CLAIM, event(4, 0), event(0, 3)]
    assert verdicts(rest, first=2, from_start=False) == "??C+-"


def test_compaction_or_a_gap_in_offsets_changes_nothing() -> None:
    rule = VoidRule()
    given = [rule.admit(at, stamp) for at, stamp in [(4, CLAIM), (5, event(4, 0)), (9, event(4, 1))]]
    assert given == [Verdict.CLAIM, Verdict.VALID, Verdict.VALID]


def test_headers() -> None:
    assert stamp_of({"ce_type": CLAIM_TYPE}) == CLAIM
    sent = {"ce_type": "parley.events.v1.MessageSent", "parley_claim": "12", "parley_index": "3"}
    assert stamp_of(sent) == event(12, 3)
    assert stamp_of({"ce_type": "x"}) == NOTHING
    for nonsense in ("", "+1", "-1", " 1", "1.0", "0x1", "\u0661"):
        assert stamp_of({"ce_type": "x", "parley_claim": nonsense, "parley_index": "0"}).claim is None, nonsense
