"""Holds back the acknowledgements of a worker's connection, and writes them when they must wait no longer."""

from __future__ import annotations

from typing import Any

from kombu.asynchronous import get_event_loop

from .reading import FrameReader
from .writing import FrameWriter


def hold_acks(connection: Any) -> None:
    """Write the acknowledgements over kombu's ``connection`` together, once per turn of the event loop.

    Without an event loop, or with another reader or writer, each is written at once.
    """
    wire, loop = connection.connection, get_event_loop()
    writer, reader = wire.frame_writer, wire.on_inbound_frame
    if loop is not None and isinstance(writer, FrameWriter) and isinstance(reader, FrameReader):
        reader.delivered = writer.hold_acks(loop).delivered


def write_acks(channel: Any) -> None:
    """Write what is held back on the connection of ``channel``, if it is open."""
    wire = channel.connection
    if wire is not None and wire.connected and isinstance(wire.frame_writer, FrameWriter):
        wire.frame_writer.write_acks()


__all__ = ["hold_acks", "write_acks"]
