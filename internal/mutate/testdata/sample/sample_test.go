package sample

import "testing"

func TestCheck(t *testing.T) {
	for s, want := range map[string]error{"10.1.2.3": errRefused, "8.8.8.8": nil, "x": errRefused, "127.0.0.1": errRefused} {
		if got := Check(s); got != want {
			t.Errorf("Check(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestRecord(t *testing.T) {
	l := Lease{Token: "b"}
	if l.Record("a", 1) || !l.Record("b", 1) {
		t.Error("only the token of the lease is good")
	}
}
