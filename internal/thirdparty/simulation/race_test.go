//go:build race

package simulation

// With the race detector a seed takes several times as long.
const seedShare = 8
