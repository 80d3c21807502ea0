package main

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/meshia/webhook"
)

const maxWebhookBytes = 64 << 10

// addWebhook is POST /webhooks.
//
//	{"url": "https://example.com/hook", "events": ["*"], "secret": "generate", "description": ""}
//
// Without a secret requests are not signed; "generate" makes one, which is returned here and nowhere else. The answer
// comes once the webhook was pinged:
//
//	201 {"id": "we_...", "state": "active", "secret": "whsec_..." or null,
//	     "ping": {"status": 204 or null, "latency_ms": 12, "error": null or "timeout: ..."}}
//
// A webhook whose ping was not answered with 2xx is saved as pending: events are not queued for it. Add it again once
// its receiver answers.
func (a *api) addWebhook(w http.ResponseWriter, r *http.Request) (int, any, error) {
	body, err := readBody(w, r, maxWebhookBytes)
	if err != nil {
		return 0, nil, err
	}
	var in struct {
		URL         string   `json:"url"`
		Events      []string `json:"events"`
		Secret      string   `json:"secret"`
		Description string   `json:"description"`
	}
	if err := decode(body, &in); err != nil {
		return 0, nil, err
	}
	secret, generated := webhook.NewSecret(in.Secret), (*string)(nil)
	if in.Secret == "generate" {
		secret = webhook.GenerateSecret()
		generated = new(secret.Reveal())
	}

	e, ping, err := a.d.AddEndpoint(r.Context(), webhook.Endpoint{URL: in.URL, Events: in.Events, Secret: secret, Description: in.Description})
	if err != nil {
		if e.ID != "" { // saved, and then the ping could not be logged: the request is to fail as a whole
			if err := a.d.DeleteEndpoint(context.WithoutCancel(r.Context()), e.ID); err != nil {
				a.log.Error("a webhook is left that its owner does not know of", "webhook", e.ID, "error", err)
			}
		}
		return 0, nil, err
	}
	out := struct {
		ID     string   `json:"id"`
		State  string   `json:"state"`
		Secret *string  `json:"secret"`
		Ping   *outcome `json:"ping"` // null: it could not be logged
	}{e.ID, string(e.Health.State), generated, nil}
	if len(ping.Attempts) > 0 {
		out.Ping = new(newOutcome(ping.Attempts[0]))
	}
	a.log.Info("webhook added", "webhook", e.ID, "host", hostOf(e.URL), "signed", !secret.IsZero(), "state", out.State)
	return http.StatusCreated, out, nil
}

// outcome is what came of an attempt.
type outcome struct {
	Status    *int    `json:"status"`     // null: no response
	LatencyMS int64   `json:"latency_ms"` // rounded up
	Error     *string `json:"error"`      // null: delivered; else "class: in words", the class being one of webhook.ErrorClass
}

func newOutcome(a webhook.Attempt) outcome {
	o := outcome{LatencyMS: int64(math.Ceil(float64(a.Latency) / float64(time.Millisecond)))}
	if a.Status != 0 {
		o.Status = new(a.Status)
	}
	if a.Error != "" {
		o.Error = new(string(a.Error) + ": " + a.Detail)
	}
	return o
}

// hostOf is what may be logged of a URL: its path carries tokens.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}
