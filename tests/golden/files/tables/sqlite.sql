CREATE TABLE nightshift_alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT nightshift_alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE nightshift_attempts (
	job_id TEXT NOT NULL,
	run INTEGER NOT NULL,
	number INTEGER NOT NULL,
	started_at DATETIME NOT NULL,
	worker TEXT NOT NULL,
	wait FLOAT,
	ended_at DATETIME,
	outcome TEXT,
	runtime FLOAT,
	error TEXT,
	message TEXT,
	traceback TEXT,
	due_at DATETIME,
	PRIMARY KEY (job_id, run, number, started_at)
);

CREATE TABLE nightshift_audit (
	id TEXT NOT NULL,
	at DATETIME NOT NULL,
	ended_at DATETIME,
	"by" TEXT NOT NULL,
	action TEXT NOT NULL,
	target TEXT NOT NULL,
	why TEXT,
	count BIGINT,
	outcome TEXT NOT NULL,
	error TEXT,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_audit_at ON nightshift_audit (at, id);

CREATE TABLE nightshift_beats (
	name TEXT NOT NULL,
	ticked_at DATETIME NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE nightshift_bulk_actions (
	id TEXT NOT NULL,
	action TEXT NOT NULL,
	filters TEXT NOT NULL,
	options TEXT NOT NULL,
	"by" TEXT NOT NULL,
	why TEXT,
	rate FLOAT,
	total BIGINT NOT NULL,
	last_at DATETIME,
	last_id TEXT,
	reached_at DATETIME,
	reached_id TEXT,
	state TEXT NOT NULL,
	acted BIGINT NOT NULL,
	skipped BIGINT NOT NULL,
	reasons TEXT NOT NULL,
	due_at DATETIME NOT NULL,
	claimed_by TEXT,
	claimed_at DATETIME,
	worker TEXT,
	created_at DATETIME NOT NULL,
	started_at DATETIME,
	ended_at DATETIME,
	error TEXT, step TEXT,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_bulk_actions_state ON nightshift_bulk_actions (state, due_at);

CREATE TABLE nightshift_copies (
	job_id TEXT NOT NULL,
	run INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	copy INTEGER NOT NULL,
	at DATETIME NOT NULL,
	PRIMARY KEY (job_id, run, attempt)
);

CREATE INDEX nightshift_copies_at ON nightshift_copies (at);

CREATE TABLE nightshift_dead_letters (
	id TEXT NOT NULL,
	job_id TEXT,
	task TEXT,
	queue TEXT NOT NULL,
	reason TEXT NOT NULL,
	error TEXT,
	message TEXT,
	traceback TEXT,
	fingerprint TEXT NOT NULL,
	at DATETIME NOT NULL,
	archived_at DATETIME NOT NULL,
	status TEXT NOT NULL,
	status_at DATETIME NOT NULL,
	worker TEXT,
	body BLOB NOT NULL,
	content_type TEXT NOT NULL,
	content_encoding TEXT NOT NULL,
	headers TEXT NOT NULL,
	properties TEXT NOT NULL,
	attempts TEXT NOT NULL, claimed_by TEXT, place TEXT, new_args TEXT, new_kwargs TEXT,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_dead_letters_at ON nightshift_dead_letters (at, id);

CREATE INDEX nightshift_dead_letters_cause ON nightshift_dead_letters (fingerprint, at, status);

CREATE INDEX nightshift_dead_letters_incident ON nightshift_dead_letters (status, fingerprint, at);

CREATE INDEX nightshift_dead_letters_job ON nightshift_dead_letters (job_id);

CREATE INDEX nightshift_dead_letters_job_tail ON nightshift_dead_letters (substr(job_id, -4));

CREATE INDEX nightshift_dead_letters_reason ON nightshift_dead_letters (status, reason, at);

CREATE INDEX nightshift_dead_letters_status ON nightshift_dead_letters (status, at);

CREATE INDEX nightshift_dead_letters_tail ON nightshift_dead_letters (substr(id, -4));

CREATE INDEX nightshift_dead_letters_task ON nightshift_dead_letters (status, task, at, reason);

CREATE TABLE nightshift_facts (
	name TEXT NOT NULL,
	value TEXT NOT NULL,
	at DATETIME NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE nightshift_jobs (
	id TEXT NOT NULL,
	task TEXT NOT NULL,
	queue TEXT NOT NULL,
	state TEXT NOT NULL,
	place BIGINT NOT NULL,
	run INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	max_retries INTEGER,
	args TEXT,
	kwargs TEXT,
	progress TEXT,
	progress_at DATETIME,
	result TEXT,
	error TEXT,
	error_message TEXT,
	enqueued_at DATETIME,
	started_at DATETIME,
	finished_at DATETIME,
	due_at DATETIME,
	worker TEXT,
	request_id TEXT,
	updated_at DATETIME NOT NULL, kind BIGINT, block BIGINT,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_jobs_due ON nightshift_jobs (due_at, id) WHERE due_at IS NOT NULL;

CREATE INDEX nightshift_jobs_enqueued ON nightshift_jobs (enqueued_at, id);

CREATE INDEX nightshift_jobs_kind ON nightshift_jobs (kind, enqueued_at, id);

CREATE INDEX nightshift_jobs_state ON nightshift_jobs (state, updated_at);

CREATE INDEX nightshift_jobs_tail ON nightshift_jobs (block, substr(id, -4));

CREATE TABLE nightshift_journals (
	id TEXT NOT NULL,
	worker TEXT NOT NULL,
	batch BIGINT NOT NULL,
	written_at DATETIME NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE nightshift_kinds (
	id BIGINT NOT NULL,
	state TEXT NOT NULL,
	task TEXT NOT NULL,
	queue TEXT NOT NULL,
	worker TEXT,
	error TEXT,
	seen_at DATETIME NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE nightshift_locks (
	"key" TEXT NOT NULL,
	job_id TEXT NOT NULL,
	task TEXT NOT NULL,
	until TEXT NOT NULL,
	taken_at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	started_at DATETIME, queue TEXT, due_at DATETIME,
	PRIMARY KEY ("key")
);

CREATE INDEX nightshift_locks_expires ON nightshift_locks (expires_at);

CREATE INDEX nightshift_locks_job ON nightshift_locks (job_id);

CREATE TABLE nightshift_markers (
	"key" TEXT NOT NULL,
	job_id TEXT,
	run INTEGER NOT NULL,
	taken_at DATETIME NOT NULL,
	finished_at DATETIME,
	expires_at DATETIME NOT NULL,
	PRIMARY KEY ("key")
);

CREATE INDEX nightshift_markers_expires ON nightshift_markers (expires_at);

CREATE TABLE nightshift_outbox (
	id TEXT NOT NULL,
	job_id TEXT NOT NULL,
	task TEXT NOT NULL,
	queue TEXT NOT NULL,
	format INTEGER NOT NULL,
	message BLOB NOT NULL,
	due_at DATETIME,
	created_at DATETIME NOT NULL,
	copy INTEGER NOT NULL,
	claimed_by TEXT,
	claimed_at DATETIME,
	durable INTEGER NOT NULL,
	run INTEGER NOT NULL,
	state TEXT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_outbox_job ON nightshift_outbox (job_id);

CREATE INDEX nightshift_outbox_state ON nightshift_outbox (state, created_at);

CREATE TABLE nightshift_pauses (
	queue TEXT NOT NULL,
	at DATETIME NOT NULL,
	"by" TEXT NOT NULL,
	reason TEXT,
	PRIMARY KEY (queue)
);

CREATE TABLE nightshift_refused (
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	about TEXT,
	at DATETIME NOT NULL,
	worker TEXT NOT NULL,
	error TEXT NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_refused_at ON nightshift_refused (at);

CREATE TABLE nightshift_relations (
	job_id TEXT NOT NULL,
	task TEXT,
	parent_id TEXT,
	root_id TEXT,
	group_id TEXT,
	chord_id TEXT,
	chord_size INTEGER,
	at DATETIME NOT NULL, origin_id TEXT,
	PRIMARY KEY (job_id)
);

CREATE INDEX nightshift_relations_chord ON nightshift_relations (chord_id);

CREATE INDEX nightshift_relations_group ON nightshift_relations (group_id);

CREATE INDEX nightshift_relations_origin ON nightshift_relations (origin_id);

CREATE INDEX nightshift_relations_parent ON nightshift_relations (parent_id);

CREATE TABLE nightshift_replies (
	token TEXT NOT NULL,
	"key" TEXT NOT NULL,
	request TEXT NOT NULL,
	at DATETIME NOT NULL,
	status INTEGER,
	body TEXT,
	PRIMARY KEY (token, "key")
);

CREATE INDEX nightshift_replies_at ON nightshift_replies (at);

CREATE TABLE nightshift_schedules (
	name TEXT NOT NULL,
	last_run_at DATETIME,
	total_run_count BIGINT NOT NULL, fingerprint TEXT, last_due_at DATETIME, anchor DATETIME, last_job_id TEXT, next_at DATETIME, paused_at DATETIME, paused_by TEXT, skip_until DATETIME, task TEXT, queue TEXT, spec TEXT, timezone TEXT, sending_until DATETIME,
	PRIMARY KEY (name)
);

CREATE TABLE nightshift_tags (
	job_id TEXT NOT NULL,
	tag TEXT NOT NULL,
	kind BIGINT NOT NULL,
	enqueued_at DATETIME,
	PRIMARY KEY (job_id, tag)
);

CREATE INDEX nightshift_tags_tag ON nightshift_tags (tag, kind, enqueued_at, job_id);

CREATE TABLE nightshift_tokens (
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	digest TEXT NOT NULL,
	scopes TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	created_by TEXT NOT NULL,
	expires_at DATETIME,
	used_at DATETIME,
	revoked_at DATETIME,
	revoked_by TEXT,
	PRIMARY KEY (id)
);

CREATE TABLE nightshift_tombstones (
	job_id TEXT NOT NULL,
	number BIGINT NOT NULL,
	at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	kill INTEGER NOT NULL,
	"by" TEXT NOT NULL,
	PRIMARY KEY (job_id)
);

CREATE INDEX nightshift_tombstones_number ON nightshift_tombstones (number);

CREATE TABLE nightshift_totals (
	minute DATETIME NOT NULL,
	task TEXT NOT NULL,
	queue TEXT NOT NULL,
	outcome TEXT NOT NULL,
	worker TEXT NOT NULL,
	count BIGINT NOT NULL,
	runtime_sum FLOAT NOT NULL,
	wait_sum FLOAT NOT NULL,
	runtime_to_10ms BIGINT NOT NULL,
	runtime_to_50ms BIGINT NOT NULL,
	runtime_to_100ms BIGINT NOT NULL,
	runtime_to_250ms BIGINT NOT NULL,
	runtime_to_500ms BIGINT NOT NULL,
	runtime_to_1000ms BIGINT NOT NULL,
	runtime_to_2500ms BIGINT NOT NULL,
	runtime_to_5000ms BIGINT NOT NULL,
	runtime_to_10000ms BIGINT NOT NULL,
	runtime_to_30000ms BIGINT NOT NULL,
	runtime_to_60000ms BIGINT NOT NULL,
	runtime_to_300000ms BIGINT NOT NULL,
	runtime_to_1800000ms BIGINT NOT NULL,
	runtime_over BIGINT NOT NULL,
	wait_to_10ms BIGINT NOT NULL,
	wait_to_50ms BIGINT NOT NULL,
	wait_to_100ms BIGINT NOT NULL,
	wait_to_250ms BIGINT NOT NULL,
	wait_to_500ms BIGINT NOT NULL,
	wait_to_1000ms BIGINT NOT NULL,
	wait_to_2500ms BIGINT NOT NULL,
	wait_to_5000ms BIGINT NOT NULL,
	wait_to_10000ms BIGINT NOT NULL,
	wait_to_30000ms BIGINT NOT NULL,
	wait_to_60000ms BIGINT NOT NULL,
	wait_to_300000ms BIGINT NOT NULL,
	wait_to_1800000ms BIGINT NOT NULL,
	wait_over BIGINT NOT NULL,
	PRIMARY KEY (minute, task, queue, outcome, worker)
);

CREATE TABLE nightshift_workers (
	name TEXT NOT NULL,
	hostname TEXT NOT NULL,
	pid INTEGER NOT NULL,
	started_at DATETIME NOT NULL,
	seen_at DATETIME NOT NULL,
	loop_at DATETIME NOT NULL,
	busy TEXT NOT NULL,
	concurrency INTEGER NOT NULL,
	pool TEXT NOT NULL,
	queues TEXT NOT NULL,
	version TEXT NOT NULL, app_version TEXT, memory BIGINT, heard BIGINT, tasks TEXT, in_hand TEXT,
	PRIMARY KEY (name)
);

-- version 0020
