//go:build linux

package crashtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stopSignal asks a worker to stop.
const stopSignal = syscall.SIGTERM

// process is a worker.
type process struct {
	Config
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	ended time.Time
	err   error
	out   bytes.Buffer // may be read when done is closed
}

// start starts a worker, which ends with the test at the latest, and with this process. It is killed at the failpoint
// that crash names, if any.
func start(t testing.TB, c Config, crash string) *process {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	p := &process{Config: c, done: make(chan struct{})}
	p.cmd = exec.Command(workerPath)
	p.cmd.Env = append(os.Environ(), Variable+"="+string(text), "WEBHOOK_CRASH="+crash, "GOMAXPROCS=2")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Linux kills the child when the thread that started it ends
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			p.ended = time.Now()
			close(p.done)
		}
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		<-p.done
	})
	return p
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
}

// wait waits until the process has ended.
func (p *process) wait(t testing.TB, limit time.Duration) {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // for its stacks
		<-p.done
		t.Fatalf("%s did not end within %v:\n%s", p.Name, limit, p.out.String())
	}
}

// clean demands that the process ends by itself and with success.
func (p *process) clean(t testing.TB, limit time.Duration) {
	t.Helper()
	p.wait(t, limit)
	require.NoError(t, p.err, "%s:\n%s", p.Name, p.out.String())
}

// killed reports whether the process was killed; if not, it must have ended with success.
func (p *process) killed(t testing.TB, limit time.Duration) bool {
	t.Helper()
	p.wait(t, limit)
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	require.NoError(t, p.err, "%s:\n%s", p.Name, p.out.String())
	return false
}

// stopped is clean for a process that was sent stopSignal perhaps before it was ready to be stopped.
func (p *process) stopped(t testing.TB, limit time.Duration) {
	t.Helper()
	p.wait(t, limit)
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == stopSignal {
		return
	}
	require.NoError(t, p.err, "%s:\n%s", p.Name, p.out.String())
}

// lines is what the process has written into its ledger until now.
func (p *process) lines(t testing.TB) []Line {
	t.Helper()
	lines, err := ReadLedger(p.Ledger, p.Name)
	require.NoError(t, err)
	return lines
}

// owner is the process's name in leases, or "" if it never asked for one.
func (p *process) owner(t testing.TB) string {
	t.Helper()
	for _, l := range p.lines(t) {
		if l.Op == OpOwner {
			return l.Owner
		}
	}
	return ""
}

// crew are the processes of a test on one database.
type crew struct {
	t        testing.TB
	db       *database
	receiver *receiver
	config   Config // what they have in common

	mu    sync.Mutex
	all   []*process
	moved map[try]time.Time // leases whose end was moved, and when
}

// try is an attempt.
type try struct {
	delivery string
	number   int
}

func newCrew(t testing.TB, db *database, r *receiver) *crew {
	return &crew{t: t, db: db, receiver: r, moved: map[try]time.Time{}, config: Config{
		Store: db.store, DSN: db.dsn, Secret: r.secret, Endpoints: []Target{{"main", r.url("/")}},
		Timeout: 400 * time.Millisecond, DrainTime: 2 * time.Second, Poll: 25 * time.Millisecond, Slots: 16, MaxInFlight: 4,
		Retries: []time.Duration{15 * time.Millisecond, 30 * time.Millisecond, 45 * time.Millisecond},
		Large:   20 << 10, // more than the buffers of net/http hold, so that half of it is on its way at K10
	}}
}

// start starts a process of the crew.
func (c *crew) start(name string, role Role, crash string, change func(*Config)) *process {
	c.t.Helper()
	config := c.config
	config.Name, config.Role = name, role
	config.Ledger = c.db.dir + "/" + name + ".ledger"
	if change != nil {
		change(&config)
	}
	p := start(c.t, config, crash)
	c.mu.Lock()
	c.all = append(c.all, p)
	c.mu.Unlock()
	return p
}

// bury ends the leases of a process that was killed.
func (c *crew) bury(p *process) {
	c.t.Helper()
	c.db.gone(c.t, p.Name)
	c.expire(p)
}

// expire moves the end of the leases that the process has into the past.
func (c *crew) expire(p *process) {
	c.t.Helper()
	owner := p.owner(c.t)
	if owner == "" {
		return
	}
	now := time.Now() // what is sent by another owner is sent after this
	for _, l := range c.db.expire(c.t, owner) {
		c.mu.Lock()
		c.moved[l] = now
		c.mu.Unlock()
	}
}

// lines are the ledgers of all processes.
func (c *crew) lines() (all []Line) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.all {
		all = append(all, p.lines(c.t)...)
	}
	return all
}
