"""The seams in Celery's worker, and in billiard, its process pool."""

from __future__ import annotations

from .seam import imported, of, override, patch, read

SEAMS = (
    *of(
        "celery.worker.request:Request",
        override("execute_using_pool", "StartedRequest", "Our attempt runs the job in place of Celery's tracer."),
        override("on_accepted on_success on_failure on_timeout", "JobRequest",
                 "The pool reports the end of an attempt here, and one place settles it."),
        override("revoked maybe_expire _announce_revoked", "StartedRequest JobRequest", "A revoked or expired job becomes a dead letter."),
        override("_announce_cancelled", "JobRequest", "A lost connection ends an attempt, and settles nothing."),
        override("acknowledged reject", "SettledRequest JobRequest", "Celery must not settle a message by itself."),
        read("_message _body _content_type _content_encoding _payload _decoded", "Delivery JobRequest SettledRequest StartedRequest",
             "The message as received."),
        read("_request_dict _delivery_info _eta _ignore_result", "Delivery JobRequest SettledRequest StartedRequest",
             "The headers that go to the child, which we complete."),
        read("_task _type _app _hostname", "Delivery JobRequest SettledRequest StartedRequest", "The task, the app and the worker of the request."),
        read("_context", "_context buried_by_the_broker", "The request as Celery passes it to hooks and the result backend."),
        read("_already_cancelled _already_revoked", "JobRequest SettledRequest", "Celery's flags for an attempt that has ended."),
        override("_terminate_on_ack", "JobRequest", "A job terminated before its child has begun: its beginning is told first."),
        read("_apply_result", "StartedRequest", "What Celery terminates when the job is revoked."),
        read("_worker_lost_info", "JobRequest", "The error of an attempt that exited its process."),
    ),
    *of(
        "celery.worker.request",
        read("create_request_cls", "JobRequest",
             "It overrides two methods of any request class, and we take them out again."),
    ),
    *of(
        "celery.worker.consumer.consumer:Consumer",
        override("start connect on_ready on_close", "JobConsumer", "We declare the topology, and running jobs survive a lost connection."),
        override("connection_for_write", "JobConsumer", "Celery's events use a connection without confirmations."),
        override("register_with_event_loop perform_pending_operations", "JobConsumer", "The loop reports that it runs."),
        override("update_strategies", "JobConsumer", "Each task's jobs are settled by our request class."),
        override("add_task_queue cancel_task_queue", "ControlledConsumer", "Remote control declares queues as we do."),
        override("reset_rate_limits", "ControlledConsumer", "Jobs that wait for an old rate limit continue under the new one."),
        override("_update_qos_eventually", "ControlledConsumer", "The prefetch count of a consumer of a quorum queue cannot change."),
        override("create_task_handler", "JobConsumer", "Every message is checked before Celery sees it."),
        override("on_unknown_message on_unknown_task on_invalid_task on_decode_error", "JobConsumer",
                 "Celery discards what it cannot run; ours is kept as a dead letter."),
        read("_limit_task _limit_move_to_pool", "ControlledConsumer", "How Celery makes a job wait for its rate limit, and run."),
        read("task_buckets qos_global", "ControlledConsumer", "The rate limits, and the scope of the prefetch count."),
    ),
    *of(
        "celery.worker.worker:WorkController",
        override("Blueprint", "JobWorker", "The list of a worker's parts, in which our Beat replaces Celery's."),
        read("_process_task", "JobConsumer", "It passes a job to the pool, also a postponed one."),
        patch("pool_cls concurrency", "JobWorker", "Our pools replace Celery's, and solo has one process."),
    ),
    *of(
        "celery.worker.worker:WorkController.Blueprint",
        override("default_steps", "JobWorker.Blueprint", "The parts of a worker by their names."),
    ),
    *of(
        "celery.apps.worker:Worker",
        override("on_init_blueprint", "JobWorker", "Celery calls it before it creates any part, so we refuse an unsuitable broker here."),
        override("on_start", "JobWorker", "Celery calls it before it starts any part, so we freeze objects before the pool forks."),
    ),
    *of(
        "celery.worker.components:Beat",
        override("create name", "EmbeddedBeat", "`worker -B` runs Beat in a thread, because a fork closes SQLite's files."),
    ),
    *of(
        "celery.worker.state",
        imported("active_requests revoked task_ready", "Drain JobRequest SettledRequest",
                 "Celery's records of active and revoked jobs, for its remote control."),
    ),
    *of(
        "celery.utils.collections:LimitedSet",
        read("as_dict", "JobRequest", "When a job was revoked."),
    ),
    *of(
        "celery.concurrency.asynpool:ResultHandler",
        override("_recv_message", "Reports", "We read all reports that have arrived at once."),
        read("handle_event", "Reports", "What the loop calls when a child has written."),
    ),
    *of(
        "celery.concurrency.asynpool:AsynPool",
        override("ResultHandler Worker", "JobProcesses", "The pool makes its parts from these classes."),
        override("_create_timelimit_handlers", "JobProcesses", "One timer watches over all time limits."),
        override("_event_process_exit", "JobProcesses", "A child that ended is replaced at once, not after 5 s."),
        read("_pool maintain_pool", "JobProcesses", "The children, and what replaces those that ended."),
        override("_create_write_handlers", "JobProcesses _Watched HandedJob",
                 "A job for a free child is written at once; this also says what it asks of the loop and of a job."),
        read("_all_inqueues _busy_workers _active_writes outbound_buffer", "JobProcesses", "Which children are free, and which jobs wait."),
        patch("_quick_put", "JobProcesses", "It puts a job into the pool; ours does not wait for the loop."),
        patch("on_timeout_set on_timeout_cancel", "JobProcesses", "The pool calls them when a time limit begins and ends."),
        patch("on_poll_start", "JobProcesses", "The loop need not watch pipes without waiting jobs."),
        patch("_payload", "JobProcesses", "The bytes of a job, which the pool writes."),
        read("on_soft_timeout on_hard_timeout", "JobProcesses", "They end an attempt that exceeded its time limit."),
    ),
    *of(
        "celery.concurrency.asynpool",
        imported("UNAVAIL", "Reports", "The error numbers for: nothing to read now."),
        imported("Worker ResultHandler AsynPool", "Child Reports JobProcesses", "The classes that ours are made from."),
    ),
    *of(
        "celery.concurrency.prefork:TaskPool",
        override("Pool", "JobPool", "Celery's pool creates its processes with this class."),
        read("_pool", "Drain remembered", "The processes behind Celery's pool."),
    ),
    *of(
        "celery.concurrency.solo:TaskPool",
        patch("on_apply", "JobSolo", "Each job runs through it; ours notes that one is running."),
    ),
    *of(
        "celery.concurrency.base",
        imported("apply_target", "JobSolo", "How a pool without processes runs a job."),
    ),
    *of(
        "billiard.pool:Pool",
        override("apply_async", "JobProcesses", "It records a job without the event that nothing waits for."),
        read("_cache _state", "JobProcesses HandedJob remembered", "The jobs of the pool by number, and whether it is running."),
        read("_pool", "Drain", "The child processes, to be killed at the end of the grace period."),
    ),
    *of(
        "billiard.pool:ApplyResult",
        override("__init__", "HandedJob", "Ours makes no event, and so sets billiard's attributes itself."),
        read("_callback _error_callback _accept_callback _timeout_callback _soft_timeout _timeout "
             "_lost_worker_timeout _on_timeout_set _on_timeout_cancel _callbacks_propagate",
             "JobProcesses", "The attributes of a job, which our apply_async fills in."),
        read("_event _mutex _job", "HandedJob JobProcesses", "The attributes of a job, which ours sets."),
        read("_accepted _cancelled _worker_pid _time_accepted _terminated _send_ack", "HandedJob",
             "The state of a job, which ours keeps in the class until it changes."),
        read("_write_to", "_given", "The child that a job was written to: it will run, also over a lost connection."),
    ),
    *of(
        "billiard.pool:Worker",
        override("_make_child_methods", "Child", "A child reports with a plain pickle."),
        read("outq", "Child", "Where a child puts its reports."),
    ),
    *of(
        "billiard.queues:_SimpleQueue",
        patch("put", "Child", "A child puts its reports by it; ours makes a plain pickle of them."),
        read("send_payload", "Child", "It writes a pickle to the pipe."),
    ),
    *of(
        "billiard.pool",
        imported("RUN TASK Lock job_counter", "HandedJob JobProcesses", "What billiard's own apply_async uses."),
    ),
    *of(
        "billiard.process:BaseProcess",
        read("_is_alive", "_given", "Whether the child that a job was written to lives."),
    ),
    *of(
        "billiard.einfo:ExceptionInfo",
        patch("traceback", "info", "The traceback as text, where the exception has lost its own."),
    ),
)  # fmt: skip

__all__ = ["SEAMS"]
