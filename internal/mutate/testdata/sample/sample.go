// Package sample has guards: some that its tests watch, some that they do not, and one that nothing can watch.
package sample

import (
	"errors"
	"net/netip"
)

type rule struct {
	prefix netip.Prefix
	why    string
}

var rules = []rule{
	{netip.MustParsePrefix("10.0.0.0/8"), "watched"},
	{netip.MustParsePrefix("192.168.0.0/16"), "not watched"},
}

var errRefused = errors.New("refused")

// Check refuses private addresses and what is too long.
func Check(s string) error {
	if len(s) > 15 { // what is too long is no address either
		return errRefused
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return errRefused
	}
	if private(addr) {
		return errRefused
	}
	return nil
}

func private(addr netip.Addr) bool {
	for _, r := range rules {
		if r.prefix.Contains(addr) {
			return true
		}
	}
	return addr.Is4() && addr.IsLoopback()
}

type Lease struct{ Token, Owner string }

// Record is what a store does with an outcome.
func (l *Lease) Record(token string, n int) bool {
	switch {
	case token == "", n < 0:
		return false
	}
	return l.Token == token
}

// Untouched is not among the functions that the target names.
func Untouched(n int) bool { return n > 3 }
