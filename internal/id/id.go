// Package id makes the identifiers of events, endpoints and deliveries: they sort by the moment they were made, so
// that an index on them stays dense and a listing needs no second key, and they cannot be guessed, so that knowing one
// id tells nothing of others.
package id

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// alphabet keeps the order of the bytes it encodes, which the standard base32 alphabet does not.
var alphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const (
	timeBytes   = 7  // Unix time in steps of 256 ns: lasts until the year 2554
	randomBytes = 16 // 128 bits
	// Len is the number of characters after the prefix.
	Len = (8*(timeBytes+randomBytes) + 4) / 5
)

// last makes ids of one process strictly increasing, also when two are made in one step of the clock or the clock is
// set back.
var last atomic.Uint64

// New returns prefix followed by Len characters of [0-9a-z]. Ids made later in one process sort after earlier ones.
func New(prefix string) string {
	var raw [1 + timeBytes + randomBytes]byte // one byte in front: the clock is written as eight
	binary.BigEndian.PutUint64(raw[:], tick())
	rand.Read(raw[1+timeBytes:]) // never returns an error: crypto/rand ends the program instead

	out := make([]byte, len(prefix)+Len)
	copy(out, prefix)
	alphabet.Encode(out[len(prefix):], raw[1:])
	return string(out)
}

func tick() uint64 {
	now := uint64(time.Now().UnixNano()) >> 8
	for {
		seen := last.Load()
		next := max(now, seen+1)
		if last.CompareAndSwap(seen, next) {
			return next
		}
	}
}
