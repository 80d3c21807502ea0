// Package signature holds the signatures against other people's code: the Standard Webhooks library for Go, decision
// by decision, and as receivers in processes of their own the one for JavaScript and the Python function of the
// documentation.
package signature
