// Package receivers tries the receivers of docs/receivers: each is started and sent requests that it must accept and
// requests that it must not.
package receivers
