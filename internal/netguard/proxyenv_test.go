package netguard_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/meshia/webhook/internal/netguard"
	"github.com/stretchr/testify/require"
)

const childVariable = "NETGUARD_TEST_PROXY_URL"

// proxyReport is what a process with a proxy in its environment saw the guard being asked.
type proxyReport struct {
	Blocked   bool
	Asked     []string // by the client of this package
	WithProxy []string // by the same transport, made to obey the environment
}

func TestMain(m *testing.M) {
	if url := os.Getenv(childVariable); url != "" {
		runProxyChild(url)
		return
	}
	os.Exit(m.Run())
}

// runProxyChild runs in a process of its own, because net/http reads the environment's proxies once.
func runProxyChild(url string) {
	g, err := netguard.New(nil)
	if err != nil {
		panic(err)
	}
	r := newRig(g, everyName("93.184.215.14"), netguard.TransportConfig{})
	report := proxyReport{Blocked: blocked(r.get(url))}
	report.Asked, _ = r.seen()
	r.transport.Proxy = http.ProxyFromEnvironment
	_ = r.get(url) // fails like every request here
	report.WithProxy, _ = r.seen()
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		panic(err)
	}
}

func checkEnvironment(t *testing.T, v vector) {
	child := exec.Command(os.Args[0])
	child.Env = []string{childVariable + "=" + v.URL}
	for name, value := range v.Env {
		child.Env = append(child.Env, name+"="+value)
	}
	child.Stderr = os.Stderr
	out, err := child.Output()
	require.NoError(t, err)
	var report proxyReport
	require.NoError(t, json.Unmarshal(out, &report))

	target := "tcp4 169.254.169.254:80"
	if v.URL[:5] == "https" {
		target = "tcp4 169.254.169.254:443"
	}
	require.True(t, report.Blocked)
	require.Equal(t, []string{target}, report.Asked, "the guard sees the target, not a proxy")
	if v.Env["NO_PROXY"] == "" {
		require.Equal(t, []string{"tcp4 93.184.215.14:3128"}, report.WithProxy, "the environment did name a proxy")
	}
}
