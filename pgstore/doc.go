// Package pgstore keeps webhook's endpoints, events, deliveries and attempts in Postgres.
package pgstore
