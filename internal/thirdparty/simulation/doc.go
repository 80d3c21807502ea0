// Package simulation runs whole dispatchers over a store and a network that fail, in simulated time, and checks the
// library's promises against a model.
//
// Each run is one testing/synctest bubble. pgregory.net/rapid draws the moves: emit, flood, crash, shut down, break the
// store, flip a receiver or leave it down for long, rotate a secret, give an endpoint another rate or bound or header,
// replay what failed or was missed, redeliver an event, prune, erase, let time pass. In half of the runs the breaker
// pauses soon; in a third of them hooks take long, or panic. Four ledgers are kept: what the producer was told, what
// the receivers saw, what hooks were told, and what the store was asked to do; the last one is a model of its own,
// which knows what must be in the store after each call: deliveries, endpoints' health, gaps, statistics, replays. When
// the moves are over everything is made healthy, and what is then left must add up.
//
// A run that fails is shrunk and written to testdata/rapid/<test>/. To keep it, move the file to
// testdata/rapid/TestRegressions/, named TestRegressions-<what>.fail; such a file means something only as long as the
// moves are drawn as they were, so what it showed belongs into a scenario too.
//
//	go test -run TestSimulation                 2 000 seeds, always the same; an eighth of them with -race
//	SOAK=1 go test -run TestSimulation          10 000 fresh ones; likewise
//	go test -run TestSimulation -rapid.seed=7   from this one on
package simulation
