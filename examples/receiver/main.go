// Receiver verifies the webhooks that come to it and prints them: for trying an emitting service, such as
// ./examples/service, on one's own machine.
//
//	go run ./examples/receiver -addr 127.0.0.1:9000 -secret my-secret
//
// It speaks plain HTTP. On the Internet a receiver stands behind something that speaks TLS.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/meshia/webhook"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

type config struct {
	addr, secret, scheme string
}

// run receives until ctx ends. What arrives is printed to out, everything else to logs.
func run(ctx context.Context, args []string, env func(string) string, out, logs io.Writer) error {
	cfg, err := parse(args, env, out)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(logs, nil))
	handler, err := newHandler(cfg, out, log)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.addr)
	if err != nil {
		return err
	}
	log.Info("listening", "addr", listener.Addr().String(), "scheme", cfg.scheme)
	return serve(ctx, listener, handler, log)
}

func parse(args []string, env func(string) string, out io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.StringVar(&cfg.addr, "addr", "127.0.0.1:9000", "address to listen at")
	flags.StringVar(&cfg.secret, "secret", "", "signing secret that the sender has; better in the environment as WEBHOOK_SECRET, since every user of the machine sees a command line")
	flags.StringVar(&cfg.scheme, "scheme", "meshia", "signature to demand: meshia (X-Meshia-Signature) or standard (Standard Webhooks)")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		flags.Usage()
		return cfg, err
	case err != nil:
		return cfg, err
	case flags.NArg() > 0:
		return cfg, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if cfg.secret == "" {
		cfg.secret = env("WEBHOOK_SECRET")
	}
	if cfg.secret == "" {
		return cfg, errors.New("no secret: set -secret or WEBHOOK_SECRET")
	}
	return cfg, nil
}

// newHandler verifies, then prints. A receiver that acts on events is rather a webhook.Receiver, which also drops
// duplicates: see ./examples/uses.
func newHandler(cfg config, out io.Writer, log *slog.Logger) (http.Handler, error) {
	vc := webhook.VerifierConfig{Logger: log} // which is told why a request is refused; whoever sent it is not
	switch cfg.scheme {
	case "meshia":
	case "standard":
		vc.Scheme = webhook.Standard
		vc.RawSecret = true // a secret that somebody typed is its bytes; one that was generated, whsec_..., is base64
	default:
		return nil, fmt.Errorf("-scheme %q is neither meshia nor standard", cfg.scheme)
	}
	verifier, err := webhook.NewVerifier([]string{cfg.secret}, &vc)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // requests come at the same time
	return verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, _ := webhook.EventFromContext(r.Context())
		mu.Lock()
		_, err := out.Write(pretty(e, r.Header))
		mu.Unlock()
		if err != nil {
			log.Error("printing failed", "error", err)
			w.WriteHeader(http.StatusInternalServerError) // the sender keeps it, and tries again
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})), nil
}

// pretty is a line about the request and the body, indented.
func pretty(e webhook.Event, header http.Header) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "── %s  id %s  delivery %s  attempt %s\n", e.Type, visible(e.ID), visible(header.Get(webhook.HeaderDelivery)), visible(header.Get(webhook.HeaderAttempt)))
	if json.Indent(&b, e.Body, "", "  ") != nil { // a body that was verified is JSON
		b.Write(e.Body)
	}
	b.WriteString("\n\n")
	return b.Bytes()
}

// visible makes a header that no signature covers fit for a terminal.
func visible(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s
}

// serve answers until ctx ends, and then finishes what it has begun.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping")
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return server.Shutdown(bounded)
}
