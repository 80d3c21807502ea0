package webhook_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/meshia/webhook"
	"github.com/stretchr/testify/require"
)

func TestHeapAgainstASortedList(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var h webhook.Heap
	var list []*webhook.HeapItem
	for i := range 20_000 {
		// It grows first, to where taking items out has to lift others up, and empties then.
		if len(list) == 0 || r.IntN(10) < 7 && i < 12_000 {
			list = append(list, h.Push(time.Duration(r.IntN(500))))
		} else if r.IntN(2) == 0 {
			at := r.IntN(len(list))
			h.Remove(list[at])
			list = slices.Delete(list, at, at+1)
		} else {
			top := h.Top()
			h.Remove(top)
			list = slices.DeleteFunc(list, func(item *webhook.HeapItem) bool { return item == top })
		}
		if len(list) > 0 {
			least := slices.MinFunc(list, func(a, b *webhook.HeapItem) int {
				return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
			})
			require.Equal(t, least, h.Top())
		}
	}
}
