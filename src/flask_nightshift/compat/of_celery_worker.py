"""The seams in Celery's worker, and in billiard, its process pool."""

from __future__ import annotations

from .seam import imported, of, override, patch, read

SEAMS = (
    *of(
        "celery.worker.request:Request",
        override("execute_using_pool", "StartedRequest", "Our attempt runs the job in place of Celery's tracer."),
        override("on_accepted on_success on_failure on_timeout", "JobRequest",
                 "The pool reports the end of an attempt here, and one place settles it."),
        override("revoked maybe_expire _announce_revoked", "StartedRequest JobRequest", "A revoked job ends as cancelled, and one that has expired as its `on_expired` says."),
        override("_announce_cancelled", "JobRequest", "A lost connection ends an attempt, and settles nothing."),
        override("info", "JobRequest", "What `celery inspect` shows has no arguments that NIGHTSHIFT_REDACT hides."),
        override("acknowledged reject", "SettledRequest JobRequest", "Celery must not settle a message by itself."),
        read("_message _body _content_type _content_encoding _payload _decoded", "Delivery JobRequest SettledRequest StartedRequest",
             "The message as received."),
        read("_request_dict _delivery_info _eta _ignore_result", "Delivery JobRequest SettledRequest StartedRequest",
             "The headers that go to the child, which we complete."),
        read("_task _type _app _hostname", "Delivery JobRequest SettledRequest StartedRequest", "The task, the app and the worker of the request."),
        patch("worker_pid time_start", "JobRequest", "What Celery notes when an attempt begins, for one that began unseen."),
        read("_eventer _expires", "JobRequest StartedRequest", "Whether events are enabled, and whether the job expires."),
        read("_context", "_context _revoke", "The request as Celery passes it to hooks and the result backend."),
        read("_already_cancelled _already_revoked", "JobRequest SettledRequest", "Celery's flags for an attempt that has ended."),
        override("_terminate_on_ack", "JobRequest", "A job terminated before its child has begun: its beginning is told first."),
        read("_apply_result", "StartedRequest", "What Celery terminates when the job is revoked."),
        read("_worker_lost_info", "JobRequest", "The error of an attempt that exited its process."),
    ),
    *of(
        "celery.worker.request",
        read("create_request_cls", "JobRequest Strategy",
             "It overrides two methods of any request class, and we take them out again."),
    ),
    *of(
        "celery.worker.consumer.consumer:Consumer",
        override("start stop connect on_ready on_close", "JobConsumer", "We declare the topology, running jobs survive a lost connection, and the others go back."),
        override("connection_for_write", "JobConsumer", "Celery's events use a connection without confirmations."),
        override("ensure_connected", "JobConsumer", "The pool is watched while the worker tries to connect."),
        override("register_with_event_loop perform_pending_operations", "JobConsumer", "The loop reports that it runs."),
        override("call_soon_ack", "JobConsumer", "Where a job blocks the event loop, a job is acknowledged before the next one begins."),
        override("update_strategies", "JobConsumer", "Each task's jobs are settled by our request class."),
        override("add_task_queue cancel_task_queue", "ControlledConsumer", "Remote control declares queues as we do."),
        override("reset_rate_limits", "ControlledConsumer", "Jobs that wait for an old rate limit continue under the new one."),
        override("_update_qos_eventually", "ControlledConsumer", "The prefetch count of a consumer of a quorum queue cannot change."),
        override("create_task_handler", "JobConsumer", "Every message is checked before Celery sees it."),
        override("on_unknown_message on_unknown_task on_invalid_task on_decode_error", "UnrunnableConsumer",
                 "Celery discards what it cannot run; ours is kept as a dead letter."),
        override("_limit_task", "ControlledConsumer", "How Celery makes a job wait for its rate limit; a cancelled one does not."),
        read("_limit_move_to_pool", "ControlledConsumer", "How Celery runs a job that waited for its rate limit."),
        patch("loop", "Worker", "In a test, the worker runs one job when it is told to."),
        read("_maximum_prefetch_restored", "Strategy", "Whether Celery still restores its prefetch count after a lost connection."),
        read("task_buckets qos_global", "ControlledConsumer", "The rate limits, and the scope of the prefetch count."),
    ),
    *of(
        "celery.worker.worker:WorkController",
        override("Blueprint", "JobWorker Controller", "The list of a worker's parts, in which our Beat replaces Celery's."),
        read("_process_task", "JobConsumer", "It passes a job to the pool, also a postponed one."),
        override("setup_defaults", "JobWorker", "Celery converts the prefetch multiplier; we look first whether it is our default."),
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
        imported("active_requests revoked revoked_stamps task_ready", "Drain JobRequest SettledRequest Hands is_revoked",
                 "Celery's records of active and revoked jobs, for its remote control."),
        patch("should_stop", "JobPool", "It has the worker stop, and is its exit code."),
    ),
    *of(
        "celery.utils.collections:LimitedSet",
        read("as_dict", "JobRequest", "When a job was revoked."),
    ),
    *of(
        "celery.concurrency.prefork",
        imported("process_initializer process_destructor", "WorkerProcess._begin WorkerProcess._leave",
                 "They make a child one of Celery's worker processes, and announce its end."),
        imported("_run_ready_callbacks", "Driver._serve_loop", "It sends the acknowledgements of jobs that end while the pool stops."),
    ),
    *of(
        "celery.concurrency.solo:TaskPool",
        patch("on_apply", "JobSolo", "Each job runs through it; ours notes that one is running."),
        patch("limit", "Solo", "The pool of a test begins without Celery's signal of a new process."),
    ),
    *of(
        "celery.utils.timer2:Timer",
        override("ensure_started", "StillTimer", "The worker of a test has no thread."),
    ),
    *of(
        "celery.concurrency.gevent:TaskPool",
        override("on_apply on_start grow shrink", "JobGreenlets", "Jobs wait in a line of ours, which blocks no loop and gives back what no greenlet has begun."),
        patch("_pool _quick_put", "JobGreenlets", "The greenlets, how many there may be, and how one is begun."),
        read("Pool limit _state RUN", "JobGreenlets", "gevent's group of greenlets, how many, and whether they may begin a job."),
    ),
    *of(
        "celery.concurrency.thread:TaskPool",
        override("on_apply", "JobThreads", "Jobs wait in a line of ours, which gives back what no thread has begun."),
        read("executor _state RUN limit", "JobThreads", "The threads, how many, and whether they may begin a job."),
    ),
    *of(
        "celery.concurrency.base",
        imported("apply_target", "JobSolo JobThreads", "How a pool without processes runs a job."),
        imported("BasePool", "JobPool", "The class that Celery's pools extend."),
    ),
    *of(
        "celery.concurrency.base:BasePool",
        override("on_start on_stop on_terminate on_close on_apply did_start_ok flush", "JobPool GivesBack JobThreads JobGreenlets", "What a worker asks of its pool."),
        override("register_with_event_loop terminate_job restart num_processes", "JobPool", "What a worker asks of its pool of processes."),
        override("_get_info uses_semaphore", "JobPool", "What remote control tells of it, and that it has a place for each process."),
        read("_state RUN info options limit putlocks", "JobPool Drain", "Whether it runs, and what the worker was told to have."),
    ),
    *of(
        "billiard.process",
        read("_set_current_process", "WorkerProcess._begin", "The process that Celery and its users find as the current one."),
    ),
    *of(
        "billiard.util",
        read("_finalizer_registry _run_after_forkers", "WorkerProcess._begin", "What billiard does in a new process, for kombu and others."),
    ),
    *of(
        "billiard.common",
        imported("TERM_SIGNAL human_status", "JobPool.terminate_job Handed.be_lost", "Celery's signal for an end, and how a process ended, in words."),
    ),
    *of(
        "billiard.pool",
        imported("EX_RECYCLE", "WorkerProcess._leave", "The exit code of a child that is replaced."),
    ),
    *of(
        "billiard.compat",
        imported("mem_rss", "WorkerProcess._is_too_large", "The memory of this process, as Celery's limit counts it."),
    ),
    *of(
        "billiard.einfo:ExceptionInfo",
        patch("traceback", "info", "The traceback as text, where the exception has lost its own."),
    ),
)  # fmt: skip

__all__ = ["SEAMS"]
