// Receives webhooks: go run receiver.go, in a module that requires github.com/meshia/webhook.
//
//	PORT                     where it listens on 127.0.0.1 (8080); what speaks TLS stands in front
//	WEBHOOK_SECRET           the secret of the endpoint
//	WEBHOOK_PREVIOUS_SECRET  the one before, while a rotation is under way
//	WEBHOOK_SCHEME           meshia: X-Meshia-Signature (the default); standard: the headers of Standard Webhooks
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/meshia/webhook"
)

func main() {
	log.SetFlags(0)
	secrets := slices.DeleteFunc([]string{os.Getenv("WEBHOOK_SECRET"), os.Getenv("WEBHOOK_PREVIOUS_SECRET")},
		func(s string) bool { return s == "" })
	cfg := map[string]*webhook.VerifierConfig{
		"meshia":   {Scheme: webhook.Meshia},
		"standard": {Scheme: webhook.Standard, RawSecret: true}, // RawSecret: a secret that somebody typed is good too
	}[cmp.Or(os.Getenv("WEBHOOK_SCHEME"), "meshia")]
	if len(secrets) == 0 || cfg == nil {
		log.Fatal("WEBHOOK_SECRET is missing, or WEBHOOK_SCHEME is neither meshia nor standard")
	}
	verifier, err := webhook.NewVerifier(secrets, cfg)
	if err != nil {
		log.Fatal(err)
	}

	// It verifies, limits, answers pings and keeps one event from being handled twice; see webhook.Deduper for doing
	// that in a database.
	receiver := webhook.NewReceiver(verifier, &webhook.ReceiverConfig{Unhandled: accept})
	webhook.Handle(receiver, webhook.ExperimentCompleted, func(ctx context.Context, e webhook.Event, data webhook.ExperimentCompletedData) error {
		log.Printf("%s took %d s", data.ExperimentID, data.DurationSeconds)
		return accept(ctx, e)
	})

	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	server := &http.Server{Handler: receiver, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second}
	log.Fatal(server.Serve(listener))
}

// accept stores the event durably and returns; the work is done elsewhere. After an error the event is sent again.
func accept(_ context.Context, e webhook.Event) error {
	fmt.Println(e.ID, e.Type, e.SessionID)
	return nil
}
