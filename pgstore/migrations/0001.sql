-- minimum: 1
-- Everything is keyed by (tenant, id). Text that is compared is COLLATE "C": its order is that of its bytes.

-- What the owners of endpoints decide.
CREATE TABLE {endpoints} (
	tenant        text COLLATE "C" NOT NULL, -- whose endpoint it is; '' where there are no tenants
	id            text COLLATE "C" NOT NULL,
	seq           bigint GENERATED ALWAYS AS IDENTITY, -- the order in which they were created
	url           text NOT NULL,
	events        text[] NOT NULL,           -- the event types that it subscribes to, as its owner named them
	description   text NOT NULL,
	rate          double precision NOT NULL, -- requests a second at most; 0: any number
	burst         integer NOT NULL,          -- how many of them may come at once; 0: the rate rounded up
	max_in_flight integer NOT NULL,          -- requests under way at most; 0: as many as the dispatchers allow
	timeout       bigint NOT NULL,           -- of one attempt, in nanoseconds; 0: that of the dispatchers
	headers       jsonb NOT NULL,            -- [{"name","sealed"}], in the order of their names; emptied when it is deleted
	secrets       jsonb NOT NULL,            -- [{"id","sealed","created","expires"}], the oldest first; emptied when it is deleted
	version       bigint NOT NULL,           -- grows with each change of this row by its owner
	created_at    timestamptz NOT NULL,
	deleted_at    timestamptz,               -- NULL: it is not deleted. The row stays until it is pruned, so that its id is not used again
	PRIMARY KEY (tenant, id)
);
CREATE INDEX {endpoints_deleted} ON {endpoints} (deleted_at) WHERE deleted_at IS NOT NULL; -- which is pruned next

-- Who gets which events: the rows of what events says, and of endpoints that are not deleted only. It is what enqueuing
-- reads, along its key.
CREATE TABLE {subscriptions} (
	tenant      text COLLATE "C" NOT NULL,
	type        text COLLATE "C" NOT NULL, -- * is all, and then the endpoint's only row
	endpoint_id text COLLATE "C" NOT NULL,
	PRIMARY KEY (tenant, type, endpoint_id)
);
CREATE INDEX {subscriptions_endpoint} ON {subscriptions} (endpoint_id, tenant);

-- What the engine knows of each endpoint: its health, and its place in the queue. Written under its own row lock only;
-- who needs several locks takes them in the order of (tenant, id), or with SKIP LOCKED.
CREATE TABLE {lanes} (
	tenant          text COLLATE "C" NOT NULL,
	id              text COLLATE "C" NOT NULL, -- the endpoint
	state           text NOT NULL,             -- pending, active, paused, disabled
	reason          text NOT NULL,             -- why it is in that state; '' where that explains itself
	since           timestamptz,               -- when it entered that state
	verified        boolean NOT NULL,          -- a ping to its URL was answered
	generation      bigint NOT NULL,           -- counts its URLs
	window_size     integer NOT NULL,          -- how many leases it may have at once; 0 counts as 1
	slow            boolean NOT NULL,          -- its last attempt failed or took long
	paused_until    timestamptz,               -- while it is paused, nothing is claimed before this time
	failures        integer NOT NULL,          -- failed attempts in a row
	failing_since   timestamptz,               -- the first of them
	last_failure    timestamptz,               -- the last of them
	last_success    timestamptz,
	accepted_secret text NOT NULL,             -- the id of the secret that signed the last attempt that succeeded
	deleted         boolean NOT NULL DEFAULT false, -- the endpoint is deleted
	eligible_at     timestamptz,               -- it cannot be served before this time, and may be then; NULL: not before this row is written again
	full_window     boolean NOT NULL DEFAULT false, -- something waits that only the window keeps back
	served_at       timestamptz,               -- when a claim last gave it a lease
	last_first      boolean NOT NULL DEFAULT false, -- whether that was a first attempt: they take turns with retries
	pace_interval   bigint NOT NULL,           -- microseconds between two leases at its rate, or at the last one that it had
	burst           integer NOT NULL,          -- how many leases its rate lets go at once; 0: it has no rate
	max_in_flight   integer NOT NULL,          -- what window_size is at most; 0: it is what the dispatchers say
	paced_at        timestamptz,               -- when all leases so far will have been due at its rate; NULL: long ago
	pending         bigint NOT NULL DEFAULT 0, -- its deliveries that are pending or leased, but for what the inbox says
	backlogged      boolean NOT NULL DEFAULT false, -- its open gap is that of a backlog
	gap             bigint,                    -- the number of its open gap, in which events are counted as missed; NULL: none is open, they are queued
	gaps_made       bigint NOT NULL DEFAULT 0, -- the number of the last gap
	PRIMARY KEY (tenant, id)
) WITH (fillfactor = 50);
CREATE INDEX {lanes_eligible} ON {lanes} (slow, eligible_at) WHERE eligible_at IS NOT NULL;
CREATE INDEX {lanes_full} ON {lanes} (tenant, id) WHERE full_window;
CREATE INDEX {lanes_pending} ON {lanes} (pending) WHERE gap IS NULL AND NOT deleted; -- which reach a bound
CREATE INDEX {lanes_backlogged} ON {lanes} (pending) WHERE backlogged; -- which are below one again

