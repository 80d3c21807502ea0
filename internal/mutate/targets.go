package main

import "regexp"

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
		Args:  []string{"-run", "Sign|Secret|Verif|Vector|Fuzz"},
	},
	{
		Name:  "receiver",
		Dir:   ".",
		Files: []string{"verify_request.go", "receiver.go", "dedupe.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Args:  []string{"-run", "Request|Receive|Middleware|Dedupe|Handle|Example"},
	},
	{
		// Who owns a delivery, until when, and what may be handed out.
		Name:  "memory-leases",
		Dir:   ".",
		Files: []string{"memory*.go"},
		Funcs: regexp.MustCompile(``),
		Kinds: checks,
		Match: regexp.MustCompile(`(?i)token|lease|\.State|now\.at|room\(|interrupted|once\(|deleted|slow`),
		Args:  []string{"-run", "MemoryStore"},
	},
}
