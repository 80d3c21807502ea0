package id

import (
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIDsHaveTheFormOfTheWire(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^evt_[0-9a-z]{37}$`)
	for range 100 {
		require.Regexp(t, form, New("evt_"))
	}
	require.Equal(t, 37, Len)
}

func TestIDsOfOneProcessSortAsMade(t *testing.T) {
	t.Parallel()
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = New("")
	}
	require.True(t, slices.IsSorted(ids))
}

func TestIDsMadeAtOnceDiffer(t *testing.T) {
	t.Parallel()
	const makers, each = 8, 2000
	lists := make([][]string, makers)
	var wg sync.WaitGroup
	for m := range lists {
		wg.Go(func() {
			for range each {
				lists[m] = append(lists[m], New(""))
			}
		})
	}
	wg.Wait()

	seen := make(map[string]bool, makers*each)
	for _, list := range lists {
		for _, id := range list {
			seen[id] = true
		}
	}
	require.Len(t, seen, makers*each)
}

func TestTheRandomPartIsRandom(t *testing.T) {
	t.Parallel()
	const n = 1000
	tails := make(map[string]bool, n)
	for range n {
		tails[New("")[12:]] = true // the clock ends inside the twelfth character
	}
	require.Len(t, tails, n)
}
