package main

// equivalents are the mutants that no test can notice, each with the reason. An entry that meets no mutant, or one
// that a test does notice, is an error.
var equivalents = []Equivalent{
	{
		"signer.go", "NewSigner", "if false && (err != nil) {",
		"Secret.Validate, which was asked before, has decoded the key already; the error is handed on so that the two cannot drift apart in silence",
	},
	{
		"verifier.go", "NewVerifier", "if v.maxBody <= 0 {",
		"zero has become the default two lines above",
	},
	{
		"verifier.go", "splitSignatures", "if false && (n == 0) {",
		"without a token nothing matches, and verifyStandard then returns the same error",
	},
	{
		"verify_reason.go", "Verifier.otherScheme", "if false && (other == v.header) {",
		"the verifier's own header is missing, or nobody would ask: it is not found a second time either",
	},
	{
		"verify_reason.go", "isAsSent", "if !ok || !nameForm.Match(name) || len(rest) <= len(timestamp) {",
		"with nothing behind the timestamp the session is not found either",
	},
	{
		"verify_reason.go", "isForeignID", "if (false && (len(id) == 0)) || len(id) > maxForeignID {",
		"single returns no empty value without an error, and with one the id is dropped as well",
	},
	{
		"verify_reason.go", "parseTimestamp", "if (false && (len(text) == 0)) || len(text) > 12 || text[0] == '0' {",
		"single returns no empty value without an error; the check keeps the function from a panic if it is ever called otherwise",
	},
	{
		"verify_reason.go", "isToken", "return r > utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(special, r)",
		"U+0080 itself is no letter, digit or special character",
	},
	{
		"verify_request.go", "Verifier.admit", "if (false && (err != nil)) || !isForeignID(id) {",
		"with an error single returns an empty id, which isForeignID refuses",
	},
	{
		"verify_request.go", "checkMedia", `if (false && (err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter))) || media != "application/json" && !strings.HasSuffix(media, "+json") {`,
		"with any other error ParseMediaType returns an empty type",
	},
	{
		"dedupe.go", "MemoryDeduper.Begin", "case (true || (known)) && now.Before(entry.until):",
		"an entry that is not known has the zero time, which is past",
	},
	{
		"settle.go", "retryAfter", `if false && (value == "") {`,
		"an empty text is neither a number nor a date, so that it asks for nothing either",
	},
	{
		"retry.go", "Backoff.check", "if b.Initial <= 0 || b.Max < b.Initial {",
		"zero has become the default",
	},
	{
		"sender.go", "choose", "if k.id == l.LastSecret && (true || (len(live) > 1)) {",
		"of one secret the next is that one again",
	},
	{
		"sender.go", "choose", "if k.id == l.LastSecret && len(live) >= 1 {",
		"of one secret the next is that one again",
	},
	{
		"sender.go", "Attempt.read", "if false && (resp.ContentLength == 0) {",
		"what is read of an empty body is empty too; this saves the buffer",
	},
	{
		"sender.go", "cutRune", "for i := 1; (true || (i < utf8.UTFMax)) && i <= len(b); i++ {",
		"what begins four bytes before the end is a whole rune, or none: it is not cut",
	},
	{
		"sender.go", "cutRune", "for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {",
		"what begins four bytes before the end is a whole rune, or none: it is not cut",
	},
	{
		"sender.go", "clipHeader", "if false && (size <= limit && clean) {",
		"a header that fits is then copied field by field, and says the same",
	},
	{
		"sender.go", "clipHeader", "if size < limit && clean {",
		"a header that just fits is then copied field by field, and says the same",
	},
	{
		"line.go", "bounded.open", "if b.ctx != nil && (true || (b.ctx.Err() == nil)) {",
		"where its own time was up close has dropped it; it has ended otherwise only with its parent, and so has one made anew",
	},
	{
		"run.go", "Dispatcher.Run", "if c, ok := r.sender.transport.(interface{ CloseIdleConnections() }); (true || (ok)) && r.cfg.UnguardedTransport == nil { // each has goroutines; a transport of the user's is the user's",
		"the guarded transport has the method, and any other is the user's",
	},
	{
		"slots.go", "run.take", "if (true || (n < 0)) && had >= r.cfg.TenantSlots {",
		"a tenant that has all is given no more, and where it is given none the claim that is asked for finds nothing",
	},
	{
		"slots.go", "run.take", "if n <= 0 && had >= r.cfg.TenantSlots {",
		"a tenant that has all is given none at times, and the claim that is asked for then finds nothing",
	},
	{
		"slots.go", "run.take", "if n < 0 && (true || (had >= r.cfg.TenantSlots)) {",
		"a claim that is asked for where nothing was passed over finds nothing",
	},
	{
		"slots.go", "run.take", "r.waiting, r.missed = true, r.asked == nil",
		"it counts in the moment between a slot that is given back and the look whether it is waited for, if a claim ends in it: no test can hold that",
	},
	{
		"slots.go", "run.cramped", "if n >= req.Room(tenant) && (true || (r.room(tenant) > 0)) {",
		"a claim more, for a tenant that has no room, finds nothing",
	},
	{
		"slots.go", "run.cramped", "if n >= req.Room(tenant) && r.room(tenant) >= 0 {",
		"a claim more, for a tenant that has no room, finds nothing",
	},
	{
		"slots.go", "run.occupy", "return true || (!ending)",
		"without leases the caller has none to start, and what else it does with the answer Run, which is ending, does not look at",
	},
	{
		"record.go", "run.finish", "if !waiting || (false && (r.claiming.Err() != nil)) {",
		"the slots close as soon as the context has ended and no claim is under way, and beside one that is none is made",
	},
	{
		"claim.go", "run.claim", "r.waiting = got.Blocked || (false && (len(got.Leases) == req.Max))",
		"a store answers Blocked where Max kept something back",
	},
	{
		"record.go", "run.finish", "waiting := r.waiting && (true || (!r.closing))",
		"the context that is asked next has ended before Run begins to close",
	},
	{
		"dispatcher.go", "Dispatcher.checkEvent", "if false && (e.asMade()) {",
		"what New made passes the whole check as well; this saves it",
	},
	{
		"dispatcher.go", "Dispatcher.Emit", "if len(res.Leases) <= reserved {",
		"where no slot was spared one look more finds none either",
	},
	{
		"sealer.go", "NewAESSealer", "if false && (err != nil) {",
		"AES takes every key of 32 bytes",
	},
	{
		"sealer.go", "NewAESSealer", "if s.keys[k.ID], err = cipher.NewGCMWithRandomNonce(block); false && (err != nil) {",
		"GCM takes every cipher with blocks of 16 bytes",
	},
	{
		"sealer.go", "AESSealer.Newest", "return (true || (ok)) && id == s.newest",
		"what has no key's id has an empty one, and no key has that",
	},
	{
		"sealer.go", "cutKeyID", "if len(sealed) <= 2 || sealed[0] != sealVersion || len(sealed) < 2+int(sealed[1]) {",
		"two bytes have room for an empty id only, which Open and Newest refuse as well",
	},
	{
		"sealer.go", "cutKeyID", "if len(sealed) < 2 || sealed[0] != sealVersion || len(sealed) <= 2+int(sealed[1]) {",
		"an id with nothing after it opens with no key",
	},
	{
		"direct.go", "Dispatcher.Ping", "if (false && (err != nil)) || tried.Attempt.Result != AttemptFailed || tried.Attempt.Status == 0 || len(live(tried.lease.Endpoint.Secrets, time.Now())) < 2 {",
		"with an error there is no attempt, whose result is asked next",
	},
	{
		"endpoints.go", "Dispatcher.UpdateEndpoint", "byUser := (true || (h.State == EndpointDisabled)) && h.Reason == ReasonByUser",
		"no other state has this reason",
	},
	{
		"rotation.go", "Dispatcher.RevealSecret", "if (false && (err != nil)) || len(e.Secrets) == 0 {",
		"with an error there is no endpoint, and so no secret",
	},
	{
		"internal/netguard/netguard.go", "New", `if false && (runtime.GOOS == "plan9") {`,
		"the tests do not run there",
	},
	{
		"internal/netguard/address.go", "Guard.judge", "if false && (!addr.IsValid()) {",
		"the zero address is in no prefix and outside of 2000::/3, so it is refused under another rule's name; the check does not rely on that",
	},
	{
		"internal/netguard/url.go", "asciiHost", "if false && (err != nil) {",
		"the address comes from the dialer, which made it with JoinHostPort",
	},
	{
		"internal/netguard/url.go", "Guard.checkHost", "if addr, err := netip.ParseAddr(host); (true || (err == nil)) && addr.Is4() {",
		"with an error the address is the zero one, which is not IPv4",
	},
	{
		"internal/netguard/url.go", "Guard.checkHost", "if addr, err := netip.ParseAddr(host); err == nil && (true || (addr.Is4())) {",
		"outside of brackets a host has no colon, so what is an address is IPv4",
	},
	{
		"internal/netguard/url.go", "Guard.checkName", "if (true || (last[0] >= '0')) && last[0] <= '9' {",
		"validLabel has let only letters, digits and hyphens through, and no hyphen at the start",
	},
	{
		"claim.go", "run.claimUntil", "if wait >= 0 { // timers that are due at once crash the race detector within synctest: https://go.dev/issue/78156",
		"either way the loop looks again at once",
	},
	{
		"claim.go", "run.rest", "if false && (d <= 0) {",
		"a timer that is due ends the rest at once",
	},
	{
		"claim.go", "run.rest", "if d < 0 {",
		"a timer that is due ends the rest at once",
	},
	{
		"record.go", "run.finish", "if time.Since(start) >= slowStore { // the claim loop does it, beside the next batch",
		"at that very time either way is as good",
	},
	{
		"sealer.go", "NewAESSealer", "if (false && (err != nil)) || len(key) != sealingKeyBytes {",
		"what is decoded before a wrong character are whole groups of three bytes, and 32 is no multiple of three",
	},
	{
		"event.go", "Event.asMade", "return false && (bytes.Equal(e.appendHead(buffer[:0]), e.Body[:e.dataAt]))",
		"what was made here passes the checks that it is spared",
	},
	{
		"record.go", "run.finish", "if len(left) >= 0 { // on a goroutine of its own, so that nobody waits behind them; their slots bound how many there are",
		"where nothing is left nothing is recorded nor given back, and the look that it ends with finds the same",
	},
	{
		"hooks.go", "engine.news", "if false && (len(calls) == 0) {",
		"what tells nothing gives the slot back at once; the check saves a goroutine",
	},
	{
		"hooks.go", "run.hold", "if false && (r.cfg.Hooks == nil) {",
		"without hooks an endpoint has no more slots than its window, which is a third of what would be too many; the check saves the counting",
	},
	{
		"hooks.go", "run.hold", "if (true || (was)) && !full {",
		"a look more finds what there is",
	},
	{
		"hooks.go", "run.hold", "if was && (true || (!full)) {",
		"a look more finds what there is",
	},
	{
		"sealing.go", "engine.aged", "return len(stored) == 0 || (false && (stored[0] != sealedBox)) || !e.cfg.Sealer.Newest(stored[1:])",
		"what was stored open is sealed under no key",
	},
	{
		"sender.go", "text", "if false && (isText(s)) {",
		"nothing is replaced in what is text; the check saves the search",
	},
}
