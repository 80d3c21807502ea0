package webhook

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
)

// Metrics are an experiment's named figures. A diverged run has NaN and infinities among them, for which JSON has no
// number (RFC 8259, section 6): they are written as null, and null is read as NaN, so that nobody mistakes them for 0.
type Metrics map[string]float64

// MarshalJSON writes the metrics in the order of their names. No metrics are an empty object.
func (m Metrics) MarshalJSON() ([]byte, error) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)

	b := []byte{'{'}
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		if v := m[name]; math.IsNaN(v) || math.IsInf(v, 0) {
			b = append(b, "null"...)
		} else {
			b = appendFloat(b, v)
		}
	}
	return append(b, '}'), nil
}

// appendString writes s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := encode(s) // a string always marshals; what is not UTF-8 becomes U+FFFD
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendFloat writes the shortest form that reads back as v, with an exponent only where the plain digits would be
// long (RFC 8785 draws the line there too).
func appendFloat(b []byte, v float64) []byte {
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

// UnmarshalJSON reads an object of numbers and nulls.
func (m *Metrics) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	var in map[string]*float64
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*m = make(Metrics, len(in))
	for name, v := range in {
		if v == nil {
			(*m)[name] = math.NaN()
			continue
		}
		(*m)[name] = *v
	}
	return nil
}
