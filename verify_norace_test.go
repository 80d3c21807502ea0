//go:build !race

package webhook_test

const underRaceDetector = false
