"""A worker's connection: its acknowledgements are held back and written together, its messages decode quickly."""

from __future__ import annotations

from typing import Any

from kombu.asynchronous import get_event_loop

from .message import JobMessage
from .reading import FrameReader
from .writing import FrameWriter


def prepare_for_jobs(connection: Any, *, blocks_loop: bool) -> None:
    """Prepare kombu's ``connection``, which has no channels yet; ``blocks_loop`` as for ``Broker.worker_begins``.

    Without an event loop, with one that jobs block, or with another reader or writer, each acknowledgement is written
    at once.
    """
    wire, loop = connection.connection, get_event_loop()
    writer, reader = wire.frame_writer, wire.on_inbound_frame
    if isinstance(writer, FrameWriter) and isinstance(reader, FrameReader):
        if blocks_loop:
            reader.one_by_one = True
        elif loop is not None:
            reader.delivered = writer.hold_acks(loop).delivered
    connection.default_channel.Message = JobMessage


def write_acks(channel: Any) -> None:
    """Write what is held back on the connection of ``channel``, if it is open."""
    wire = channel.connection
    if wire is not None and wire.connected and isinstance(wire.frame_writer, FrameWriter):
        wire.frame_writer.write_acks()


__all__ = ["prepare_for_jobs", "write_acks"]
