package main

import "regexp"

// Each matches the names of most tests that notice something in the files of a target.
const (
	receiving   = "Verif|Sign|Secret|Unsigned|Receiver|Request|MaxAge|Tolerance|Timestamp|Dedup|Handle|Middleware|Refus|Header|Scheme|Mismatch|Vector|Body|Duplicate|Byte|AsSent"
	telling     = "Hook|Told"
	pacing      = "Pace|Rate|Latenc|Quantile|Histogram|Stats"
	settling    = "Becomes|Fail|Breaker|Pause|Disabled|Bound|AttemptTells|Polic|Retr|Schedule|Waits|Interrupted|NotHearing|IsLogged|Switching"
	sending     = "ReceiverCan|Response|Rune|Clip|Header|TLS|Connection|Sent|Named|Wire|Class|Context|Secret|Overlap|KeysOf|Broken|ALine|IDThat|Stricter|Cancels"
	running     = "Run|Claim|Rest|Refused|ToldBy|AreTold|Slot|ALease|Window|Away|Stale|Owner|Panics|Hear|Hanging|Outcome|Told|Logged|Stopping|Claimed|HandedOver|UsersKeeps|MoreOf|ARetry|Wakes|Dispatcher"
	keeping     = "Seal|Key|Secret|Remove|Kept|Erasing|Prun|Age|Panics|Broken|Event|Refus|Text|Option|Digest|Metadata"
	dispatching = "Endpoint|Adding|Refuse|Rotat|Secret|ATenant|Ping|ATest|Redeliver|URL|Emit|Changed|Switch|Field|Stricter|Cancels|RunHears|StoresError|LeasesNothing|NotReaching|Description|Replay|SentAgain|Caller"
)

// targets are the guards that the library's promises rest on.
var targets = []Target{
	{
		Name:  "netguard-tables",
		Dir:   "internal/netguard",
		Files: []string{"*.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: tables,
	},
	{
		Name:  "netguard-checks",
		Dir:   "internal/netguard",
		Files: []string{"*.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
	},
	{
		Name:  "signature",
		Dir:   ".",
		Files: []string{"signer.go", "secret.go", "verifier.go", "verify_reason.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: receiving,
	},
	{
		Name:  "receiver",
		Dir:   ".",
		Files: []string{"verify_request.go", "answer.go", "receiver.go", "dedupe.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: receiving,
	},
	{
		// What becomes of a delivery and of its endpoint, and when the next attempt is due.
		Name:  "settling",
		Dir:   ".",
		Files: []string{"settle.go", "retry.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: settling,
	},
	{
		// One attempt: what signs it, what comes back, what is kept of that.
		Name:  "sending",
		Dir:   ".",
		Files: []string{"sender.go", "exchange.go", "line.go", "keyring.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: sending,
	},
	{
		// Slots, leases on their way, the drain, and that every outcome is recorded.
		Name:  "running",
		Dir:   ".",
		Files: []string{"run.go", "slots.go", "claim.go", "record.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: running,
	},
	{
		// What the calls of the emitting side refuse.
		Name:  "dispatching",
		Dir:   ".",
		Files: []string{"dispatcher.go", "direct.go", "endpoints.go", "enable.go", "rotation.go", "replay.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: dispatching,
	},
	{
		// What hooks are told, and which slots they take.
		Name:  "telling",
		Dir:   ".",
		Files: []string{"hooks.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: telling,
	},
	{
		// How many may go in a second, and what is counted of those that went.
		Name:  "pacing",
		Dir:   ".",
		Files: []string{"pace.go", "stats.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: pacing,
	},
	{
		// What secrets are sealed with and who may open them; what is removed, and when.
		Name:  "keeping",
		Dir:   ".",
		Files: []string{"sealer.go", "sealing.go", "keyless.go", "upkeep.go", "attempt.go", "event.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Quick: keeping,
	},
	{
		// Who owns a delivery, until when, and what may be handed out.
		Name:  "memory-leases",
		Dir:   ".",
		Files: []string{"memory*.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Match: regexp.MustCompile(`(?i)token|lease|\.State|now\.at|room\(|interrupted|once\(|deleted|slow|pending|pace|gap|replay`),
		Quick: "MemoryStore",
	},
}
