package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshia/webhook"
)

// verdict keeps what a run failed with.
type verdict struct{ text string }

type stop struct{}

func (v *verdict) Helper() {}
func (v *verdict) Fatalf(_ string, args ...any) {
	v.text = args[0].(string)
	panic(stop{})
}

// script is a run without chance that comes by everything: a retry, a hang, a crash, a gap, a rotation, a redelivery,
// a ping.
func (w *world) script(t failer) {
	n := w.start()
	secret := secretText(1)
	key := w.add(n, "", []string{"*"}, secret, true)
	other := w.add(n, "acme", []string{"*"}, webhook.Secret{}, false)
	turn := func(m mode) { w.receiver(key, func(r *receiver) { r.mode = m }) }
	emit := func() {
		w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
		w.emit(n, other.tenant, w.newEvent(0, "", "sess_1"))
	}
	pass := func(d time.Duration) {
		time.Sleep(d)
		w.check(t)
	}
	emit()
	pass(time.Second)
	turn(mode{name: "failing", status: 500})
	emit()
	pass(20 * time.Second)
	turn(modes[0])
	pass(2 * time.Minute)
	w.rotate(n, key, secretText(2), time.Hour)
	emit()
	pass(time.Second)
	w.swap(key)
	emit()
	pass(time.Minute)
	w.setEnabled(n, key, false)
	emit()
	pass(time.Second)
	w.setEnabled(n, key, true)
	emit()
	pass(time.Second)
	turn(mode{name: "hanging", hang: true})
	emit()
	pass(time.Second)
	n.crash()
	n = w.start()
	pass(time.Minute)
	turn(modes[0])
	pass(10 * time.Minute)
	// An outcome that comes when its lease is over and the next attempt is under way.
	w.start()
	turn(mode{name: "failing", status: 500})
	n.store.planNext("Record", fault{kind: stalls, delay: 38 * time.Second})
	w.emit(n, key.tenant, w.newEvent(0, "", "sess_1"))
	pass(time.Second)
	turn(mode{name: "hanging", hang: true})
	pass(time.Minute)
	turn(modes[0])
	pass(10 * time.Minute)
	for range 3 { // slow, so that several wait at once
		emit()
	}
	pass(time.Minute)
	w.finish(t)
}

// judgeScript runs the script and returns what was wrong.
func judgeScript(t *testing.T, change func(*settings)) (wrong string) {
	t.Helper()
	return judge(t, change, (*world).script)
}

func judge(t *testing.T, change func(*settings), script func(*world, failer)) (wrong string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		s := standard()
		if change != nil {
			change(&s)
		}
		w := newWorld(s)
		var v verdict
		func() {
			defer func() {
				if p := recover(); p != nil && p != (stop{}) {
					panic(p)
				}
			}()
			defer w.end()
			script(w, &v)
		}()
		wrong = v.text
	})
	return wrong
}
