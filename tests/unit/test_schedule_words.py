"""A schedule in words and as cron: the words say when it really runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab, schedule, solar

from flask_nightshift.schedule.words import as_cron, in_words

BERLIN = ZoneInfo("Europe/Berlin")


def sun(event: str) -> solar:
    """A solar schedule, which is made without the library that computes its times."""
    made = solar.__new__(solar)
    made.event, made.lat, made.lon = event, 52.5, 13.4
    return made


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/10 * * * *", "every 10 minutes"),
        ("0 * * * *", "every hour"),
        ("30 * * * *", "at minute 30 of every hour"),
        ("*/7 * * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("5,20,35,50 * * * *", "at minutes 5, 20, 35 and 50 of every hour"),
        ("0-9 * * * *", "at minutes 0 to 9 of every hour"),
        ("30 2 * * *", "at 02:30 every day, Europe/Berlin"),
        ("30 2 * * 1-5", "at 02:30 on weekdays, Europe/Berlin"),
        ("30 2 * * mon-fri", "at 02:30 on weekdays, Europe/Berlin"),
        ("0 8 * * sat,sun", "at 08:00 on weekends, Europe/Berlin"),
        ("0 8 * * 1", "at 08:00 on Mondays, Europe/Berlin"),
        ("0 8 * * 0,3", "at 08:00 on Wednesdays and Sundays, Europe/Berlin"),
        ("0 8 * * fri-sun", "at 08:00 from Friday to Sunday, Europe/Berlin"),
        ("0 8 * * thu-mon", "at 08:00 on Mondays, Thursdays, Fridays, Saturdays and Sundays, Europe/Berlin"),
        ("0 6,18 * * *", "at 06:00 and 18:00 every day, Europe/Berlin"),
        ("0,30 6,18 * * *", "at 06:00, 06:30, 18:00 and 18:30 every day, Europe/Berlin"),
        ("0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00 every day, Europe/Berlin"),
        ("0 */2 * * *", "every second hour, Europe/Berlin"),
        ("15 */2 * * 1-5", "at minute 15 of every second hour on weekdays, Europe/Berlin"),
        ("*/10 8-17 * * 1-5", "every 10 minutes from 08:00 to 17:50 on weekdays, Europe/Berlin"),
        ("*/10 8 * * *", "at 08:00, 08:10, 08:20, 08:30, 08:40 and 08:50 every day, Europe/Berlin"),
        ("* 8 * * *", "every minute from 08:00 to 08:59, Europe/Berlin"),
        ("*/10 8,20 * * *", "every 10 minutes of the hours 8 and 20, Europe/Berlin"),
        ("1,2,4,8,16,32,59 8 * * *",
         "at minutes 1, 2, 4, 8, 16, 32 and 59 of the hour 8 every day, Europe/Berlin"),
        ("0 0 1 * *", "at 00:00 on day 1 of the month, Europe/Berlin"),
        ("0 0 1,15 * *", "at 00:00 on days 1 and 15 of the month, Europe/Berlin"),
        ("0 0 1-7 * 1", "at 00:00 on days 1 to 7 of the month, only on Mondays, Europe/Berlin"),
        ("0 0 13 * fri", "at 00:00 on day 13 of the month, only on Fridays, Europe/Berlin"),
        ("0 0 1 1,4,7,10 *", "at 00:00 on day 1 of the month in January, April, July and October, Europe/Berlin"),
        ("0 9 * 3-6 1", "at 09:00 on Mondays from March to June, Europe/Berlin"),
        ("*/10 * * * 1-5", "every 10 minutes on weekdays, Europe/Berlin"),
        ("0 * 24 12 *", "every hour on day 24 of the month in December, Europe/Berlin"),
    ],
)  # fmt: skip
def test_a_crontab(cron: str, words: str) -> None:
    when = crontab.from_string(cron)
    assert in_words(when, BERLIN) == words
    assert as_cron(when) == cron


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (schedule(1), "every second"),
        (schedule(1.5), "every 1.5 seconds"),
        (schedule(90), "every 90 seconds"),
        (schedule(timedelta(minutes=10)), "every 10 minutes"),
        (schedule(timedelta(hours=1)), "every hour"),
        (schedule(timedelta(hours=36)), "every 36 hours"),
        (schedule(timedelta(days=7)), "every 7 days"),
        (schedule(timedelta(hours=1), relative=True), "every hour, at round times"),
        (sun("sunset"), "at sunset, latitude 52.5, longitude 13.4"),
        (sun("dawn_civil"), "at civil dawn, latitude 52.5, longitude 13.4"),
        (sun("solar_noon"), "at solar noon, latitude 52.5, longitude 13.4"),
    ],
)
def test_another_schedule(when: Any, words: str) -> None:
    assert in_words(when) == words
    assert as_cron(when) is None


def test_a_crontab_of_sets_and_numbers_as_cron() -> None:
    assert as_cron(crontab(minute=5, hour={18, 6}, day_of_week=[1, 2])) == "5 6,18 * * 1,2"  # type: ignore[arg-type,unused-ignore]
