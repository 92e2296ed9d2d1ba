"""Ids: ordered by the time of their making."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from service.ids import least_id, new_id

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_an_id_lies_between_the_moments_around_its_making() -> None:
    before = datetime.now(UTC)
    made = new_id("aud")
    after = datetime.fromtimestamp(time.time() + 0.002, UTC)
    assert least_id("aud", before) <= made < least_id("aud", after)


def test_bounds_are_ordered_as_their_moments_are() -> None:
    moments = [datetime.min.replace(tzinfo=UTC) + timedelta(days=1), MOMENT, MOMENT + timedelta(milliseconds=1)]
    bounds = [least_id("aud", moment) for moment in [*moments, datetime.max.replace(tzinfo=UTC)]]
    assert bounds == sorted(set(bounds))


def test_a_moment_is_written_as_a_ulid_writes_it() -> None:
    milliseconds, digits = int(MOMENT.timestamp() * 1000), ""
    while milliseconds:
        milliseconds, digit = divmod(milliseconds, 32)
        digits = "0123456789abcdefghjkmnpqrstvwxyz"[digit] + digits
    assert least_id("aud", MOMENT) == f"aud_{digits.rjust(10, '0')}"


@pytest.mark.parametrize("prefix", ["aud", "prd"])
def test_an_id_is_typed_by_its_prefix(prefix: str) -> None:
    assert new_id(prefix).partition("_")[0] == prefix
    assert len(new_id(prefix)) == len(prefix) + 27
