package sqlitestore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshia/webhook"
	"github.com/meshia/webhook/sqlitestore"
)

// backdate makes all hours begin earlier.
func backdate(t *testing.T, path string, hours int) {
	t.Helper()
	db := pool(t, path, "busy_timeout(5000)")
	execute(t, db, "UPDATE webhook_hours SET hour = -(hour - ? * 3600000000)", hours) // by way of numbers that no row has
	execute(t, db, "UPDATE webhook_hours SET hour = -hour")
}

func stats(t *testing.T, s *sqlitestore.Store, id string) webhook.Stats {
	t.Helper()
	stats, err := s.Stats(t.Context(), "t", id, time.Time{})
	require.NoError(t, err)
	return stats
}

// TestAnHourIsWrittenOnceForManyOutcomes shares one transaction among calls, one of which fails and has all of them
// done again.
func TestAnHourIsWrittenOnceForManyOutcomes(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	s.SetMaxTime(time.Hour)
	endpoint(t, s, "t", "we_1")
	endpoint(t, s, "t", "we_2")
	emit(t, s, "t", events(6)...)
	execute(t, db, "CREATE TRIGGER poison BEFORE INSERT ON webhook_attempts WHEN NEW.status = 599 BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
	execute(t, db, "CREATE TABLE written (endpoint INTEGER)")
	execute(t, db, "CREATE TRIGGER written_new AFTER INSERT ON webhook_hours BEGIN INSERT INTO written VALUES (NEW.endpoint); END")
	execute(t, db, "CREATE TRIGGER written_again AFTER UPDATE ON webhook_hours BEGIN INSERT INTO written VALUES (NEW.endpoint); END")
	leases := claim(t, s, 12)
	outcomes := make([]webhook.Outcome, len(leases))
	want := map[string]*webhook.HourStats{"we_1": {}, "we_2": {}}
	for i, l := range leases {
		outcomes[i] = delivered(l)
		if i%3 == 0 {
			outcomes[i] = retry(l, time.Hour)
		}
		outcomes[i].Attempt.Latency = time.Duration(i*i) * time.Millisecond
		switch h := want[l.Delivery.EndpointID]; {
		case i == 5:
			outcomes[i].Attempt.Status = 599
			continue
		case i%3 == 0:
			h.Failed++
			h.Latency.Add(outcomes[i].Attempt.Latency)
		default:
			h.Delivered++
			h.Latency.Add(outcomes[i].Attempt.Latency)
		}
	}
	part := func(list []webhook.Outcome) func() error {
		return func() error {
			_, err := s.Record(t.Context(), list)
			return err
		}
	}
	for _, err := range crowd(t, s, db, part(outcomes[:2]), part(outcomes[2:4])) {
		require.NoError(t, err)
	}
	require.Equal(t, 2, count(t, path, "written"), "an hour was not written once in a transaction")
	record(t, s, outcomes[4])
	for i, err := range crowd(t, s, db, part(outcomes[5:6]), part(outcomes[6:9]), part(outcomes[10:11])) {
		require.Equal(t, i == 0, err != nil, "%v", err)
	}
	require.Equal(t, leases[9].Endpoint.ID, leases[11].Endpoint.ID)
	look := func() error { // after which what was counted before is written
		_, err := s.Claim(t.Context(), webhook.ClaimRequest{Owner: "one", Term: time.Hour})
		return err
	}
	for _, err := range crowd(t, s, db, part(outcomes[9:10]), look, part(outcomes[11:])) {
		require.NoError(t, err)
	}
	for id, h := range want {
		got := stats(t, s, id)
		sum := got.Sum()
		sum.Start = time.Time{}
		require.Equal(t, *h, sum, id)
	}
	requireInvariants(t, path)
}

func TestLatenciesAsTheyAreStored(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(4)...)
	for i, l := range claim(t, s, 4) {
		o := delivered(l)
		o.Attempt.Latency = []time.Duration{0, 4 * time.Millisecond, 4 * time.Millisecond, 24 * time.Hour}[i]
		record(t, s, o)
	}
	db := pool(t, path)
	require.Equal(t, 4, query[int](t, db, "SELECT sum(value) FROM webhook_hours, json_each(latency)"))
	if query[int](t, db, "SELECT count(*) FROM webhook_hours") == 1 { // else one ended meanwhile
		require.Equal(t, `{"0":1,"8":2,"80":1}`, query[string](t, db, "SELECT latency FROM webhook_hours"))
	}
}

func TestHoursArePrunedInSteps(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	endpoint(t, s, "t", "we_1")
	db := pool(t, path, "busy_timeout(5000)")
	now := time.Now().Truncate(time.Hour)
	execute(t, db, `WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 499)
		INSERT INTO webhook_hours SELECT endpoint, ? - i * 3600000000, 1, 0, '{"0":1}' FROM c, webhook_lanes`, now.UnixMicro())
	old := webhook.PruneRequest{Deliveries: time.Since(now) + 99*time.Hour + 30*time.Minute, Max: 50} // the 100 hours since then have not ended so long ago
	r, err := s.Prune(t.Context(), old)
	require.NoError(t, err)
	require.True(t, r.More)
	require.Equal(t, 450, count(t, path, "webhook_hours"))
	require.Zero(t, prune(t, s, old))
	hours := stats(t, s, "we_1").Hours
	require.Len(t, hours, 101)
	require.True(t, hours[0].Start.Equal(now.Add(-100*time.Hour)))
	require.Zero(t, prune(t, s, webhook.PruneRequest{Bodies: 1, Max: 50}))
	require.Equal(t, 101, count(t, path, "webhook_hours"))
}

// TestErasingATenantOutlivesItsLastOutcome records and erases in one transaction.
func TestErasingATenantOutlivesItsLastOutcome(t *testing.T) {
	t.Parallel()
	path := file(t)
	s, db := open(t, path), pool(t, path, "busy_timeout(5000)")
	s.SetMaxTime(time.Hour)
	endpoint(t, s, "t", "we_1")
	emit(t, s, "t", events(3)...)
	leases := claim(t, s, 2)
	record(t, s, delivered(leases[0]))
	for _, err := range crowd(t, s, db, func() error {
		_, err := s.Record(t.Context(), []webhook.Outcome{delivered(leases[1])})
		return err
	}, func() error {
		_, err := s.EraseTenant(t.Context(), "t", 1000)
		return err
	}) {
		require.NoError(t, err)
	}
	for _, table := range []string{"webhook_endpoints", "webhook_lanes", "webhook_hours", "webhook_deliveries", "webhook_events"} {
		require.Zero(t, count(t, path, table), table)
	}
}
