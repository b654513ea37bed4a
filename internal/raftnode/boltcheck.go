package raftnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What bbolt's file format, version 2, is made of. Integers are in the byte order of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHead    = 16 // id 8, flags 2, count 2, overflow 4
	pageElement = 16 // of a branch: pos 4, key size 4, child 8; of a leaf: flags 4, pos 4, key size 4, value size 4
	metaSize    = 64 // magic 4, version 4, page size 4, flags 4, root 8+8, freelist 8, high water 8, tx 8, checksum 8

	pageBranch = 0x01
	pageLeaf   = 0x02
	pageMeta   = 0x04

	leafBucket = 0x01
	bucketHead = 16 // root page 8, sequence 8; an inline bucket has root 0 and its page behind

	maxDepth = 32
)

var order = binary.NativeEndian

// boltFile checks the structure of a bbolt file before bbolt maps it: bbolt trusts its pages, so that damage would
// end in a fault, a loop or a lost tail instead of an error. Only what the newest meta page reaches is read.
type boltFile struct {
	r        io.ReaderAt
	size     int64
	pageSize int64
	pages    uint64          // high water mark: ids are below it
	seen     map[uint64]bool // pages reached
}

// checkBolt returns an error that says what is wrong with the file. A missing or empty file is in order: bbolt makes
// it. The file must not be open for writing.
func checkBolt(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if info.Size() == 0 {
		return nil
	}
	b := &boltFile{r: f, size: info.Size(), seen: map[uint64]bool{}}
	if err := b.check(); err != nil {
		return damaged(path, "%v", err)
	}
	return nil
}

func (b *boltFile) check() error {
	first, err := b.meta(0)
	if err != nil {
		return fmt.Errorf("meta page 0: %w", err)
	}
	b.pageSize = int64(order.Uint32(first[8:]))
	if b.pageSize < 512 || b.pageSize > 1<<16 || b.pageSize&(b.pageSize-1) != 0 {
		return fmt.Errorf("page size is %d, expected a power of two from 512 to 65536", b.pageSize)
	}
	second, err := b.meta(b.pageSize)
	if err != nil {
		return fmt.Errorf("meta page 1: %w", err)
	}
	newest := first
	if order.Uint64(second[48:]) > order.Uint64(first[48:]) {
		newest = second
	}
	b.pages = order.Uint64(newest[40:])
	if int64(b.pages) < 0 || int64(b.pages) > b.size/b.pageSize {
		return fmt.Errorf("the file has %d pages, expected %d: it is cut short", b.size/b.pageSize, b.pages)
	}
	return b.tree(order.Uint64(newest[16:]), nil, nil, 0, true)
}

// meta reads the meta page at offset. Both must be whole: the older one alone would be a state of the past, in which
// a vote or an entry that others count on is missing. A meta page is within one sector, so a power cut does not
// tear it.
func (b *boltFile) meta(offset int64) ([]byte, error) {
	page := make([]byte, pageHead+metaSize)
	if _, err := b.r.ReadAt(page, offset); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	m := page[pageHead:]
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8])
	switch {
	case order.Uint16(page[8:]) != pageMeta:
		return nil, errors.New("is not marked as one")
	case order.Uint32(m) != boltMagic || order.Uint32(m[4:]) != boltVersion:
		return nil, errors.New("is not of bbolt's format, version 2")
	case order.Uint64(m[56:]) != sum.Sum64():
		return nil, errors.New("checksum does not match")
	}
	return m, nil
}

// tree checks the page and what is below it: keys are from low up to, not including, high; nil is no bound.
func (b *boltFile) tree(page uint64, low, high []byte, depth int, buckets bool) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d: the tree is deeper than %d", page, maxDepth)
	}
	if page < 2 || page >= b.pages || b.seen[page] {
		return fmt.Errorf("page %d: is outside of the file or reached twice", page)
	}
	b.seen[page] = true
	head := make([]byte, pageHead)
	if _, err := b.r.ReadAt(head, int64(page)*b.pageSize); err != nil {
		return fmt.Errorf("page %d: %w", page, err)
	}
	overflow := uint64(order.Uint32(head[12:]))
	if page+overflow >= b.pages {
		return fmt.Errorf("page %d: runs over the end of the file", page)
	}
	for i := uint64(1); i <= overflow; i++ {
		if b.seen[page+i] {
			return fmt.Errorf("page %d: overlaps page %d", page, page+i)
		}
		b.seen[page+i] = true
	}
	body := make([]byte, int64(overflow+1)*b.pageSize)
	if _, err := b.r.ReadAt(body, int64(page)*b.pageSize); err != nil {
		return fmt.Errorf("page %d: %w", page, err)
	}
	if err := b.page(body, page, low, high, depth, buckets); err != nil {
		return fmt.Errorf("page %d: %w", page, err)
	}
	return nil
}

