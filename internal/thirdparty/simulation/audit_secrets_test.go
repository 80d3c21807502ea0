package simulation

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshia/webhook"
)

// What nobody may read: secrets, and what belongs to another tenant.

// auditSecrets looks for secrets in whatever a reader can get, printed in every usual way, and in the log.
func (l *ledger) auditSecrets() {
	var told []string
	tell := func(what string, v any, formats string) {
		text, err := json.Marshal(v)
		if err != nil {
			l.complain("READ: %v", err)
		}
		told = append(told, what+string(text), what+fmt.Sprintf(formats, v))
	}
	ctx := context.Background()
	for _, tenant := range tenants {
		endpoints, err := l.store.Endpoints(ctx, tenant)
		if err != nil {
			l.complain("READ: %v", err)
		}
		for i := range endpoints {
			endpoints[i].Secrets, endpoints[i].StoredHeaders = nil, nil // what stores hold is the dispatcher's to seal: see TestAnEndpointThatIsReadShowsNoSecret
		}
		tell("endpoints", endpoints, "%+v %[1]v %#[1]v")
		for cursor := ""; ; {
			page, err := l.store.Deliveries(ctx, tenant, webhook.DeliveryFilter{Cursor: cursor})
			if err != nil {
				l.complain("READ: %v", err)
				break
			}
			tell("deliveries", page, "%+v")
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
	}
	told = append(told, "log"+l.logged.String(), "complaints"+strings.Join(l.complaints, "\n"))
	slices.Sort(l.secrets)
	for _, s := range slices.Compact(l.secrets) {
		for _, form := range secretForms(s) {
			for _, text := range told {
				if strings.Contains(text, form) {
					l.complain("SECRET: a secret can be read in the %.10s", text)
				}
			}
		}
	}
}

// secretForms are the ways in which a secret may be printed: as it is, and as its bytes.
func secretForms(s string) []string {
	return []string{s, base64.StdEncoding.EncodeToString([]byte(s)), hex.EncodeToString([]byte(s)), strings.Trim(fmt.Sprint([]byte(s)), "[]")}
}

// auditTenants asks for each tenant's things as another one.
func (l *ledger) auditTenants() {
	ctx := context.Background()
	for i, key := range l.w.endpoints {
		if other := tenants[(slices.Index(tenants, key.tenant)+1+i%2)%len(tenants)]; l.endpoints[endpointKey{other, key.id}] == nil {
			if _, err := l.store.Endpoint(ctx, other, key.id); !errors.Is(err, webhook.ErrNotFound) {
				l.complain("TENANT: an endpoint of %q is seen by %q: %v", key.tenant, other, err)
			}
		}
	}
	for id, d := range l.deliveries {
		other := tenants[(slices.Index(tenants, d.tenant)+1)%len(tenants)]
		if _, err := l.store.Delivery(ctx, other, id); !errors.Is(err, webhook.ErrNotFound) {
			l.complain("TENANT: a delivery of %q is seen by %q: %v", d.tenant, other, err)
		}
	}
}
