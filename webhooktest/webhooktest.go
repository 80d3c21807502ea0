// Package webhooktest helps to test both sides of webhooks, as net/http/httptest helps to test HTTP.
//
// A service that emits asks what it emitted with [Record] and [RequireEmitted], and how it bears endpoints that fail
// with a [Receiver], whose [Answer]s are scripted. [Transport] carries requests to it in memory, so that a test in a
// [testing/synctest] bubble sees three days of retries in no time:
//
//	receiver := webhooktest.NewReceiver(t,
//		webhooktest.Answer{Status: 503}, webhooktest.Answer{Fault: webhooktest.Hang}, webhooktest.Answer{})
//	d, err := webhook.NewDispatcher(store, &webhook.Config{UnguardedTransport: webhooktest.Transport(receiver)})
//
// A service that receives makes the requests that it would get with [SignedRequest].
package webhooktest
