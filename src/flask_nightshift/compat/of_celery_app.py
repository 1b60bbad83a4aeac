"""The seams in the parts of Celery that declare, publish and schedule jobs."""

from __future__ import annotations

from .seam import imported, of, override, patch, read

SEAMS = (
    *of(
        "celery.app.base:Celery",
        override("send_task", "JobCelery", "All of Celery's ways to publish a job call it, so our checks are here."),
        override("finalize", "JobCelery TaskMaker", "A refused task stays refused, and late receivers of signals are called."),
        override("task register_task _task_from_fun", "TaskMaker", "We check the options of every way to declare a task."),
        override("_add_periodic_task", "JobCelery", "We check an entry of the schedule when it is added."),
        override("config_from_object", "JobCelery", "Settings go through our table, which refuses some by name."),
        override("connection_for_write", "JobCelery", "A connection that publishes needs time limits that fit into 3 s."),
        override("pool _pool", "JobCelery", "The connections belong to this app and close with it."),
        override("_get_backend", "JobCelery", "A publish must not hang on a result backend's subscription."),
        override("AsyncResult timezone uses_utc_timezone", "JobCelery",
                 "Each publish reads them, and Celery's cached property takes a lock."),
        override("Worker", "JobCelery", "`celery worker` has to start our worker."),
        read("_tasks", "JobCelery JobPublisher TaskMaker Calls _Guard", "The tasks, without finalizing the app."),
        read("_conf", "JobCelery", "Our settings replace Celery's, to check later changes."),
        read("_ensure_after_fork", "JobCelery", "A forked child must not use the parent's pool."),
        read("_after_fork", "JobCelery", "Celery does not see plain forks, such as gunicorn's with preload."),
        read("_backend", "JobCelery", "The result backend, if it exists, so that we can close its connections."),
        read("_local _backend_cache", "JobCelery <module>", "A test has a result backend of its own."),
        patch("finalized", "TaskMaker", "An app whose tasks were refused must be finalized again."),
        patch("on_after_configure on_after_finalize", "JobCelery", "Our signals also call late receivers."),
    ),
    *of(
        "celery.app.amqp:AMQP",
        override("_retry_publish", "JobAMQP", "After a job's body returned, the publish of its successors waits for an unavailable broker."),
        override("producer_pool _producer_pool", "JobAMQP", "Producers use the connections of this app."),
        override("Queues Connection", "JobAMQP", "Our broker declares the queues."),
        override("Consumer", "JobAMQP", "A worker's consumer leaves paused queues out."),
    ),
    *of(
        "celery.app.amqp:Queues",
        override("new_missing", "JobQueues", "Our broker also declares a queue that no setting lists."),
    ),
    *of(
        "celery.app.amqp",
        imported("_callback_publish_retry", "NamedQueues", "Celery's producer publishes a job's successors, because it can wait for the broker."),
    ),
    *of(
        "celery.app.autoretry",
        read("add_autoretry_behaviour", "JobTask", "It skips a task that has `_orig_run`; otherwise both Celery and we would retry."),
    ),
    *of(
        "celery.app.defaults",
        imported("_TO_NEW_KEY", "current_name", "We also recognise old names of settings."),
    ),
    *of(
        "celery.app.events:Events",
        override("dispatcher_cls", "JobEvents", "Celery makes its event dispatcher from this class."),
    ),
    *of(
        "celery.app.registry:TaskRegistry",
        override("register", "JobRegistry", "Every task of the app passes through it and gets our protection."),
    ),
    *of(
        "celery.app.task:Task",
        read("_get_exec_options _exec_options", "JobPublisher _of_task _options_of JobCelery ResultTask protect",
             "The publish options of a task, which Celery computes once and caches."),
        read("_get_app", "EnqueuingTask ResultTask", "The app that a task is bound to."),
        read("_dump_pydantic_arguments", "EnqueuingTask ResultTask", "Celery converts the arguments of a pydantic task."),
        read("apply_async shadow_name", "ResultTask", "A call without options takes a shorter way, which does the same."),
    ),
    *of(
        "celery.app.task:Task",
        read("__trace__", "_parts", "The task's tracer: another library may have wrapped it."),
        read("__call__", "_parts Protected.__call__ as_in_worker", "The tracer calls it; other libraries replace it."),
    ),
    *of(
        "celery.app.task:Context",
        read("__init__ update _get_custom_headers", "_context _parts", "We make the same `self.request` in a third of the time."),
        read("_protected", "run_body", "It marks a request whose task was called, so that the body may call its task."),
    ),
    *of(
        "celery.app.task",
        imported("get_actual_ignore_result", "Protected", "Whether this job's result is ignored."),
    ),
    *of(
        "celery.app.trace",
        read("_localized", "run of_task as_in_worker", "It contains the tasks in a child with Celery's fast tracer."),
        read("_install_stack_protection", "as_in_worker", "In a test, a task's body and its hooks share one request, as in a worker."),
        read("fast_trace_task trace_task_ret trace_task", "run _parts", "The ways in which Celery runs a task in a child."),
        read("build_tracer", "_parts run", "The short way does what the tracer that it builds does for an ordinary job, and leaves the rest to it."),
        read("task_has_custom", "of_task", "Which hooks the tracer would call."),
        read("logger", "of_moment", "Whether the tracer's line about a success is logged."),
        read("LOG_RECEIVED LOG_SUCCESS LOG_FAILURE LOG_RETRY", "<module>",
             "We drop lines with these formats, because ours contain more."),
    ),
    *of(
        "celery.app.utils:Settings",
        override("broker_url broker_read_url broker_write_url result_backend", "JobSettings",
                 "Celery prefers the environment, so two processes could use two brokers."),
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
        read("on_task_init on_process_cleanup", "of_task", "The tracer calls them; only a loader of the user's own does anything there."),
        patch("_conf", "JobCelery", "We take the settings over once; Celery must not read them again without our check."),
    ),
    *of(
        "celery._state",
        imported("_task_stack", "run carried _globals_of_celery", "What runs here: `current_task` reads it."),
        imported("_set_task_join_will_block", "as_in_worker", "In a job of a test, get() is refused as in a worker, and not in the test itself."),
        imported("_tls _set_current_app", "_follow_context as_current _globals_of_celery", "The current app follows the Flask app's context, and a test."),
    ),
    *of(
        "celery.local:Proxy",
        read("_get_current_object", "protect", "The task behind Celery's proxy."),
    ),
    *of(
        "celery.backends.base:Backend",
        patch("mark_as_done mark_as_failure mark_as_retry store_result _sleep", "_Guard",
              "A result backend that is down or refuses a result must not fail the job."),
        read("process_cleanup", "of_task", "The tracer calls it; a result backend may override it."),
        read("_pending_results", "_has_waiter", "Whether a caller in this process waits for a result."),
    ),
    *of(
        "celery.backends.redis:RedisBackend",
        override("_get_pool connection_class_ssl", "ClusterResults", "Results on a cluster go to the owner of the app's slot."),
        read("_transport_options", "ClusterResults", "The nodes of the cluster and the hash tag."),
        patch("on_task_call", "JobCelery", "It subscribes to each result when its job is published."),
    ),
    *of(
        "celery.backends.redis:ResultConsumer",
        read("_reconnect", "_Hearing", "A connection for results that is silent is opened again; Celery waits for an error."),
    ),
    *of(
        "celery.backends.asynchronous:AsyncBackendMixin",
        patch("remove_pending_result", "JobCelery", "It unsubscribes from results without a subscription."),
        read("add_pending_result", "_Hearing",
             "A coroutine's wait for a result is registered as an AsyncResult's is."),
    ),
    *of(
        "celery.backends.asynchronous:BaseResultConsumer",
        read("on_wait_for_pending", "_Hearing", "It looks whether a job has ended already."),
        patch("drain_events", "_Hearing serialize",
              "A thread of ours reads what the result backend sends to the coroutines of an app."),
    ),
    *of(
        "celery.backends.base:SyncBackendMixin",
        override("wait_for", "RunningResults", "In a test, who waits for a result has the jobs run."),
    ),
    *of(
        "celery.backends.cache:CacheBackend",
        override("supports_native_join", "RunningResults", "In a test, a group waits for its members one after the other."),
    ),
    *of(
        "celery.backends.rpc:RPCBackend",
        patch("oid", "ResultWaits", "The jobs of coroutines name one reply queue."),
        read("result_consumer", "_Hearing _close", "What reads the replies, or Redis's messages, for a result backend."),
    ),
    *of(
        "celery.result:AsyncResult",
        read("_maybe_set_cache _iter_meta", "Wait _keep", "Celery tells and asks a wait as it does an AsyncResult."),
        read("_cache", "_Hearing aget _ended _keep", "How the job has ended, if that is known."),
    ),
    *of(
        "celery.beat:Scheduler",
        override("setup_schedule tick apply_async close Entry", "JobScheduler StoppableScheduler",
                 "A tick is claimed together with its job, and advances only then."),
        read("apply_entry reserve _is_due_failed", "JobScheduler", "Parts of Celery's tick, which tools such as Sentry wrap."),
    ),
    *of(
        "celery.beat",
        imported("_evaluate_entry_args _evaluate_entry_kwargs", "arguments", "Arguments of an entry that are computed at each tick."),
    ),
    *of(
        "celery.beat:ScheduleEntry",
        override("__init__ schedule", "JobEntry", "An entry has keys of ours, and its schedule reads the server's clock."),
        read("_next_instance __next__ next is_due default_now", "_as_mapping", "A subclass that overrides them is refused."),
    ),
    *of(
        "celery.schedules:crontab",
        read("_orig_minute _orig_hour _orig_day_of_month _orig_month_of_year _orig_day_of_week", "said",
             "A crontab as it was written: a step of hours differs from a list of hours."),
    ),
    *of(
        "celery.events.dispatcher:EventDispatcher",
        override("send", "JobDispatcher", "An event that cannot be sent must not block the worker's loop."),
        read("_outbound_buffer", "JobDispatcher", "We limit the number of waiting events."),
    ),
    *of(
        "celery.utils.dispatch.signal:Signal",
        override("connect send", "LateSignal", "Receivers that connect after a signal was sent are called too."),
        read("_live_receivers", "LateSignal", "The receivers of a signal."),
    ),
    *of(
        "celery.utils.threads",
        imported("_LocalStack", "entered left", "The class of Celery's stacks, which we enter in one step."),
    ),
    *of(
        "celery.utils.threads:_LocalStack",
        read("_local push pop", "entered left", "Where a stack keeps its items, by thread or greenlet."),
    ),
    *of(
        "celery.utils.threads:Local",
        read("__slots__ __init__ __release_local__ __getattr__", "entered left", "Where a stack keeps its items, by thread or greenlet."),
    ),
    *of(
        "celery.utils.log:LoggingProxy",
        override("write flush", "Prints", "A line that is printed is one log record."),
    ),
)  # fmt: skip

__all__ = ["SEAMS"]
