"""What each log event means to those who read the log: a sentence for each name that the package logs.

``make reference`` writes the list in docs/reference/log-events.md from this table and from the calls that log. A test
refuses an event without a sentence, and a sentence without an event.
"""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Jobs": {
        "job.enqueued": "The broker has accepted the job. INFO in a web request, else DEBUG.",
        "job.not_enqueued": "Jobs waited for a database transaction, which failed or was not committed, so they were "
        "not enqueued.",
        "job.duplicate": "A second publish of the same job was dropped.",
        "job.follow_up_waits": "A task enqueues further jobs, and the broker is away; the worker tries again.",
        "job.started": "An attempt begins.",
        "job.succeeded": "The job is done.",
        "job.retrying": "The attempt failed; the next one runs at `due`.",
        "job.dead": "The job is a dead letter: it does not run again unless somebody replays it.",
        "job.cancelled": "The job was cancelled, before or while it ran.",
        "job.expired": "The job was dropped, because it expired before it could start.",
        "job.skipped": "The job does not run: it is a duplicate, or another one has done its work.",
        "job.returned": "The job is back in its queue, because its worker ended or lost the broker.",
        "job.postponed": "This worker cannot run the message, so it comes again after `wait` seconds, and is buried "
        "after `gives_up_in` seconds.",
        "job.not_begun": "The broker was away when the job was to begin. The worker tries again, or the job goes back"
        " to its queue.",
        "job.not_killed": "The job was cancelled, and its pool cannot kill it. It runs until it asks whether it was "
        "cancelled.",
        "job.not_returned": "Jobs that no process of the pool had taken could not be returned to their queue.",
        "job.lease_lost": "Another worker has taken over jobs of this one, which seemed to be gone. They may run "
        "twice.",
        "job.lock_kept": "The lock of a unique job could not be released. It ends by itself, after `unique_for`.",
        "job.lock_unknown": "The database was away when a unique job began, so it runs without a look at its lock.",
        "job.judged": "The worker's main process decides what follows an attempt whose process could not report.",
        "job.unsettled": "The broker did not take the job's next state. The message stays unacknowledged, and the "
        "worker tries again after `next_try_in` seconds.",
        "job.unacknowledged": "The job is settled, but its message could not be acknowledged and will come again.",
        "job.unwritable": "The broker refuses the job's next state for its content. The job becomes a dead letter.",
        "job.settled_with_errors": "The job is settled. What followed in the worker raised an error, which changes "
        "nothing of the job.",
        "job.hook_failed": "A hook, a signal's receiver or a report of the job raised; the job is settled all the "
        "same.",
        "job.teardown_failed": "A teardown function of the app context raised. The job goes on.",
        "job.left_tasks": "A coroutine ended and left asyncio tasks behind, which were cancelled. `asyncio_tasks` "
        "names five of them at most.",
        "job.stuck_task": "A coroutine ended and left an asyncio task behind that does not end although it was "
        "cancelled. The next coroutine gets a new event loop.",
        "job.progress_ignored": "Code that runs outside of a job reported progress, which is not stored. Told once for "
        "each process.",
        "job.result_unstorable": "No serializer accepts the job's result. A text that says so is stored in its place.",
        "job.result_waits": "The result backend is away while the job ends. The worker stores the result later.",
        "job.result_refused": "The result backend, a chord or an errback refused the job's result or state. The job "
        "is settled all the same.",
        "job.not_told_yet": "Result backend, chord or errbacks could not be told how the job ended. The worker tries "
        "again.",
        "job.untold": "Result backend, chord or errbacks were not told how the job ended, and will not be.",
        "job.lost": "The worker ended while the broker was away. The next state of a job that was acknowledged early "
        "is lost: its retry or its dead letter.",
    },
    "Workers": {
        "worker.started": "The worker consumes its queues.",
        "worker.stopping": "The worker takes no further jobs. Those that run have `grace` seconds to finish.",
        "worker.stopped": "The worker has ended.",
        "worker.last_call_failed": "A last call of the event loop failed; usually its connection is closed.",
        "worker.name_taken": "Another worker has the same name, so this one refuses to start.",
        "worker.refused": "The ACL of Redis or Valkey refuses a command, a key or a channel, so the worker ends.",
        "worker.gone": "Another worker is gone, and this one returned its messages to their queues; `begun` of them "
        "had begun.",
        "worker.cut_off": "The worker lost its connection; jobs that had not begun are back in their queues.",
        "worker.database_away": "The worker cannot report itself, because the database is away. Jobs run all the "
        "same.",
        "worker.database_back": "The worker reports itself again.",
        "worker.heartbeat_failed": "Reporting the worker failed with an error; the next report follows.",
        "worker.row_stays": "The worker ended while the database was away, so it seems to run for a few seconds "
        "more.",
        "pool.child_failed": "A child process died, did not get ready for jobs, or could not be started. The pool "
        "replaces it.",
        "pool.no_child": "Ten children in a row did not get ready for jobs, so the worker ends.",
        "pool.end_not_settled": "The worker stops, and settling an ended job failed with an error; the others follow.",
        "pool.timer_failed": "The worker stops, and a timer of its event loop raised.",
        "event_loop.not_closed": "The event loop of coroutines could not be closed in order.",
        "settlement.not_scheduled": "The next try to settle jobs could not be scheduled. The next job that ends "
        "schedules it.",
        "results.announcer_failed": "The thread that tells the result backend how jobs ended had an error, and goes "
        "on.",
        "results.no_backend": "The result backend cannot be loaded. Jobs run, and their results are not stored.",
        "lease.not_kept": "The worker could not renew its lease. If that lasts, another one takes over its jobs.",
        "lease.kept_again": "The worker renews its lease again.",
        "lease.not_released": "The worker ended without returning its lease; its jobs go back when the lease expires.",
        "orders.unknown": "The worker cannot read pauses and cancellations; `meanwhile` says what it does until it "
        "can.",
        "orders.known_again": "The worker reads pauses and cancellations again.",
        "orders.not_heard": "Reading pauses and cancellations failed with an error; the next try follows.",
        "orders.not_removed": "The cancellations of jobs that have ended could not be removed. They end by "
        "themselves.",
        "library.unchecked": "Celery, kombu or another library has a version that this release was not checked with.",
    },
    "Broker and queues": {
        "broker.wiped": "The broker has lost its data: the jobs that waited there are gone. `flask jobs recover` "
        "publishes durable ones again.",
        "broker.epoch_unknown": "The look for lost data of the broker failed with an error; the next one follows.",
        "broker.not_closed": "The worker's connection to the broker was not closed in order. Its jobs go back when the "
        "broker notices.",
        "transport.not_restored": "Messages that workers of kombu's transport left unacknowledged were not restored "
        "now.",
        "queue.pause_ordered": "Somebody paused the queue.",
        "queue.resume_ordered": "Somebody resumed the queue.",
        "queue.paused": "This worker begins no more jobs of the queue.",
        "queue.resumed": "This worker begins jobs of the queue again.",
        "queue.unheard": "Jobs go to a queue that no worker consumes and no setting names.",
        "queue.look_failed": "The look for workers that consume a queue failed with an error. The queue is not looked "
        "at again.",
        "queue.names_unknown": "The database is away, so only the names of configured queues are known, to find "
        "misspelt ones.",
        "queue.other_limit": "The RabbitMQ queue was declared with another `x-delivery-limit`, and keeps it.",
    },
    "Beat": {
        "beat.started": "Beat runs, with these entries.",
        "beat.stopped": "Beat has ended.",
        "beat.failed": "An error ended the Beat of `flask jobs worker --beat`. The worker goes on without it.",
        "beat.tick": "The job of a tick is enqueued.",
        "beat.tick_skipped": "A tick has no job, because somebody asked to leave out this run.",
        "beat.tick_waits": "The job of a tick could not be enqueued, because the broker or the database is away. Beat"
        " tries again.",
        "beat.tick_failed": "The job of a tick cannot be enqueued at all. The entry goes on with its next tick.",
        "beat.ticks_missed": "Ticks were missed, because no Beat ran or the broker was away. `enqueued` of them have "
        "a job, as `catch_up` says.",
        "beat.unclaimed": "The database is away, so this Beat enqueues ticks without a claim. Another Beat may "
        "enqueue them, too.",
        "beat.database_away": "Beat cannot keep its memory, because the database is away. It enqueues all the same.",
        "beat.database_back": "Beat keeps its memory in the database again.",
        "beat.memory_failed": "Writing Beat's memory failed with an error; the next try follows.",
        "beat.schedule_changed": "The schedule of the entry is another one than at its last tick.",
        "beat.clock_differs": "The clocks of Beat and of the database differ by `server_ahead` seconds.",
        "beat.last_run_in_the_future": "The last tick of the entry was in the future, by a wrong clock. Beat reset it"
        " to now.",
    },
    "Dead letters, and what people and programs do": {
        "dead_letters.replayed": "A dead letter was replayed: its job is enqueued again.",
        "dead_letters.pruned": "A dead letter was deleted, because it is older than the settings keep it. WARNING if "
        "it still waited for a decision.",
        "dead_letters.archive_paused": "Dead letters stay in the broker, because the database or the broker is away.",
        "dead_letters.archive_resumed": "Dead letters move into the database again.",
        "dead_letters.archive_failed": "Moving dead letters into the database failed with an error; the next try "
        "follows.",
        "dead_letters.letter_parked": "Neither table takes the letter, so it is kept in the queue `queue`.",
        "dead_letters.letter_refused": "Neither the database nor a queue takes the letter. It stays in the "
        "dead-letter queue.",
        "dead_letters.untold": "The dead letter is stored. The log, the totals or a function of `on_dead` was not "
        "told.",
        "dead_letters.on_dead_failed": "A function of `jobs.on_dead` raised. The dead letter is stored all the same.",
        "dead_letters.notices_dropped": "Functions of `jobs.on_dead` were not called for some dead letters, because "
        "they are too slow, or the process ended.",
        "bulk.paused": "A bulk action waits, because the broker is away.",
        "bulk.overtaken": "Another worker carries out the bulk action that this one had begun.",
        "bulk.portion_failed": "A part of a bulk action failed. It is tried again; after five failures the action "
        "ends.",
        "bulk.claim_not_renewed": "Renewing the claim of a part of a bulk action failed with an error; the next "
        "renewal follows.",
        "bulk.database_away": "This worker carries out no bulk actions, because the database is away.",
        "bulk.database_back": "This worker carries out bulk actions again.",
        "bulk.failed": "Looking for bulk actions failed with an error; the next look follows.",
        "audit.recorded": "Somebody changed something: who, what, why and with what outcome.",
        "audit.not_recorded": "The same, where the database did not take the row of the audit: this line is the "
        "record.",
    },
    "Database": {
        "journal.paused": "The history waits in memory, because the database is away. Jobs run all the same.",
        "journal.resumed": "The history is written again; `dropped` of its records did not fit into memory.",
        "journal.failed": "The database refused a batch of the history, for an unknown reason; the next try follows.",
        "journal.batch_halved": "The database refused a batch of the history for its content, so its records are "
        "written one by one.",
        "journal.record_refused": "The database refuses a record of the history, and refuses to keep its bytes, too.",
        "journal.lost": "The process ended before the database took the last records of the history.",
        "retention.pruned": "Old rows were deleted: their number by kind.",
        "store.refused": "The database refused something for its content. Its bytes are in `nightshift_refused`.",
        "store.tables_were_missing": "Tables of Nightshift had been dropped, and were made again, empty.",
        "store.index_is_being_built": "An index is being built. Jobs go on meanwhile.",
        "store.index_is_built": "The index is ready.",
        "store.index_is_built_again": "Building the index met a deadlock or a lock, and begins again.",
        "store.newer_tables": "A newer version of Flask-Nightshift has migrated the database.",
        "store.indexes_are_being_built": "Another process builds indexes and has not finished in time. This one goes "
        "on without them.",
        "outbox.left_to_relay": "Jobs of a committed transaction could not be published at once. A relay publishes "
        "them.",
        "outbox.publish_failed": "Publishing jobs of a committed transaction failed with an error. A relay tries "
        "again.",
        "outbox.looking_failed": "The look whether a transaction has committed failed with an error. A relay "
        "publishes its jobs.",
        "outbox.queue_refuses": "The broker takes no jobs for this queue. The relay leaves the queue for a while.",
        "outbox.relay_paused": "The relay waits, because the broker or the database is away.",
        "outbox.relay_resumed": "The relay publishes jobs again.",
        "outbox.relay_failed": "The relay failed with an error; its next turn follows.",
        "outbox.unknown_format": "Another version of Flask-Nightshift wrote these rows, and has to publish them.",
        "outbox.paused": "Rows of published jobs, or ends of durable jobs, are not written, because the database is "
        "away.",
        "outbox.resumed": "These rows are written again.",
        "outbox.not_erased": "Rows of jobs that were published could not be deleted. A relay publishes the jobs a "
        "second time, and the second copies are dropped.",
        "outbox.not_closed": "Ends of durable jobs could not be written, for an unknown reason; the next try follows.",
    },
    "Work that is done once, jobs that come twice, locks": {
        "once.overtaken": "The work under a key took longer than its marker holds, and another process has begun it, "
        "too.",
        "once.not_released": "The marker of work that failed could not be removed. The same job can do the work "
        "again; others wait until the marker ends.",
        "once.not_finished": "The body has returned, but its `idempotency_key` could not be marked as done. The "
        "worker tries again with the next batch of the history.",
        "copies.unchecked": "The database is away, so jobs that came a second time are not recognised, and run.",
        "copies.checked_again": "Jobs that come a second time are recognised again.",
        "copies.check_failed": "The look for jobs that came a second time failed with an error; these jobs run.",
        "ledger.unchecked": "The database is away, so a durable job runs without a look whether it has ended already.",
        "ledger.check_failed": "The look whether a durable job has ended already failed with an error; the job runs.",
        "purge.not_recorded": "A queue was purged while the database was away, so the history shows its jobs "
        "as queued.",
        "ledger.not_purged": "A queue was purged while the database was away. `flask jobs recover` would publish its "
        "durable jobs again.",
        "locks.step_failed": "Locks of unique jobs could not be looked at or released, for an unknown reason.",
        "locks.answer_failed": "A job with a lock could not begin or be acknowledged, because of an error in the "
        "worker.",
    },
    "Code that enqueues and waits": {
        "setting.ineffective": "A key in `app.config` or in the environment looks like a setting and has no effect.",
        "observer.failed": "An observer of jobs raised. The job goes on.",
        "holdings.not_closed": "A thread or a connection of an app could not be closed; the others are.",
        "results.connection_lost": "The connection that brings results to waiting coroutines was lost. It is opened "
        "again.",
        "results.not_asked": "Asking the result backend for coroutines that wait failed with an error; the next try "
        "follows.",
        "results.not_heard": "Hearing of results for coroutines that wait failed with an error; the next try follows.",
        "results.silent": "A result was stored that the connection for waiting coroutines did not bring. It is opened "
        "again.",
        "results.not_reset": "The result backend could not begin anew in a forked process.",
    },
    "HTTP, assistant, traces": {
        "http.path_taken": "The app has a route of its own at the path of one of ours, so ours is hidden.",
        "http.dashboard_closed": "The dashboard answers 503, because `SECRET_KEY` is missing.",
        "http.dashboard_refused": "The dashboard could not do what was asked for, and said why.",
        "http.dashboard_failed": "A page of `flask jobs dashboard` was answered with 500.",
        "http.api_failed": "A request to the HTTP API was answered with 500.",
        "http.reply_not_kept": "The answer to a request with an `Idempotency-Key` was not stored. A repeated request "
        "gets a conflict.",
        "mcp.tool_failed": "A tool of the assistant failed with an error.",
        "otel.not_reported": "A span or a metric could not be made. Told at most every 10 s.",
        "otel.refused": "Nightshift reports no spans, because Celery's own instrumentation is on in this process, "
        "too.",
    },
}  # fmt: skip
"""By subject and name; jobs in the order of their life."""
MEANINGS: Mapping[str, str] = {event: said for group in GROUPS.values() for event, said in group.items()}
"""By the event's name."""
CELERYS: Mapping[str, str] = {
    "child process exiting after exceeding memory limit (%dKiB / %dKiB)": "A child process has used more than "
    "`worker_max_memory_per_child`. It ends after its job, and the pool replaces it.",
    "Pool callback raised exception": "What follows the end of a job in the worker raised. The worker goes on.",
    "Signal handler %r raised: %r": "A receiver of one of Celery's signals raised. The others are called.",
}
"""Lines without a name, in the words of Celery and billiard, which users know and search for."""

__all__ = ["CELERYS", "GROUPS", "MEANINGS"]
