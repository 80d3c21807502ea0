package webhook

import (
	"cmp"
	"slices"
)

// memNamesInPart bounds what is moved to make room for a name.
const memNamesInPart = 512

// memNames is a sorted set of names, in parts, so that neither a new one nor a page of them takes long, however many
// there are.
type memNames struct{ parts [][]string } // none of them empty

// part returns the part where the name is, or would be: the last that does not start after it.
func (n *memNames) part(name string) int {
	i, found := slices.BinarySearchFunc(n.parts, name, func(part []string, name string) int { return cmp.Compare(part[0], name) })
	if !found && i > 0 {
		i--
	}
	return i
}

func (n *memNames) add(name string) {
	if len(n.parts) == 0 {
		n.parts = [][]string{{name}}
		return
	}
	i := n.part(name)
	at, found := slices.BinarySearch(n.parts[i], name)
	if found {
		return
	}
	part := slices.Insert(n.parts[i], at, name)
	n.parts[i] = part
	if half := len(part) / 2; len(part) > memNamesInPart {
		n.parts[i] = slices.Clone(part[:half])
		n.parts = slices.Insert(n.parts, i+1, slices.Clone(part[half:]))
	}
}

func (n *memNames) remove(name string) {
	if len(n.parts) == 0 {
		return
	}
	i := n.part(name)
	at, found := slices.BinarySearch(n.parts[i], name)
	if !found {
		return
	}
	if n.parts[i] = slices.Delete(n.parts[i], at, at+1); len(n.parts[i]) == 0 {
		n.parts = slices.Delete(n.parts, i, i+1)
	}
}

// after returns at most limit names that are greater than name; nil stands before all of them.
func (n *memNames) after(name *string, limit int) []string {
	list := []string{}
	if len(n.parts) == 0 {
		return list
	}
	i, at := 0, 0
	if name != nil {
		i = n.part(*name)
		var found bool
		if at, found = slices.BinarySearch(n.parts[i], *name); found {
			at++
		}
	}
	for ; i < len(n.parts) && len(list) < limit; i, at = i+1, 0 {
		rest := n.parts[i][at:]
		list = append(list, rest[:min(len(rest), limit-len(list))]...)
	}
	return list
}
