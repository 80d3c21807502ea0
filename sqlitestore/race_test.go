//go:build race

package sqlitestore_test

const underRaceDetector = true
