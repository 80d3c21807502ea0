package pgstore

// Waiting is how many calls of Enqueue nobody writes yet.
func (s *Store) Waiting() int {
	s.emits.mu.Lock()
	defer s.emits.mu.Unlock()
	return len(s.emits.waiting)
}