-- Events as they were accepted, each once.
CREATE TABLE {events} (
	tenant     text COLLATE "C" NOT NULL,
	id         text COLLATE "C" NOT NULL,
	type       text NOT NULL,
	session_id text NOT NULL,
	time       timestamptz NOT NULL, -- when it happened, as the event says
	body       bytea,                -- what is sent, byte for byte; NULL: pruned or erased
	metadata   jsonb,                -- NULL: none, pruned or erased
	digest     bytea NOT NULL,       -- tells whether another event with this id is the same; outlives the body
	stored_at  timestamptz NOT NULL,
	pruned     boolean NOT NULL DEFAULT false, -- body and metadata were removed
	direct     boolean NOT NULL DEFAULT false, -- it was stored for one endpoint, a ping or a test, and is missed by no other
	PRIMARY KEY (tenant, id)
);
CREATE INDEX {events_stored} ON {events} (pruned, stored_at);
-- The order of replays. The condition is always true, and only who states it gets this index: a planner that knows
-- nothing of the table yet does not take it for the key.
CREATE INDEX {events_order} ON {events} (tenant, stored_at, id) WHERE id <> '';

-- One event on its way to one endpoint. No foreign keys: they would lock endpoints in the transactions that emit.
CREATE TABLE {deliveries} (
	tenant        text COLLATE "C" NOT NULL,
	id            text COLLATE "C" NOT NULL, -- dlv_, the microseconds of created_at in hex, 128 random bits: its order is that of (created_at, id)
	event_id      text COLLATE "C" NOT NULL,
	event_type    text NOT NULL,
	endpoint_id   text COLLATE "C" NOT NULL,
	kind          text NOT NULL,             -- event, ping, test, redelivery
	state         text NOT NULL,             -- pending, leased, succeeded, failed
	turn          smallint,                  -- 0: waits for its first attempt, 1: for another one, 2: leased, NULL: finished
	reason        text NOT NULL DEFAULT '',  -- why it failed
	created_at    timestamptz NOT NULL,
	due_at        timestamptz,               -- when it falls due, or its lease runs out; NULL: finished
	finished_at   timestamptz,
	attempts      integer NOT NULL DEFAULT 0, -- the number of the last attempt, the leased one included
	interrupted   integer NOT NULL DEFAULT 0, -- how many of them were interrupted
	deferred      integer NOT NULL DEFAULT 0, -- how many of them were failed probes of a paused endpoint
	redelivery_of text COLLATE "C" NOT NULL DEFAULT '',
	asked_by      text NOT NULL DEFAULT '',  -- who asked for the redelivery
	token         uuid,                      -- names the present lease
	owner         text NOT NULL DEFAULT '',  -- the dispatcher that has it, for people
	leased_at     timestamptz,               -- when the present lease was given
	last_secret   text NOT NULL DEFAULT '',  -- the secret of the last attempt that was not interrupted
	erased        boolean NOT NULL DEFAULT false, -- its contents were erased while it was not finished
	PRIMARY KEY (tenant, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
-- Only the key begins with the tenant, so that a planner that knows nothing of the table yet does not take another index
-- for the key.
CREATE INDEX {deliveries_endpoint} ON {deliveries} (endpoint_id, tenant, id);
CREATE INDEX {deliveries_event} ON {deliveries} (event_id, tenant, endpoint_id);
CREATE INDEX {deliveries_failed} ON {deliveries} (tenant, id) WHERE state = 'failed';
CREATE INDEX {deliveries_turn} ON {deliveries} (endpoint_id, tenant, turn, due_at) WHERE turn IS NOT NULL; -- the queue of a lane
CREATE INDEX {deliveries_leased} ON {deliveries} (due_at) WHERE turn = 2;     -- which lease runs out next
CREATE INDEX {deliveries_waiting} ON {deliveries} (created_at) WHERE turn < 2; -- which expires next
CREATE INDEX {deliveries_oldest} ON {deliveries} (endpoint_id, tenant, created_at) WHERE turn < 2; -- which of a lane has waited longest
CREATE INDEX {deliveries_finished} ON {deliveries} (finished_at) WHERE finished_at IS NOT NULL; -- which is pruned next

-- One request to an endpoint, as it is logged. Rows are only added, and removed with their delivery.
CREATE TABLE {attempts} (
	tenant          text COLLATE "C" NOT NULL,
	delivery_id     text COLLATE "C" NOT NULL,
	number          integer NOT NULL,
	started_at      timestamptz NOT NULL,
	result          text NOT NULL,   -- delivered, failed, interrupted
	error           text NOT NULL,   -- what went wrong, in one word
	detail          text NOT NULL,   -- and in more
	status          integer NOT NULL, -- of the response; 0: none
	latency         bigint NOT NULL, -- nanoseconds, as the phases are
	dns             bigint NOT NULL,
	connect         bigint NOT NULL,
	tls             bigint NOT NULL,
	first_byte      bigint NOT NULL,
	reused          boolean NOT NULL, -- the connection was kept from an earlier attempt
	remote_addr     text NOT NULL,
	request_header  jsonb,
	response_header jsonb,
	response_body   bytea,
	truncated       boolean NOT NULL, -- the response's body was longer than what is kept
	secret_id       text NOT NULL,
	PRIMARY KEY (tenant, delivery_id, number)
);

-- What no claim has seen yet: that an endpoint got something, or missed it, or that deliveries ended whose lane was not
-- locked. Emitting only adds rows here, so that it locks nothing that others need; Claim takes them away. Like any queue
-- it wants to be vacuumed often.
CREATE TABLE {inbox} (
	tenant      text COLLATE "C" NOT NULL,
	endpoint_id text COLLATE "C" NOT NULL,
	gap         bigint,               -- the number of the gap that the events are counted in; NULL: they were not missed
	events      bigint NOT NULL,      -- how many were missed, or are pending or leased more than before; negative: less
	at          timestamptz           -- since when there may be something to hand out; NULL: nothing new is
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX {inbox_endpoint} ON {inbox} (tenant, endpoint_id, gap);
ALTER TABLE {inbox} REPLICA IDENTITY FULL; -- it has no key, and a publication of the schema must not refuse to delete from it

-- Stretches of time in which an endpoint missed events.
CREATE TABLE {gaps} (
	tenant      text COLLATE "C" NOT NULL,
	endpoint_id text COLLATE "C" NOT NULL,
	number      bigint NOT NULL,      -- 1, 2, 3 ... of its endpoint
	reason      text NOT NULL,        -- pending, disabled, backlog
	from_at     timestamptz NOT NULL,
	to_at       timestamptz,          -- NULL: it is open
	count       bigint NOT NULL,      -- events missed, without those that are still in the inbox
	awaits      xid8,                 -- of an empty one: it is removed when all earlier transactions have ended, which may count in it; NULL: not asked yet
	PRIMARY KEY (tenant, endpoint_id, number)
);
CREATE INDEX {gaps_closed} ON {gaps} (to_at) WHERE to_at IS NOT NULL;
CREATE INDEX {gaps_empty} ON {gaps} (endpoint_id, tenant, number) WHERE count = 0 AND to_at IS NOT NULL; -- which are removed when the next opens
CREATE INDEX {gaps_opened} ON {gaps} (endpoint_id, tenant, from_at, number); -- which was open at a time

-- What came of the attempts to each endpoint, by the hour.
CREATE TABLE {hours} (
	tenant      text COLLATE "C" NOT NULL,
	endpoint_id text COLLATE "C" NOT NULL,
	hour        timestamptz NOT NULL, -- its begin
	delivered   bigint NOT NULL,      -- attempts that were answered with 2xx
	failed      bigint NOT NULL,      -- attempts that failed
	latency     bigint[] NOT NULL,    -- of both: how many in each class, of which four make an octave, without the zeros at the end
	PRIMARY KEY (tenant, endpoint_id, hour)
) WITH (fillfactor = 50);
CREATE INDEX {hours_hour} ON {hours} (hour); -- which is pruned next

-- An endpoint is sent again what it did not get in a stretch of time, a little at a time. Who needs a row of a replay and
-- one of a lane locks the replay first, or skips it if somebody else has it.
CREATE TABLE {replays} (
	tenant      text COLLATE "C" NOT NULL,
	id          text COLLATE "C" NOT NULL,
	seq         bigint GENERATED ALWAYS AS IDENTITY, -- the order in which they were created
	endpoint_id text COLLATE "C" NOT NULL,
	since       timestamptz,          -- of the events stored at or after; NULL: of all
	until       timestamptz NOT NULL, -- and before
	failed      boolean NOT NULL,     -- those whose delivery failed
	missed      boolean NOT NULL,     -- those that were never queued, since there was a gap
	asked_by    text NOT NULL,        -- who asked for it
	state       text NOT NULL,        -- running, done, stopped
	created_at  timestamptz NOT NULL,
	finished_at timestamptz,          -- NULL: it runs
	awaits      text[] NOT NULL,      -- the transactions that were writing events when it was created, as pg_locks names them; it begins when they have ended
	reached_at  timestamptz,          -- how far it has come: stored_at of the last event that was looked at; as since before the first, until after the last
	reached_id  text COLLATE "C" NOT NULL DEFAULT '', -- id of that event; '': there is none
	looked      bigint NOT NULL DEFAULT 0, -- how many events were looked at
	queued      bigint NOT NULL DEFAULT 0, -- how many of them were queued again
	skipped     bigint NOT NULL DEFAULT 0, -- how many were not, for want of their contents
	stepped_at  timestamptz NOT NULL, -- when its last step was, done or failed, or else when it was created
	PRIMARY KEY (tenant, id)
);
CREATE INDEX {replays_endpoint} ON {replays} (endpoint_id, tenant, seq);
CREATE UNIQUE INDEX {replays_running} ON {replays} (endpoint_id, tenant) WHERE state = 'running'; -- one at a time
CREATE INDEX {replays_turn} ON {replays} (stepped_at) WHERE state = 'running'; -- whose turn it is
CREATE INDEX {replays_finished} ON {replays} (finished_at) WHERE finished_at IS NOT NULL; -- which is pruned next
