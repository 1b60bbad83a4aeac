"""The end of a worker's event loop."""

from __future__ import annotations

import pytest
from kombu.asynchronous import Hub

from flask_nightshift.worker.loop_end import finish


@pytest.mark.parametrize("ours", [True, False])
def test_an_error_in_a_last_call_ends_no_loop(ours: bool) -> None:
    hub, called = Hub(), list[str]()
    hub.on_close.update({finish} if ours else ())

    def fail() -> None:
        called.append("reader")
        raise ConnectionError("the socket was disconnected")

    hub.call_soon(fail)
    hub.call_soon(called.append, "acknowledgement")
    if ours:
        hub.close()
        assert sorted(called) == ["acknowledgement", "reader"]
    else:
        with pytest.raises(ConnectionError):  # kombu's own end, without which ours is not needed
            hub.close()
