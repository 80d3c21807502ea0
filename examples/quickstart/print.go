package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/meshia/webhook"
)

func printSetup(out io.Writer, endpoint webhook.Endpoint, ping webhook.Delivery, retries webhook.Schedule) {
	waits := make([]string, len(retries))
	for i, wait := range retries {
		waits[i] = wait.String()
	}
	a := ping.Attempts[0]
	fmt.Fprintf(out, `A service emits webhooks; a receiver on this machine verifies them.

  endpoint   %s
             %s, subscribes to %s, signs with a generated secret
  ping       %s, status %s, %s: the endpoint is %s
  retries    after %s

`, endpoint.URL, endpoint.ID, strings.Join(endpoint.Events, ", "), result(a), status(a), latency(a), endpoint.Health.State, strings.Join(waits, ", "))
}

// printLog prints one line for each attempt. Its error says that something was not delivered.
func printLog(out io.Writer, deliveries []webhook.Delivery) error {
	rows := [][]any{{"EVENT", "ATTEMPT", "STATUS", "LATENCY", "RESULT", "NEXT TRY"}}
	undelivered, widest := 0, 0
	for _, d := range deliveries {
		for i, a := range d.Attempts {
			rows = append(rows, []any{d.EventType, strconv.Itoa(a.Number), status(a), latency(a), result(a), nextTry(d, i)})
			widest = max(widest, len(result(a)))
		}
		if d.State != webhook.DeliverySucceeded {
			undelivered++
		}
	}

	fmt.Fprint(out, "\nThe delivery log, the oldest first:\n\n")
	format := fmt.Sprintf("  %%-22s%%7s%%9s%%11s   %%-%ds   %%s\n", widest)
	for _, row := range rows {
		fmt.Fprintf(out, format, row...)
	}
	fmt.Fprintf(out, "\n%d deliveries, the ping included, %d attempts, %d undelivered.\n", len(deliveries), len(rows)-1, undelivered)
	if undelivered > 0 {
		return fmt.Errorf("%d of %d deliveries failed", undelivered, len(deliveries))
	}
	return nil
}

func status(a webhook.Attempt) string {
	if a.Status == 0 {
		return "-" // no response came
	}
	return strconv.Itoa(a.Status)
}

func latency(a webhook.Attempt) string {
	return fmt.Sprintf("%.1f ms", float64(a.Latency)/float64(time.Millisecond))
}

func result(a webhook.Attempt) string {
	if a.Detail == "" {
		return string(a.Result)
	}
	return fmt.Sprintf("%s: %s", a.Result, a.Detail)
}

// nextTry says how long after the end of an attempt the next one came.
func nextTry(d webhook.Delivery, i int) string {
	if i+1 == len(d.Attempts) {
		return "-"
	}
	a, next := d.Attempts[i], d.Attempts[i+1]
	return fmt.Sprintf("in %.1f s", next.StartedAt.Sub(a.StartedAt.Add(a.Latency)).Seconds())
}
