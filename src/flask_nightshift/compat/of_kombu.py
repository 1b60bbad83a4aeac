"""The seams in kombu, most of them in its Redis transport, the base of ours."""

from __future__ import annotations

from .seam import imported, of, override, patch, read

SEAMS = (
    *of(
        "kombu.transport.redis:Channel",
        override("_brpop_start _brpop_read", "Channel KombuChannel",
                 "The poller calls them to ask the server and to take its answer; ours claim a batch in place of BRPOP, "
                 "and without them messages leave Redis before anything holds them."),
        override("basic_consume basic_cancel _basic_cancel", "Channel",
                 "We note which queues are consumed, and return what was claimed from one that no longer is."),
        override("_on_connection_disconnect", "Channel",
                 "A claim whose answer never came is settled here; without it its jobs wait for the lease to expire."),
        override("QoS", "Channel", "The channel makes its acknowledging part from this class, and ours releases leases."),
        override("conn_or_acquire", "Channel", "One client for each channel, where kombu makes one for each operation."),
        override("close _after_fork _disconnect_pools", "Channel",
                 "The lease and our connections end with the channel, and are not inherited by a fork."),
        override("_purge _delete", "Channel", "A queue has delayed jobs and a doorbell besides its list."),
        override("_put create_publish_batch", "Channel",
                 "Every publish ends here; ours delays in the broker and rings the doorbell."),
        override("from_transport_options", "Channel", "Our own transport options become attributes of the channel."),
        read("_in_poll", "Channel KombuChannel Poller", "It says that a command is under way on the polling connection."),
        read("_brpop_sent_at", "KombuChannel", "When the last command was sent; kombu's health check reads it."),
        read("_flush_brpop_reauth", "KombuChannel", "New credentials are sent between two commands."),
        read("_queue_cycle", "KombuChannel", "The order in which the queues have their turn."),
        read("_in_listen", "Poller", "It says that the channel listens for broadcasts already."),
        read("_create_client", "Channel", "The client that prefixes keys as kombu does."),
        read("_get_pool _sentinel_manager _async_sentinel_manager", "KombuChannel",
             "The lease has a pool of its own, with the channel's parameters; the channel keeps its Sentinel."),
        read("_registered", "Channel", "A fork must not take its parent's channel out of the poller."),
        read("_expires", "Channel", "Queues that expire are published to in kombu's own way."),
    ),
    *of(
        "kombu.transport.redis:SentinelChannel",
        override("from_transport_options", "Channel SentinelChannel", "As for the channel of one server."),
    ),
    *of(
        "kombu.transport.redis:QoS",
        override("append ack reject", "QoS", "Celery acknowledges and rejects here; ours releases the lease."),
        override("restore_unacked restore_visible", "QoS",
                 "Unfinished messages return through the lease; what stock workers left is restored as in kombu."),
        read("_vrestore_count", "QoS", "Set to zero, so that each call restores: we count by time."),
    ),
    *of(
        "kombu.transport.virtual.base:QoS",
        override("ack reject restore_unacked", "MemoryQoS",
                 "Celery acknowledges and rejects here; ours does it in the broker of this process."),
        override("can_consume can_consume_max_estimate", "QoS", "A worker may bound what it holds by time, not by count."),
        override("restore_unacked_once", "QoS MemoryQoS", "Called when the channel closes or the process ends: the lease is released."),
        read("_delivered _dirty _flush", "QoS MemoryQoS", "What was delivered and is not settled."),
        read("_on_collect", "QoS MemoryQoS", "The finalizer that would restore at exit what the lease has returned already."),
        read("_quick_ack", "Channel MemoryChannel", "A message whose next state was written no longer counts as delivered."),
    ),
    *of(
        "kombu.transport.redis:MultiChannelPoller",
        override("on_poll_start get handle_event close fds", "Poller",
                 "Each turn of the loop asks only what has to be asked, and can be woken from another thread."),
        read("_channels _paused_brpop _update_brpop_polling _register_BRPOP _register_LISTEN", "Poller",
             "What kombu's own on_poll_start does, channel by channel."),
    ),
    *of(
        "kombu.transport.redis:PublishBatch",
        override("flush", "PublishBatch", "The doorbells ring in the pipeline of the batch."),
        read("_buffered", "PublishBatch", "Whether there is anything to ring for."),
        read("add pipeline", "PublishBatch Channel", "How a command gets into the pipeline, prefixed or not."),
    ),
    *of(
        "kombu.transport.redis:Transport",
        override("Channel", "Transport", "The transport makes its channels from this class."),
        override("connection_errors", "Transport", "A read-only server is one to reconnect from."),
        override("register_with_event_loop", "Transport", "Our poller learns of the event loop that drives it."),
        read("cycle", "Transport", "The poller, which we replace by ours."),
    ),
    *of(
        "kombu.transport.redis:SentinelTransport",
        override("Channel", "Transport SentinelTransport", "The transport makes its channels from this class."),
    ),
    *of(
        "kombu.transport.redis",
        imported("_socket_readable", "Polling.drop_closed", "Whether the server has closed an idle connection."),
    ),
    *of(
        "kombu.transport.virtual.base:Channel",
        override("Message", "Channel", "The channel makes its messages from this class; ours decodes plain JSON quickly."),
        override("QoS from_transport_options supports_fanout", "MemoryChannel", "What kombu's channels are made of."),
        override("basic_consume", "MemoryChannel",
                 "A message without acknowledgement is deleted on delivery."),
        override("basic_get", "Channel MemoryChannel", "A message that is asked for is leased like any other."),
        override("state", "Channel MemoryChannel", "Exchanges are still known when a closed channel settles its last jobs."),
        override("_next_delivery_tag", "Channel", "kombu's random tag costs a system call for each message."),
        read("_tag_to_queue", "Channel", "Which queue a consumer tag belongs to."),
        read("_lookup", "Channel MemoryChannel", "The queues that an exchange and a routing key lead to."),
        read("_inplace_augment_message", "Channel MemoryChannel", "It completes a message as kombu's publish does."),
        read("_get_message_priority", "Channel MemoryChannel", "The priority step of a message."),
        read("exchange_types", "Channel", "kombu drops them when it closes, and a lease may outlive the channel."),
    ),
    *of(
        "kombu.transport.virtual.base:Transport",
        read("_avail_channels", "Transport", "Channels that wait to be used; after trouble they are detached too."),
        read("_callbacks _deliver", "KombuChannel MemoryTransport", "How a channel hands a message to its consumer."),
        override("Channel implements", "MemoryTransport", "What the transport makes its channels from, and can do."),
        override("drain_events", "MemoryTransport", "It waits until something has changed, where kombu's sleeps a second."),
        override("establish_connection", "MemoryTransport", "A forked process must not appear connected."),
        read("state cycle", "MemoryTransport", "Exchanges and bindings belong to the broker, not to one connection."),
    ),
    *of(
        "kombu.transport.virtual.base:Message",
        read("_raw", "Channel", "The message as it came, to be written anew."),
    ),
    *of(
        "kombu.message:Message",
        override("_decode", "Message JobMessage", "Almost every job is plain JSON, and kombu's reader is slow."),
        patch("_state", "RedisBroker MemoryBroker", "A message released together with its next state must count as acknowledged."),
        patch("ack reject", "Quarantine", "We go on with the next unproven job as soon as this one is settled."),
        patch("ack_log_error", "JobConsumer",
              "Celery acknowledges with it; an error on a lost connection must not end the new one."),
        patch("accept", "Quarantine", "Content types are accepted as by the worker's own consumer."),
    ),
    *of(
        "kombu.transport.pyamqp:Channel",
        patch("Message", "prepare_for_jobs", "A worker's channel makes its messages from this class; ours decodes plain JSON quickly."),
    ),
    *of(
        "kombu.connection:ConnectionPool",
        patch("collect_resource", "close_pool", "Closing must not set a timeout for all new sockets of the process."),
    ),
    *of(
        "kombu.connection:Connection",
        override("switch", "Connection _Connection", "The connection keeps its transport when it goes on to another URL."),
        override("info", "Connection", "Options that are functions cannot be sent to `celery inspect`."),
        override("_establish_connection", "_Connection", "We remember a node that is down, so the next connection starts elsewhere."),
        patch("ensure_connection", "JobConsumer.ensure_connected", "Its callback also has the pool watched while kombu waits."),
        read("transport_cls", "Connection", "kombu picks it by the URL's scheme, and we set it back."),
    ),
    *of(
        "kombu.connection:Connection",
        read("collect", "Transport drop",
             "After trouble it calls the transport's `_collect`; ours keeps the running jobs leased to this process."),
    ),
    *of(
        "kombu.connection",
        patch("resolve_aliases", "<module>", "Celery then shows the scheme, not the path of our transport."),
    ),
    *of(
        "kombu.messaging:Consumer",
        read("_active_tags", "JobConsumer", "The only map from a delivery to the queue that it came from, on RabbitMQ."),
    ),
    *of(
        "kombu.asynchronous.hub:Hub",
        read("readers", "Poller", "Whether the loop watches a socket already."),
    ),
    *of(
        "kombu.asynchronous.semaphore:LaxBoundedSemaphore",
        read("_waiting", "Line", "The line of jobs that wait for a child; an unproven job goes to its head."),
    ),
    *of(
        "kombu.transport.native_delayed_delivery",
        imported("CELERY_DELAYED_DELIVERY_EXCHANGE calculate_routing_key "
                 "declare_native_delayed_delivery_exchanges_and_queues", "delay declare_shared _declare",
                 "RabbitMQ delays with Celery's own exchanges, so both must name them alike."),
    ),
)  # fmt: skip

__all__ = ["SEAMS"]
