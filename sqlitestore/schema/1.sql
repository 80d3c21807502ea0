-- Version 1: the first.
--
-- All times are whole microseconds since 1970-01-01 UTC, by the clock of the process that wrote them, and NULL where
-- there is none. Columns, tables and indexes may be added by later versions.

-- Endpoints: what their owners say about them.
CREATE TABLE webhook_endpoints (
  key           INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, and rising as they were created
  tenant        TEXT    NOT NULL,
  id            TEXT    NOT NULL, -- unique within the tenant, deleted ones included
  url           TEXT    NOT NULL,
  events        TEXT    NOT NULL, -- the event types subscribed to: a JSON array of strings
  description   TEXT    NOT NULL,
  rate          REAL    NOT NULL, -- requests a second at most; 0: any number
  burst         INTEGER NOT NULL, -- how many of them at once; 0: the rate, rounded up
  max_in_flight INTEGER NOT NULL, -- requests under way at most; 0: as the dispatcher's configuration has it
  timeout       INTEGER NOT NULL, -- of one attempt, in nanoseconds; 0: as the dispatcher's configuration has it
  headers       TEXT    NOT NULL, -- of its own: a JSON array of {name, sealed (base64)}; emptied when it is deleted
  secrets       TEXT    NOT NULL, -- a JSON array of {id, sealed (base64), created_at, expires_at}; emptied when it is deleted
  version       INTEGER NOT NULL, -- grows with each change of this row
  created_at    INTEGER NOT NULL,
  deleted_at    INTEGER,          -- NULL: it is not deleted; the row stays until it is pruned, so that its id is not used again
  UNIQUE (tenant, id)
) STRICT;
CREATE INDEX webhook_endpoints_deleted ON webhook_endpoints (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX webhook_endpoints_live ON webhook_endpoints (tenant, key) WHERE deleted_at IS NULL;

-- Which endpoint wants which event type. '*' stands alone: who has it has no other row.
CREATE TABLE webhook_subscriptions (
  tenant   TEXT    NOT NULL,
  type     TEXT    NOT NULL,
  endpoint INTEGER NOT NULL,
  PRIMARY KEY (tenant, type, endpoint)
) STRICT, WITHOUT ROWID;

-- Lanes: one for each endpoint, with its health and its place in the line. Dispatchers alone write them.
CREATE TABLE webhook_lanes (
  endpoint        INTEGER PRIMARY KEY, -- webhook_endpoints.key
  deleted         INTEGER NOT NULL,    -- 1: the endpoint is deleted
  state           TEXT    NOT NULL,    -- pending, active, paused, disabled
  reason          TEXT    NOT NULL,    -- why it is paused or disabled
  since           INTEGER,             -- when state was entered
  verified        INTEGER NOT NULL,    -- 1: a ping to its URL was answered
  generation      INTEGER NOT NULL,    -- counts its URLs
  window_size     INTEGER NOT NULL,    -- how many deliveries may be leased at once; 0 counts as 1
  slow            INTEGER NOT NULL,    -- 1: it shares the slots of the slow ones
  paused_until    INTEGER,             -- nothing is claimed before
  failures        INTEGER NOT NULL,    -- failed attempts in a row
  failing_since   INTEGER,             -- when the first of them was
  last_failure    INTEGER,             -- when the last of them was
  last_success    INTEGER,             -- when it last answered 2xx
  accepted_secret TEXT    NOT NULL,    -- the secret's id that signed what it last answered 2xx to
  pace_interval   INTEGER NOT NULL,    -- microseconds between two leases at its rate, or at the last one it had; 0: it never had one
  pace_burst      INTEGER NOT NULL,    -- how many leases at once, likewise
  paced_at        INTEGER,             -- when all that claims took of it will have been due at its rate
  pending         INTEGER NOT NULL,    -- how many of its deliveries are pending or leased
  backlog_bound   INTEGER,             -- how many may be, while a gap is open because they were; NULL: there is no such gap
  leases          INTEGER NOT NULL,    -- how many of its deliveries are leased now
  first_due       INTEGER,             -- when the first of its deliveries without an attempt falls due
  again_due       INTEGER,             -- when the first of its other deliveries falls due
  oldest_at       INTEGER,             -- when the oldest of its pending deliveries was created
  served_at       INTEGER,             -- when a claim last took something of it
  served_first    INTEGER NOT NULL,    -- 1: that was a first attempt, so that a retry is next
  eligible_at     INTEGER,             -- when a claim can take something of it; NULL: nothing is due, it may not be sent to, or its window is full
  blocked         INTEGER NOT NULL     -- 1: something waits that only the window keeps from being sent
) STRICT;
CREATE INDEX webhook_lanes_eligible ON webhook_lanes (slow, eligible_at) WHERE eligible_at IS NOT NULL;
CREATE INDEX webhook_lanes_blocked ON webhook_lanes (endpoint) WHERE blocked = 1;
CREATE INDEX webhook_lanes_deleted ON webhook_lanes (endpoint) WHERE deleted = 1 AND oldest_at IS NOT NULL;
CREATE INDEX webhook_lanes_oldest ON webhook_lanes (oldest_at) WHERE oldest_at IS NOT NULL;
CREATE INDEX webhook_lanes_pending ON webhook_lanes (pending) WHERE backlog_bound IS NULL AND state IN ('active', 'paused');
CREATE INDEX webhook_lanes_backlog ON webhook_lanes (backlog_bound) WHERE backlog_bound IS NOT NULL;

-- Events, each once, however many deliveries it has.
CREATE TABLE webhook_events (
  key       INTEGER PRIMARY KEY,
  tenant    TEXT    NOT NULL,
  id        TEXT    NOT NULL, -- unique within the tenant
  type      TEXT    NOT NULL,
  session   TEXT    NOT NULL,
  time      INTEGER NOT NULL, -- the event's own, in seconds
  digest    BLOB    NOT NULL, -- SHA-256 over type, session and data: whether another event with this id is the same one
  stored_at INTEGER NOT NULL,
  direct    INTEGER NOT NULL, -- 1: it was stored for one endpoint, a ping or a test, and is missed by no other
  idle      INTEGER NOT NULL, -- 1: it has no delivery
  contents  INTEGER NOT NULL, -- 0: metadata and body were removed
  metadata  TEXT,             -- a JSON object of strings
  body      BLOB,             -- as it is sent, byte for byte
  UNIQUE (tenant, id)
) STRICT;
CREATE INDEX webhook_events_idle ON webhook_events (stored_at) WHERE idle = 1;
CREATE INDEX webhook_events_contents ON webhook_events (stored_at) WHERE contents = 1;
CREATE INDEX webhook_events_tenant ON webhook_events (tenant, stored_at);

-- Deliveries: an event on its way to an endpoint.
CREATE TABLE webhook_deliveries (
  key           INTEGER PRIMARY KEY,
  id            TEXT    NOT NULL UNIQUE, -- dlv_…
  tenant        TEXT    NOT NULL,
  event         INTEGER NOT NULL,        -- webhook_events.key
  event_type    TEXT    NOT NULL,
  endpoint      INTEGER NOT NULL,        -- webhook_endpoints.key
  kind          TEXT    NOT NULL,        -- event, ping, test, redelivery
  state         TEXT    NOT NULL,        -- pending, leased, succeeded, failed
  reason        TEXT    NOT NULL,        -- why it failed
  again         INTEGER NOT NULL,        -- 1: an attempt was made before
  created_at    INTEGER NOT NULL,
  due_at        INTEGER,                 -- when it falls due; NULL unless pending
  finished_at   INTEGER,                 -- when it succeeded or failed
  attempt_count INTEGER NOT NULL,        -- the number of the last attempt
  interrupted   INTEGER NOT NULL,        -- how many attempts were interrupted
  deferred      INTEGER NOT NULL,        -- how many attempts were failed probes of a paused endpoint
  redelivery_of TEXT    NOT NULL,        -- the delivery's id that it repeats
  asked_by      TEXT    NOT NULL,        -- who asked for that
  last_secret   TEXT    NOT NULL,        -- the secret's id of the last attempt that was not interrupted
  token         TEXT,                    -- names the lease; this and the rest NULL unless leased
  owner         TEXT,                    -- who has it
  leased_at     INTEGER,
  lease_until   INTEGER
) STRICT;
CREATE INDEX webhook_deliveries_tenant ON webhook_deliveries (tenant, created_at);
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (endpoint, created_at);
CREATE INDEX webhook_deliveries_event ON webhook_deliveries (event, endpoint);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint, again, due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_leased ON webhook_deliveries (lease_until) WHERE state = 'leased';
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (endpoint, created_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_state ON webhook_deliveries (tenant, state, created_at) WHERE state <> 'succeeded';
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Attempts: the log.
CREATE TABLE webhook_attempts (
  key             INTEGER PRIMARY KEY,
  delivery        INTEGER NOT NULL, -- webhook_deliveries.key
  number          INTEGER NOT NULL, -- 1, 2, 3 …
  started_at      INTEGER,
  result          TEXT    NOT NULL, -- delivered, failed, interrupted
  error           TEXT    NOT NULL, -- the class of the error
  detail          TEXT    NOT NULL, -- the error in words
  status          INTEGER NOT NULL, -- the response's; 0: none
  latency         INTEGER NOT NULL, -- nanoseconds, as the next four
  dns             INTEGER NOT NULL,
  connect         INTEGER NOT NULL,
  tls             INTEGER NOT NULL,
  first_byte      INTEGER NOT NULL,
  reused          INTEGER NOT NULL, -- 1: on a kept connection
  remote_addr     TEXT    NOT NULL,
  secret_id       TEXT    NOT NULL, -- the secret that signed
  truncated       INTEGER NOT NULL, -- 1: the response's body was longer
  request_header  TEXT,             -- a JSON object of arrays of strings; NULL, as the next two: none, or removed
  response_header TEXT,
  response_body   BLOB,
  UNIQUE (delivery, number)
) STRICT;

-- Gaps: the events that an endpoint missed, by stretch of time.
CREATE TABLE webhook_gaps (
  key       INTEGER PRIMARY KEY,
  endpoint  INTEGER NOT NULL, -- webhook_endpoints.key
  reason    TEXT    NOT NULL, -- pending, disabled, backlog
  opened_at INTEGER NOT NULL,
  closed_at INTEGER,          -- NULL: it is open, of which an endpoint has one at most
  missed    INTEGER NOT NULL  -- how many events
) STRICT;
CREATE INDEX webhook_gaps_endpoint ON webhook_gaps (endpoint, opened_at);
CREATE UNIQUE INDEX webhook_gaps_open ON webhook_gaps (endpoint) WHERE closed_at IS NULL;
CREATE INDEX webhook_gaps_closed ON webhook_gaps (closed_at) WHERE closed_at IS NOT NULL;

-- Hours: what became of the attempts that were recorded in them, pings and tests apart.
CREATE TABLE webhook_hours (
  endpoint  INTEGER NOT NULL, -- webhook_endpoints.key
  hour      INTEGER NOT NULL, -- when it began
  delivered INTEGER NOT NULL, -- attempts that were answered with 2xx
  failed    INTEGER NOT NULL, -- attempts that failed
  latency   TEXT    NOT NULL, -- of both: a JSON object of how many were in each class i, over 2^((i-1)/4) ms and up to 2^(i/4) ms
  PRIMARY KEY (endpoint, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_hours_hour ON webhook_hours (hour);

-- Replays: an endpoint is sent again what it did not get of a stretch of time, a little at a time.
CREATE TABLE webhook_replays (
  key         INTEGER PRIMARY KEY,
  id          TEXT    NOT NULL, -- rpl_…, unique within the tenant
  tenant      TEXT    NOT NULL,
  endpoint    INTEGER NOT NULL, -- webhook_endpoints.key
  since       INTEGER,          -- of the events stored at or after; NULL: of all
  until       INTEGER NOT NULL, -- and before
  failed      INTEGER NOT NULL, -- 1: those whose delivery failed
  missed      INTEGER NOT NULL, -- 1: those that were never queued, since there was a gap
  asked_by    TEXT    NOT NULL, -- who asked for it
  state       TEXT    NOT NULL, -- running, done, stopped
  created_at  INTEGER NOT NULL,
  finished_at INTEGER,          -- when it was done or stopped
  reached_at  INTEGER,          -- how far it has come: stored_at of the last event that was looked at; as since before the first, until after the last
  reached_key INTEGER NOT NULL, -- webhook_events.key of that event, since others may have been stored in the same moment; 0: there is none
  looked      INTEGER NOT NULL, -- how many events were looked at
  queued      INTEGER NOT NULL, -- how many of them were queued again
  skipped     INTEGER NOT NULL, -- how many were not, for want of their contents
  stepped_at  INTEGER NOT NULL, -- when its last step was, done or failed, or else when it was created; later than that of any other, also where the clock was set back
  UNIQUE (tenant, id)
) STRICT;
CREATE INDEX webhook_replays_endpoint ON webhook_replays (endpoint);
CREATE UNIQUE INDEX webhook_replays_one ON webhook_replays (endpoint) WHERE state = 'running';
CREATE INDEX webhook_replays_running ON webhook_replays (stepped_at) WHERE state = 'running';
CREATE INDEX webhook_replays_finished ON webhook_replays (finished_at) WHERE finished_at IS NOT NULL;
