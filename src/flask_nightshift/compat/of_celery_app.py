"""The seams in the parts of Celery that declare, publish and schedule jobs."""

from __future__ import annotations

from .seam import imported, of, override, patch, read

SEAMS = (
    *of(
        "celery.app.base:Celery",
        override("send_task", "JobCelery", "Every way of Celery's to publish a job ends here, and must go through our checks."),
        override("finalize", "JobCelery TaskMaker", "A task that is refused stays refused, and late receivers are told."),
        override("task register_task _task_from_fun", "TaskMaker", "Every way to declare a task has its options checked."),
        override("_add_periodic_task", "JobCelery", "An entry of the schedule is checked when it is added."),
        override("config_from_object", "JobCelery", "Settings go through our table, which refuses some by name."),
        override("connection_for_write", "JobCelery", "A connection that publishes gives up within 3 s."),
        override("pool _pool", "JobCelery", "Connections belong to this app and go with it."),
        override("_get_backend", "JobCelery", "A publish must not hang on a result backend's subscription."),
        override("AsyncResult timezone uses_utc_timezone", "JobCelery",
                 "Asked for with each job, and Celery's kind of property takes a lock for it."),
        override("Worker", "JobCelery", "`celery worker` has to start our worker."),
        read("_tasks", "JobCelery TaskMaker Calls _Guard", "The tasks, without finalizing the app."),
        read("_conf", "JobCelery", "The settings are replaced by ours, which look at what is set later."),
        read("_ensure_after_fork", "JobCelery", "A pool made here is forgotten in a forked child."),
        read("_after_fork", "JobCelery", "Celery does not know of plain forks, such as gunicorn's preload."),
        read("_backend", "JobCelery", "The result backend, if there is one already: its connections are closed."),
        patch("finalized", "TaskMaker", "An app whose tasks were refused is to be finalized again."),
        patch("on_after_configure on_after_finalize", "JobCelery", "Signals of ours, which tell late receivers too."),
    ),
    *of(
        "celery.app.amqp:AMQP",
        override("_retry_publish", "JobAMQP", "What follows a job whose body has returned waits for a broker that is away."),
        override("producer_pool _producer_pool", "JobAMQP", "Producers use the connections of this app."),
        override("Queues Connection", "JobAMQP", "Queues are declared as our broker wants them."),
    ),
    *of(
        "celery.app.amqp:Queues",
        override("new_missing", "JobQueues", "Also a queue that nobody listed is declared as our broker wants it."),
    ),
    *of(
        "celery.app.amqp",
        imported("_callback_publish_retry", "NamedQueues", "What follows a job is published by Celery's producer, which waits for the broker."),
    ),
    *of(
        "celery.app.autoretry",
        read("add_autoretry_behaviour", "JobTask", "It leaves a task alone that has `_orig_run`; else Celery would retry besides us."),
    ),
    *of(
        "celery.app.defaults",
        imported("_TO_NEW_KEY", "present_name", "Old names of settings are understood when we refuse them."),
    ),
    *of(
        "celery.app.events:Events",
        override("dispatcher_cls", "JobEvents", "Celery makes its event dispatcher from this class."),
    ),
    *of(
        "celery.app.registry:TaskRegistry",
        override("register", "JobRegistry", "However a task comes into the app, it gets our protection here."),
    ),
    *of(
        "celery.app.task:Task",
        read("_get_exec_options _exec_options", "_of_task _options_of JobCelery protect",
             "The options of a task's publishes, which Celery computes once and keeps."),
        read("_get_app", "JobTask", "The app that a task is bound to."),
        read("_dump_pydantic_arguments", "JobTask", "Arguments of such a task are for Celery to convert."),
    ),
    *of(
        "celery.app.task",
        imported("get_actual_ignore_result", "Protected", "Whether anything waits for the result of this very job."),
    ),
    *of(
        "celery.app.trace",
        read("_localized", "run", "It holds the tasks in a child whose tracer Celery has set up to be quick."),
        read("fast_trace_task trace_task_ret", "run", "The two ways in which Celery runs a task in a child."),
        read("LOG_RECEIVED LOG_SUCCESS LOG_FAILURE LOG_RETRY", "<module>",
             "Lines of these formats are dropped, because ours say more."),
    ),
    *of(
        "celery.app.utils:Settings",
        override("broker_url broker_read_url broker_write_url result_backend", "JobSettings",
                 "Celery looks into the environment first, so two processes could use two brokers."),
    ),
    *of(
        "celery.utils.collections:ChainMap",
        override("update", "JobSettings", "What a user sets later goes through our table."),
    ),
    *of(
        "celery.utils.collections:ConfigurationView",
        override("__setitem__", "JobSettings", "What a user sets later goes through our table."),
        read("_keys", "JobCelery", "How Celery finds a setting by its old name."),
    ),
    *of(
        "celery.loaders.base:BaseLoader",
        patch("_conf", "JobCelery", "Settings are taken over once, and not read again behind our table."),
    ),
    *of(
        "celery._state",
        imported("_tls _set_current_app", "_follow_context", "The current app follows the Flask app's context."),
    ),
    *of(
        "celery.local:Proxy",
        read("_get_current_object", "protect", "The task behind Celery's stand-in for it."),
    ),
    *of(
        "celery.backends.base:Backend",
        patch("mark_as_done mark_as_failure mark_as_retry store_result _sleep", "_Guard",
              "A result backend that is away, or refuses a result, must not fail the job."),
        read("_pending_results", "_awaited", "Whether anybody in this process waits for a result."),
    ),
    *of(
        "celery.backends.redis:RedisBackend",
        patch("on_task_call", "JobCelery", "It subscribes to each result when its job is published."),
    ),
    *of(
        "celery.backends.asynchronous:AsyncBackendMixin",
        patch("remove_pending_result", "JobCelery", "It unsubscribes from results that nobody subscribed to."),
    ),
    *of(
        "celery.beat:Scheduler",
        override("setup_schedule tick is_due apply_async close", "JobScheduler _Stoppable",
                 "A tick moves on only when the broker has taken its job."),
        read("apply_entry reserve _is_due_failed", "JobScheduler", "Parts of Celery's tick, which tools such as Sentry wrap."),
    ),
    *of(
        "celery.beat",
        imported("_evaluate_entry_args _evaluate_entry_kwargs", "JobScheduler", "Arguments of an entry that are computed at each tick."),
    ),
    *of(
        "celery.events.dispatcher:EventDispatcher",
        override("send", "JobDispatcher", "An event that cannot be sent must not hold up the worker's loop."),
        read("_outbound_buffer", "JobDispatcher", "Events that wait are bounded."),
    ),
    *of(
        "celery.utils.dispatch.signal:Signal",
        override("connect send", "LateSignal", "Receivers that connect after a signal was sent are told too."),
        read("_live_receivers", "LateSignal", "Who listens to a signal."),
    ),
    *of(
        "celery.utils.log:LoggingProxy",
        override("write flush", "Prints", "A line that is printed is one log record."),
    ),
)  # fmt: skip

__all__ = ["SEAMS"]
