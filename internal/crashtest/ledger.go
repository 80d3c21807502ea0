//go:build linux

package crashtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Op says what a line of a ledger is about.
type Op string

const (
	OpEmit      Op = "emit"      // an event is about to be emitted
	OpAccepted  Op = "accepted"  // its Emit, or the COMMIT of its transaction, returned nil
	OpUnknown   Op = "unknown"   // it returned an error that leaves open whether it was stored
	OpRefused   Op = "refused"   // it returned an error that says that nothing was stored
	OpChanging  Op = "changing"  // an endpoint is about to be changed
	OpState     Op = "state"     // what an endpoint's state is now
	OpOwner     Op = "owner"     // the name of this process in leases, before the first one
	OpLease     Op = "lease"     // the store gave a lease
	OpRecording Op = "recording" // an outcome is about to be recorded
	OpRecorded  Op = "recorded"  // the store answered whether it applied it
	OpRunning   Op = "running"   // Run was called
	OpStopping  Op = "stopping"  // Run's context was ended
	OpDone      Op = "done"      // Run has returned, N goroutines are left
)

// Line is what a worker says in its ledger. Workers and the test are on one machine, so their times can be compared.
type Line struct {
	At       time.Time `json:"at"`
	Process  string    `json:"-"` // whose ledger it is in
	Op       Op        `json:"op"`
	Event    string    `json:"event,omitempty"`
	Sum      string    `json:"sum,omitempty"` // SHA-256 of the event's body
	Endpoint string    `json:"endpoint,omitempty"`
	State    string    `json:"state,omitempty"`
	Delivery string    `json:"delivery,omitempty"`
	Attempt  int       `json:"attempt,omitempty"`
	Token    string    `json:"token,omitempty"`
	Owner    string    `json:"owner,omitempty"`
	Kind     string    `json:"kind,omitempty"` // of an outcome
	Applied  bool      `json:"applied,omitempty"`
	Error    string    `json:"error,omitempty"`
	N        int       `json:"n,omitempty"`
}

// Deleted is the state of an endpoint that was deleted.
const Deleted = "deleted"

// Ledger is a file of lines that survives its process.
type Ledger struct {
	mu   sync.Mutex
	file *os.File
}

// OpenLedger opens the file to append to it, or makes it.
func OpenLedger(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Ledger{file: file}, nil
}

// Write adds a line. What was written survives the process.
func (l *Ledger) Write(line Line) error {
	line.At = time.Now()
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.file.Write(append(text, '\n')) // one call: the line is there or it is not
	return err
}

// Sync adds a line and waits until it is on the disk.
func (l *Ledger) Sync(line Line) error {
	if err := l.Write(line); err != nil {
		return err
	}
	return l.file.Sync()
}

// ReadLedger reads what a process left. A last line that is cut off was never finished, and is left out.
func ReadLedger(path, process string) ([]Line, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		if os.IsNotExist(err) { // it was killed before it wrote anything
			return nil, nil
		}
		return nil, err
	}
	var lines []Line
	for number := 1; len(text) > 0; number++ {
		one, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			break
		}
		line := Line{Process: process}
		if err := json.Unmarshal(one, &line); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, number, err)
		}
		lines = append(lines, line)
		text = rest
	}
	return lines, nil
}
