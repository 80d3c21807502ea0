//go:build !race

package simulation

const seedShare = 1
