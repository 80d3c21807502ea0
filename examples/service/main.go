// Service is what a service that emits webhooks looks like: it keeps endpoints, takes events over HTTP, sends them,
// and shows its log.
//
//	go run ./examples/service -allow-insecure-targets
//	go run ./examples/service -store sqlite:webhooks.db
//	go run ./examples/service -store postgres://localhost/app
//
// On Postgres any number of them may run at once, those with -workers=false to emit only; on one SQLite file, any
// number on one machine. WEBHOOK_SEALING_KEYS=ID:KEY, with a KEY of `openssl rand -base64 32`, seals the secrets.
//
// It answers POST /webhooks, POST /emit, GET /deliveries and GET /healthz; the handlers describe them, and
// examples/README.md has requests to try.
// It asks nobody who they are: keep it on a loopback address, or behind something that does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/meshia/webhook"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

type config struct {
	addr            string
	store           string
	workers         bool
	insecureTargets bool
	retryInitial    time.Duration
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out, logs io.Writer) (err error) {
	cfg, err := parse(args, out)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(logs, nil))
	store, closeStore, err := openStore(ctx, cfg.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	settings := cfg.dispatcher(log)
	if settings.Sealer, err = sealer(); err != nil {
		return err
	}
	d, err := webhook.NewDispatcher(store, settings)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.addr)
	if err != nil {
		return err
	}
	kind, _, _ := strings.Cut(cfg.store, ":") // what follows may have a password in it
	log.Info("listening", "addr", listener.Addr().String(), "store", kind, "workers", cfg.workers, "insecure_targets", cfg.insecureTargets, "retry_initial", cfg.retryInitial)
	return serve(ctx, listener, d, cfg.workers, log)
}

func parse(args []string, out io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.StringVar(&cfg.addr, "addr", "127.0.0.1:8080", "address to listen at")
	flags.StringVar(&cfg.store, "store", "memory", "where events and their log are kept: memory (lost when the process ends), sqlite:FILE, or postgres://...")
	flags.BoolVar(&cfg.workers, "workers", true, "send what is due; without it the service accepts events and other processes on its store send them")
	flags.BoolVar(&cfg.insecureTargets, "allow-insecure-targets", false, "accept webhooks with http:// URLs, on loopback addresses and on any port; for development")
	flags.DurationVar(&cfg.retryInitial, "retry-initial", 10*time.Second, "about how long to wait before the first retry; the second and the third wait 6 times as long as the one before")
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
	case cfg.retryInitial <= 0:
		return cfg, fmt.Errorf("-retry-initial %v must be positive", cfg.retryInitial)
	}
	return cfg, nil
}

// dispatcher is the dispatcher's configuration: the defaults, but for what the flags say.
func (cfg config) dispatcher(log *slog.Logger) *webhook.Config {
	c := &webhook.Config{Retry: webhook.Backoff{Initial: cfg.retryInitial}, Logger: log}
	if cfg.insecureTargets {
		c.InsecureHTTP = true
		c.AllowPrefixes = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		c.AllowAnyPort = true
	}
	return c
}

// grace is how long requests may take once the service is told to stop.
const grace = 5 * time.Second

// serve answers requests and sends events until ctx ends. It then stops in this order: no more requests, so that no
// more events come in; then no more deliveries, once those that are in flight are through.
func serve(ctx context.Context, listener net.Listener, d *webhook.Dispatcher, workers bool, log *slog.Logger) error {
	requests, cutRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cutRequests()
	server := &http.Server{
		BaseContext:       func(net.Listener) context.Context { return requests },
		Handler:           newAPI(d, webhook.DefaultRegistry(), log),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      45 * time.Second, // adding a webhook waits for its ping
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	sent := make(chan error, 1)
	if workers {
		go func() { sent <- d.Run(sending) }()
	} else {
		sent <- nil
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	var err error
	select {
	case err = <-served:
		log.Error("cannot accept requests any more", "error", err)
	case <-ctx.Done():
		log.Info("stopping: no more requests")
		defer time.AfterFunc(grace, cutRequests).Stop() // a ping that takes longer ends then, and its request is answered
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*grace)
		defer cancel()
		if server.Shutdown(bounded) != nil {
			log.Warn("connections were cut off")
			_ = server.Close() // its error is the listener's, which is closed
		}
	}
	log.Info("stopping: waiting for deliveries in flight")
	stopSending()
	err = errors.Join(err, <-sent)

	waiting, readErr := d.Deliveries(context.WithoutCancel(ctx), webhook.DeliveryFilter{State: webhook.DeliveryPending, Limit: 1})
	log.Info("stopped", "deliveries_waiting", len(waiting.Deliveries) > 0)
	return errors.Join(err, readErr)
}
