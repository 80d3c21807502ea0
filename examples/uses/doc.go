// Package uses has an example for each thing that webhooks are for: triggering an external system, updating a
// dashboard, notifying Slack, starting a deployment, logging to one's own database. Each is a receiver as one would
// write it, against a stand-in for the other system.
package uses
