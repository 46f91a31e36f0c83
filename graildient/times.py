"""When a listing was created, told from its id alone.

Ids are given out in order, so an id between two dated ones was created between their
dates. Used for listings that carry no dates (the pages of 2021); whatever is dated this
way is marked ``time_is_estimated``.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise

ESTIMATED_SALE_LAG = timedelta(days=37)
"""From creation to sale where only the creation is known: the median of the dated sales of March 2026.

One sale in ten takes more than 233 days, so a single sale's estimated date may be far off.
"""

EARLIEST = datetime(2013, 10, 1, tzinfo=UTC)
"""The marketplace opened late in 2013; no estimate lies before this."""

# From 11,243,286 on: dated payloads of 2020 and 2026. A bump moves a date later, never earlier, so
# only listings count that no higher id undercuts. 18,658,737 is the newest id of a set that ends in
# January 2021. Below 11 million no payload is dated: the years between the opening and October 2019
# follow the one constant growth (39 % a year) that meets both ends and the rate seen there.
_ANCHORS: tuple[tuple[int, datetime], ...] = tuple(
    (listing_id, datetime.fromisoformat(f"{date}+00:00"))
    for listing_id, date in (
        (1, "2013-12-01T00:00:00"),
        (680_000, "2015-01-01T00:00:00"),
        (1_610_000, "2016-01-01T00:00:00"),
        (2_990_000, "2017-01-01T00:00:00"),
        (5_030_000, "2018-01-01T00:00:00"),
        (8_040_000, "2019-01-01T00:00:00"),
        (11_243_286, "2019-10-08T08:15:54"),
        (13_734_638, "2020-03-25T18:21:31"),
        (14_806_660, "2020-05-30T02:01:42"),
        (15_582_671, "2020-07-11T17:48:45"),
        (16_520_273, "2020-08-27T20:28:02"),
        (17_399_240, "2020-10-08T19:43:44"),
        (18_658_737, "2021-01-20T00:00:00"),
        (50_339_730, "2023-09-24T14:07:32"),
        (52_064_168, "2023-11-03T00:40:40"),
        (67_844_347, "2024-09-23T00:15:32"),
        (75_723_365, "2025-02-26T04:11:42"),
        (82_329_551, "2025-07-15T03:51:01"),
        (90_032_492, "2025-12-28T14:16:47"),
        (94_351_871, "2026-03-25T00:40:39"),
    )
)
_IDS = [listing_id for listing_id, _ in _ANCHORS]
_SLOPES = [(b[1] - a[1]).total_seconds() / (b[0] - a[0]) for a, b in pairwise(_ANCHORS)]
# Ids that a clock of this century can have: beyond, the last slope would leave the calendar.
_LATEST = datetime(2099, 1, 1, tzinfo=UTC)


def estimate_created_at(listing_id: int) -> datetime:
    """Creation time (UTC, whole seconds) on the straight line between the neighbouring dated ids.

    Never falls as ids rise; the same id always gives the same time. After the last anchor
    the last slope goes on, to the year 2099 at most; ids below 1 give the earliest date.
    """
    if listing_id < 1:
        return EARLIEST
    i = min(max(bisect_right(_IDS, listing_id) - 1, 0), len(_SLOPES) - 1)
    anchor_id, anchor = _ANCHORS[i]
    seconds = (listing_id - anchor_id) * _SLOPES[i]
    if seconds > (_LATEST - anchor).total_seconds():
        return _LATEST
    return anchor + timedelta(seconds=int(seconds))
