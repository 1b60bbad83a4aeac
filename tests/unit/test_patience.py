"""The time limit of a publish: an abandoned ``patience`` block does not limit later publishes."""

from __future__ import annotations

import time

from flask_nightshift.brokers.failures import STEP, is_over, left, patience


def test_an_inner_patience_block_ends_no_later_than_the_outer_one() -> None:
    with patience(0.01):
        with patience(60):
            time.sleep(0.02)
            assert is_over()
        assert is_over()
    assert not is_over()


def test_an_abandoned_patience_block_limits_nothing() -> None:
    def interrupted() -> None:
        patience(0.0).__enter__()  # a signal handler raises before anything follows
        assert not is_over()

    interrupted()
    with patience(60):
        assert not is_over()
    assert left() == STEP
    assert not is_over()
