package netguard_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// zone is a DNS server in this process: what it answers to the nth look-up of a name.
type zone struct {
	answer func(name string, n int) []netip.Addr // none: the name does not exist
	cname  map[string]string

	mu    sync.Mutex
	asked map[string]int // by name and type
}

const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
)

// resolver asks z and nothing else. A net.Pipe is no PacketConn, so the exchange has the framing of TCP.
func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go z.serve(server)
		return client, nil
	}}
}

func (z *zone) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size uint16
		if binary.Read(conn, binary.BigEndian, &size) != nil {
			return
		}
		query := make([]byte, size)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := z.reply(query)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// reply answers the one question of query (RFC 1035, section 4).
func (z *zone) reply(query []byte) []byte {
	var labels []string
	at := 12
	for query[at] != 0 {
		size := int(query[at])
		labels = append(labels, string(query[at+1:at+1+size]))
		at += 1 + size
	}
	question := query[12 : at+5]
	qtype := binary.BigEndian.Uint16(query[at+1:])
	name := strings.ToLower(strings.Join(labels, "."))

	addrs := z.lookup(name, qtype)
	var records []byte
	count := uint16(0)
	add := func(owner string, rtype uint16, data []byte) {
		records = append(records, encodeName(owner)...)
		records = binary.BigEndian.AppendUint16(records, rtype)
		records = append(records, 0, 1, 0, 0, 0, 0) // class IN, TTL 0
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
		count++
	}
	owner := name
	if target, ok := z.cname[name]; ok {
		add(owner, typeCNAME, encodeName(target))
		owner = target
	}
	for _, a := range addrs {
		if (qtype == typeA && a.Is4()) || (qtype == typeAAAA && a.Is6()) {
			add(owner, qtype, a.AsSlice())
		}
	}

	flags := uint16(0x8180) // a recursive answer
	if len(addrs) == 0 {
		flags |= 3 // NXDOMAIN
	}
	reply := append([]byte(nil), query[:2]...)
	for _, field := range []uint16{flags, 1, count, 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, field)
	}
	return append(append(reply, question...), records...)
}

func (z *zone) lookup(name string, qtype uint16) []netip.Addr {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	key := name + "/" + string(rune(qtype))
	n := z.asked[key]
	z.asked[key]++
	return z.answer(name, n)
}

func encodeName(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}
