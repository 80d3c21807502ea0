package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options change how a cluster is started.
type Options struct {
	// Durable keeps fsync on, for tests of what a crash leaves. Without it a crash of the machine, not of the server,
	// loses all.
	Durable bool
	// Settings are further settings of the server, such as "max_connections=200".
	Settings []string
}

// Cluster is a Postgres server with data of its own.
type Cluster struct {
	Installation
	dir     string // holds the socket and the data
	options Options
	as      *syscall.Credential // whom the server runs as; nil: as this process

	mu     sync.Mutex
	server *server
	serial int
}

// A Mode says how a server is to end.
type Mode syscall.Signal

const (
	// Fast ends transactions and connections and writes a checkpoint.
	Fast = Mode(syscall.SIGINT)
	// Immediate is a crash: the next start recovers.
	Immediate = Mode(syscall.SIGQUIT)
)

// startLimit bounds how long a server may take to start or stop, recovery included.
const startLimit = time.Minute

// Start makes a cluster and starts its server; the test's cleanup stops it and removes all of it. If the test process
// is killed the server ends by itself.
func (i Installation) Start(t testing.TB, o *Options) *Cluster {
	t.Helper()
	c, err := i.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Open is Start for clusters that outlive a test, such as one that all tests of a package share: call Close in
// TestMain.
func (i Installation) Open(o *Options) (*Cluster, error) {
	c := &Cluster{Installation: i}
	if o != nil {
		c.options = *o
	}
	if err := c.create(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) create() (err error) {
	// Not t.TempDir: its parents are closed to other users, and its name is too long for a socket (107 bytes).
	if c.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	if n := len(filepath.Join(c.dir, ".s.PGSQL.5432")); n > 107 {
		return fmt.Errorf("pgtest: the path of the socket has %d bytes, and may have 107: set TMPDIR to a shorter one", n)
	}
	if os.Getuid() == 0 { // Postgres refuses to run as root
		if c.as, err = credential("postgres"); err != nil {
			return err
		}
		if err = os.Chown(c.dir, int(c.as.Uid), int(c.as.Gid)); err != nil {
			return fmt.Errorf("pgtest: %w", err)
		}
	}
	initdb := exec.Command(filepath.Join(c.Bin, "initdb"), "-D", c.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir = c.dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: initdb: %w\n%s", err, out)
	}
	return c.Resume()
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("pgtest: Postgres does not run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// Socket is the folder of the server's socket: the "host" of a connection.
func (c *Cluster) Socket() string { return c.dir }

// DSN is the connection string of a database: keywords and values, as libpq and pgx read them.
func (c *Cluster) DSN(database string) string {
	return fmt.Sprintf("host=%s port=5432 user=postgres dbname=%s sslmode=disable", c.dir, database)
}

// Resume starts the server of a cluster that was stopped, and waits until it answers.
func (c *Cluster) Resume() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return errors.New("pgtest: the server runs already")
	}
	args := []string{
		"-D", c.data(), "-k", c.dir, "-h", "", "-p", "5432", "-c", "shared_buffers=32MB", "-c", "autovacuum=off",
		"-c", "max_connections=200", "-c", "log_min_messages=fatal",
	}
	if !c.options.Durable {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off")
	}
	for _, setting := range c.options.Settings {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(filepath.Join(c.Bin, "postgres"), args...)
	cmd.Dir = c.dir
	s, err := launch(cmd, c.as)
	if err != nil {
		return err
	}
	for limit := time.Now().Add(startLimit); ; time.Sleep(5 * time.Millisecond) {
		if err = c.Exec("postgres", "SELECT 1"); err == nil {
			c.server = s
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("pgtest: postgres ended at once:\n%s", s.output.Bytes())
		default:
		}
		if time.Now().After(limit) {
			return errors.Join(fmt.Errorf("pgtest: postgres does not answer: %w", err), s.stop(Immediate))
		}
	}
}

// Stop ends the server; its data stay.
func (c *Cluster) Stop(m Mode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return errors.New("pgtest: no server runs")
	}
	err := c.server.stop(m)
	c.server = nil
	return err
}

// Restart is Stop and Resume.
func (c *Cluster) Restart(m Mode) error {
	if err := c.Stop(m); err != nil {
		return err
	}
	return c.Resume()
}

// Close ends the server, if one runs, and removes the cluster.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.server != nil {
		err = c.server.stop(Immediate)
		c.server = nil
	}
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// Database makes a database from a template ("" is an empty one) for this test alone, and returns its name. It is
// dropped in the test's cleanup. Nobody may be connected to the template.
func (c *Cluster) Database(t testing.TB, template string) string {
	t.Helper()
	if template == "" {
		template = "template0"
	}
	c.mu.Lock()
	c.serial++
	name := fmt.Sprintf("test_%d", c.serial)
	c.mu.Unlock()
	if err := c.Exec("postgres", fmt.Sprintf(`CREATE DATABASE "%s" TEMPLATE "%s"`, name, template)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Exec("postgres", fmt.Sprintf(`DROP DATABASE "%s" WITH (FORCE)`, name)); err != nil && c.running() {
			t.Error(err)
		}
	})
	return name
}

func (c *Cluster) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server != nil
}

// server is a running process.
type server struct {
	process *os.Process
	done    chan struct{} // closed when it has ended
	output  bytes.Buffer  // may be read when done is closed
}

// launch starts the command from an OS thread that is kept until it ends: Linux kills a child by Pdeathsig when the
// thread that started it is gone, and Go ends threads as it likes.
func launch(cmd *exec.Cmd, as *syscall.Credential) (*server, error) {
	s := &server{done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		s.process = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its output
			close(s.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("pgtest: postgres: %w", err)
	}
	return s, nil
}

func (s *server) stop(m Mode) error {
	if err := s.process.Signal(syscall.Signal(m)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("pgtest: %w", err)
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(startLimit):
		_ = s.process.Kill()
		<-s.done
		return errors.New("pgtest: postgres had to be killed")
	}
}