// element is one key of a page.
type element struct {
	key, value []byte
	child      uint64
	bucket     bool
}

// elements parses a page. bbolt writes keys and values one after the other, without gaps, behind the table of
// elements; so a wrong count, position or size shows.
func elements(page []byte) ([]element, error) {
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != pageBranch && flags != pageLeaf {
		return nil, fmt.Errorf("flags are %#x, expected %#x or %#x", flags, pageBranch, pageLeaf)
	}
	next := pageHead + count*pageElement
	if next > len(page) {
		return nil, fmt.Errorf("%d elements do not fit", count)
	}
	found := make([]element, 0, count)
	for i := range count {
		at := pageHead + i*pageElement
		e := page[at : at+pageElement]
		pos, keySize, valueSize := order.Uint32(e), order.Uint32(e[4:]), uint32(0)
		if flags == pageLeaf {
			pos, keySize, valueSize = order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:])
			if mark := order.Uint32(e); mark&^leafBucket != 0 {
				return nil, fmt.Errorf("element %d has flags %#x", i, mark)
			}
		}
		end := uint64(next) + uint64(keySize) + uint64(valueSize)
		if at+int(pos) != next || end > uint64(len(page)) {
			return nil, fmt.Errorf("element %d is not where it should be", i)
		}
		split := next + int(keySize)
		f := element{key: page[next:split], value: page[split:end]}
		if flags == pageBranch {
			f.child = order.Uint64(e[8:])
		} else {
			f.bucket = order.Uint32(e)&leafBucket != 0
		}
		found = append(found, f)
		next = int(end)
	}
	return found, nil
}

func (b *boltFile) page(body []byte, id uint64, low, high []byte, depth int, buckets bool) error {
	if got := order.Uint64(body); got != id {
		return fmt.Errorf("calls itself page %d", got)
	}
	found, err := elements(body)
	if err != nil {
		return err
	}
	if err := ordered(found, low, high); err != nil {
		return err
	}
	branch := order.Uint16(body[8:]) == pageBranch
	if len(found) == 0 && (branch || depth > 0) {
		return errors.New("has no elements")
	}
	for i, e := range found {
		switch {
		case branch:
			end := high
			if i+1 < len(found) {
				end = found[i+1].key
			}
			if err := b.tree(e.child, e.key, end, depth+1, buckets); err != nil {
				return err
			}
		case e.bucket != buckets:
			return fmt.Errorf("element %d: bucket is %v, expected %v", i, e.bucket, buckets)
		case e.bucket:
			if err := b.bucket(e); err != nil {
				return fmt.Errorf("bucket %q: %w", e.key, err)
			}
		}
	}
	return nil
}

func ordered(found []element, low, high []byte) error {
	for i, e := range found {
		if i == 0 && low != nil && bytes.Compare(e.key, low) < 0 ||
			i > 0 && bytes.Compare(e.key, found[i-1].key) <= 0 ||
			high != nil && bytes.Compare(e.key, high) >= 0 {
			return fmt.Errorf("element %d is not in order", i)
		}
	}
	return nil
}

// bucket checks a bucket of the root: a tree of its own, or inline a single leaf behind the head.
func (b *boltFile) bucket(e element) error {
	if len(e.value) < bucketHead {
		return fmt.Errorf("has %d bytes, expected at least %d", len(e.value), bucketHead)
	}
	if root := order.Uint64(e.value); root != 0 {
		return b.tree(root, nil, nil, 0, false)
	}
	inline := e.value[bucketHead:]
	if len(inline) < pageHead || order.Uint16(inline[8:]) != pageLeaf {
		return errors.New("is inline, but no leaf")
	}
	found, err := elements(inline)
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.bucket {
			return errors.New("has a bucket in it, expected none")
		}
	}
	return ordered(found, nil, nil)
}
