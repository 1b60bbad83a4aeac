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

CREATE TABLE nightshift_beats (
	name TEXT NOT NULL,
	ticked_at DATETIME NOT NULL,
	PRIMARY KEY (name)
);

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
	attempts TEXT NOT NULL, claimed_by TEXT,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_dead_letters_job ON nightshift_dead_letters (job_id);

CREATE INDEX nightshift_dead_letters_status ON nightshift_dead_letters (status, at);

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
	updated_at DATETIME NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX nightshift_jobs_state ON nightshift_jobs (state, updated_at);

CREATE TABLE nightshift_journals (
	id TEXT NOT NULL,
	worker TEXT NOT NULL,
	batch BIGINT NOT NULL,
	written_at DATETIME NOT NULL,
	PRIMARY KEY (id)
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

CREATE TABLE nightshift_schedules (
	name TEXT NOT NULL,
	last_run_at DATETIME,
	total_run_count BIGINT NOT NULL, fingerprint TEXT,
	PRIMARY KEY (name)
);

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
	version TEXT NOT NULL,
	PRIMARY KEY (name)
);

-- version 0003
