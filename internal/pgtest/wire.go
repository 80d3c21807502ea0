package pgtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// Exec runs SQL in a database, several statements perhaps, and drops what they return. It speaks just enough of the
// protocol (PostgreSQL documentation, "Frontend/Backend Protocol", version 3.0) for a server that trusts its socket.
func (c *Cluster) Exec(database, sql string) error {
	conn, err := net.Dial("unix", filepath.Join(c.dir, ".s.PGSQL.5432"))
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(startLimit))
	in := bufio.NewReader(conn)

	startup := binary.BigEndian.AppendUint32(nil, 3<<16)
	startup = append(startup, "user\x00postgres\x00database\x00"+database+"\x00\x00"...)
	if err := send(conn, 0, startup); err != nil {
		return err
	}
	if err := answer(in); err != nil {
		return fmt.Errorf("pgtest: connecting to %s: %w", database, err)
	}
	if err := send(conn, 'Q', append([]byte(sql), 0)); err != nil {
		return err
	}
	if err := answer(in); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	return send(conn, 'X', nil)
}

// send writes a message; the first one of a connection has no kind.
func send(w io.Writer, kind byte, body []byte) error {
	var out []byte
	if kind != 0 {
		out = append(out, kind)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)+4))
	if _, err := w.Write(append(out, body...)); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	return nil
}

// answer reads until the server is ready for the next query, or refuses to go on.
func answer(in *bufio.Reader) error {
	var failed error
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return errors.Join(failed, err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(in, body); err != nil {
			return errors.Join(failed, err)
		}
		switch head[0] {
		case 'E':
			failed = errors.New(message(body))
		case 'R':
			if binary.BigEndian.Uint32(body) != 0 {
				return errors.New("the server wants a password")
			}
		case 'Z':
			return failed
		}
	}
}

// message is the readable field of an error's fields, each a letter and a text.
func message(fields []byte) string {
	for _, field := range strings.Split(string(fields), "\x00") {
		if text, ok := strings.CutPrefix(field, "M"); ok {
			return text
		}
	}
	return "an error without a message"
}
