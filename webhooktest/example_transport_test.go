package webhooktest_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/meshia/webhook/webhooktest"
)

// Several endpoints, told apart by their hosts.
func ExampleTransport() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST good.example/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST gone.example/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	client := &http.Client{Transport: webhooktest.Transport(mux)}

	for _, url := range []string{"https://good.example/hook", "https://gone.example/hook"} {
		resp, err := client.Post(url, "application/json", strings.NewReader(`{"event":"ping"}`))
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(url, resp.Status)
	}
	// Output:
	// https://good.example/hook 204 No Content
	// https://gone.example/hook 410 Gone
}
