package main

import "regexp"

// receiving matches the names of most tests of signatures and receivers.
const receiving = "Verif|Sign|Secret|Unsigned|Receiver|Request|MaxAge|Tolerance|Timestamp|Dedup|Handle|Middleware|Refus|Header|Scheme|Mismatch|Vector|Body|Duplicate|Byte|AsSent"

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
		// Who owns a delivery, until when, and what may be handed out.
		Name:  "memory-leases",
		Dir:   ".",
		Files: []string{"memory*.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Match: regexp.MustCompile(`(?i)token|lease|\.State|now\.at|room\(|interrupted|once\(|deleted|slow`),
		Quick: "MemoryStore",
	},
}
