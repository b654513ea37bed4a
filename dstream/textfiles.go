package dstream

import (
	"bufio"

	"github.com/raftstream/raftstream/dstream/rdd"
)

// SaveAsTextFiles writes every batch as a directory <prefix>-<batch ms>[.<suffix>] of one file per partition, with one
// record a line: a KV as key, tab, value; what has AppendText or MarshalText by that; anything else by Go's default
// format. The directory is complete when it holds _SUCCESS, which names the application, the parts and their checksums;
// nothing partial is ever visible under its final name, and a batch that is run again changes nothing (rule 13).
//
// prefix must lead to the same directory on every executor: the coordinator looks for what the others wrote. A relative
// one counts from the working directory of each process. Applications that run at the same time need prefixes of
// their own.
func (s *DStream[T]) SaveAsTextFiles(prefix, suffix string) {
	text := rdd.TextOf[T]()
	s.saveFiles("saveAsTextFiles", "text", prefix, suffix, func(w *bufio.Writer) partWriter[T] {
		return &lineWriter[T]{w: w, text: text}
	})
}

// lineWriter writes a record a line.
type lineWriter[T any] struct {
	w    *bufio.Writer
	text rdd.Text[T]
	line []byte
}

func (l *lineWriter[T]) write(v *T) (err error) {
	if l.line, err = l.text(l.line[:0], v); err != nil {
		return err
	}
	l.line = append(l.line, '\n')
	_, err = l.w.Write(l.line)
	return err
}

func (l *lineWriter[T]) end() error { return nil }
