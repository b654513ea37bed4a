package files_test

import (
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/files"
)

// Whatever a part's data are: reading gives lines of the directory's files, or an error.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	write(f, dir, "a", "1\n2\n", 1)
	s := source(f, dir, files.Settle(0))
	for _, part := range plan(f, s, newLedger()).Parts {
		f.Add(part.Data)
	}
	for _, data := range []string{
		``, `{}`, `null`, `{"v":2,"name":"a"}`, `{"v":1,"name":"../a"}`, `{"v":1,"name":".."}`,
		`{"v":1,"name":"a","size":4,"offset":-1,"length":2}`, `{"v":1,"name":"a","size":4,"offset":9223372036854775807,"length":1}`,
		`{"v":1,"name":"a","size":4,"length":1099511627776}`,
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		err := s.Read(t.Context(), connector.Part{Data: data}, func(line string) bool {
			n++
			if line != "1" && line != "2" {
				t.Fatalf("line %q", line)
			}
			return true
		})
		if err != nil && n > 0 {
			t.Fatalf("%d lines, then %v", n, err)
		}
	})
}
