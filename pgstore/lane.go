package pgstore

import "strings"

// notBefore are the moments, one after the other, before which a lane is not served whatever is due: its turn comes
// after that of those who waited when it was served last, its pause is to be over, and its rate is to leave room for a
// lease.
// They may all be NULL.
func notBefore(lane, health string) string {
	return strings.NewReplacer("{l}", lane, "{h}", health).Replace(`{l}.served_at, CASE WHEN {h}.state = 'paused' THEN {h}.paused_until END,
			CASE WHEN {l}.burst > 0 THEN {l}.paced_at - ({l}.burst - 1) * {l}.pace_interval * interval '1 microsecond' END`)
}

// placed is a sub-select of what a lane's eligible_at and full_window are to be. It reads the lane's row as lane and,
// as health, the row that has its state, window_size and paused_until, which may be about to be written.
//
// It must run under the lane's lock, which an earlier statement of the transaction took: only then does its snapshot
// show everything that those did who had the lock before. What is enqueued later tells by the inbox.
//
// eligible_at may be too early, which costs a visit by Claim, who then corrects it; it is never too late. With a full
// window it is when the first lease runs out, should nobody write the lane before. What only its rate keeps back waits
// for a moment that is known, and not for an outcome: its window is not full. A deleted lane waits for its turn as
// long as it has something pending, for Claim to fail that.
func placed(lane, health string) string {
	return strings.NewReplacer("{l}", lane, "{h}", health).Replace(`(
	SELECT
		CASE WHEN q.serves THEN greatest(q.due, ` + notBefore("{l}", "{h}") + `, CASE WHEN q.is_full THEN q.ends END)
			WHEN {l}.deleted AND q.due IS NOT NULL THEN clock_timestamp() END,
		coalesce(q.serves AND q.is_full, false)
	FROM (
		SELECT p.due, p.ends, NOT {l}.deleted AND {h}.state IN ('active', 'paused') AND p.due IS NOT NULL AS serves,
			p.leases >= greatest({h}.window_size, 1) AS is_full
		FROM (SELECT
			least(
				(SELECT min(d.due_at) FROM {deliveries} d WHERE d.tenant = {l}.tenant AND d.endpoint_id = {l}.id AND d.turn = 0),
				(SELECT min(d.due_at) FROM {deliveries} d WHERE d.tenant = {l}.tenant AND d.endpoint_id = {l}.id AND d.turn = 1)) AS due,
			(SELECT min(d.due_at) FROM {deliveries} d WHERE d.tenant = {l}.tenant AND d.endpoint_id = {l}.id AND d.turn = 2) AS ends,
			` + leases("{l}.tenant", "{l}.id", "greatest({h}.window_size, 1)") + ` AS leases
		) p
	) q)`)
}

// leases counts an endpoint's leases, up to a limit. The order is there for the planner: one index has it, and that is
// the one without the endpoint's past.
func leases(tenant, endpoint, limit string) string {
	return `(SELECT count(*) FROM (SELECT FROM {deliveries} d WHERE d.tenant = ` + tenant + ` AND d.endpoint_id = ` + endpoint + ` AND d.turn = 2
		ORDER BY d.due_at LIMIT ` + limit + `) d)`
}
