// Package pgtest starts throw-away Postgres clusters for tests: each in a folder of its own, reachable through a Unix
// socket only, gone when the test process is. It uses the standard library alone and knows no driver.
package pgtest

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Installation is a version of Postgres on this machine.
type Installation struct {
	Bin   string // the folder of initdb and postgres
	Major int
}

// String names the installation in the names of subtests.
func (i Installation) String() string { return "postgres" + strconv.Itoa(i.Major) }

// Cache is where script/setup puts versions that the distribution does not have. The user that the server runs as must
// be able to read it, so root, who runs it as another user, has it outside of his home.
func Cache() string {
	if os.Getuid() == 0 {
		return "/var/cache/webhook-test"
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "webhook-test")
}

// Find returns the installations, one for each major version, the oldest first. It looks into the folders that
// WEBHOOK_POSTGRES_BIN lists and, where that is not set, into PATH, the distribution's folders and the Cache.
func Find() []Installation {
	var dirs []string
	if list, set := os.LookupEnv("WEBHOOK_POSTGRES_BIN"); set {
		dirs = filepath.SplitList(list)
	} else {
		if path, err := exec.LookPath("initdb"); err == nil {
			if path, err = filepath.EvalSymlinks(path); err == nil { // postgres looks for its files beside itself
				dirs = append(dirs, filepath.Dir(path))
			}
		}
		for _, pattern := range []string{"/usr/lib/postgresql/*/bin", filepath.Join(Cache(), "postgres*", "native", "bin")} {
			found, _ := filepath.Glob(pattern)
			dirs = append(dirs, found...)
		}
	}
	var all []Installation
	for _, dir := range dirs {
		major, ok := majorOf(dir)
		if ok && !slices.ContainsFunc(all, func(i Installation) bool { return i.Major == major }) {
			all = append(all, Installation{Bin: dir, Major: major})
		}
	}
	slices.SortFunc(all, func(a, b Installation) int { return cmp.Compare(a.Major, b.Major) })
	return all
}

var versionForm = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(dir string) (int, bool) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0, false
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, false
	}
	found := versionForm.FindSubmatch(out)
	if found == nil {
		return 0, false
	}
	major, err := strconv.Atoi(string(found[1]))
	return major, err == nil
}

// Each runs f with each installation, as a subtest. Where there is none the test is skipped, or fails if
// WEBHOOK_REQUIRE_ALL is set.
func Each(t *testing.T, f func(t *testing.T, i Installation)) {
	t.Helper()
	for _, i := range Required(t) {
		t.Run(i.String(), func(t *testing.T) { f(t, i) })
	}
}

// Required returns the installations, and skips or fails the test where there is none.
func Required(t testing.TB) []Installation {
	t.Helper()
	all := Find()
	if len(all) > 0 {
		return all
	}
	text := missing(os.Getenv("WEBHOOK_POSTGRES_BIN"))
	if os.Getenv("WEBHOOK_REQUIRE_ALL") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
	return nil
}

func missing(list string) string {
	if list != "" {
		return fmt.Sprintf("pgtest: no initdb and postgres in WEBHOOK_POSTGRES_BIN=%s", strings.TrimSpace(list))
	}
	return "pgtest: no initdb and postgres in PATH or the distribution's folders; script/setup installs them"
}
