//go:build !webhook_failpoint

package failpoint

// Enabled says whether this build has failpoints.
const Enabled = false

// Pass does nothing in this build.
func Pass(Point) {}
