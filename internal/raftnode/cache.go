package raftnode

import (
	"sync"

	"github.com/hashicorp/raft"
)

// cache keeps the newest entries in memory, for the apply loop and for followers that are nearly up to date. It is
// bounded in bytes, unlike raft's own, because one entry may hold 256 commands.
type cache struct {
	*checked
	maxBytes, maxEntries int

	mu sync.RWMutex
	// Invariant: entries are those of the indexes first, first+1, ...; bytes is the sum of their sizes.
	entries []*raft.Log
	first   uint64
	bytes   int
}

func newCache(c *checked, maxBytes, maxEntries int) *cache {
	return &cache{checked: c, maxBytes: maxBytes, maxEntries: maxEntries}
}

func sizeOf(l *raft.Log) int { return len(l.Data) + len(l.Extensions) + 128 }

// GetLog gives an entry from memory or else from disk.
func (c *cache) GetLog(index uint64, l *raft.Log) error {
	c.mu.RLock()
	if index >= c.first && index-c.first < uint64(len(c.entries)) {
		*l = *c.entries[index-c.first]
		c.mu.RUnlock()
		return nil
	}
	c.mu.RUnlock()
	return c.checked.GetLog(index, l)
}

// StoreLog stores one entry.
func (c *cache) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries on disk and then keeps them in memory.
func (c *cache) StoreLogs(logs []*raft.Log) error {
	if err := c.checked.StoreLogs(logs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range logs {
		if l.Index != c.first+uint64(len(c.entries)) {
			c.reset()
		}
		if len(c.entries) == 0 {
			c.first = l.Index
		}
		c.entries = append(c.entries, l)
		c.bytes += sizeOf(l)
	}
	c.evict()
	return nil
}

// DeleteRange forgets the entries and deletes them.
func (c *cache) DeleteRange(low, high uint64) error {
	c.mu.Lock()
	if end := c.first + uint64(len(c.entries)); low < end && high >= c.first {
		c.reset()
	}
	c.mu.Unlock()
	return c.checked.DeleteRange(low, high)
}

func (c *cache) reset() { c.entries, c.first, c.bytes = nil, 0, 0 }

// evict drops the oldest entries above the bounds.
func (c *cache) evict() {
	drop := 0
	for drop < len(c.entries) && (c.bytes > c.maxBytes || len(c.entries)-drop > c.maxEntries) {
		c.bytes -= sizeOf(c.entries[drop])
		c.entries[drop] = nil
		drop++
	}
	c.entries = c.entries[drop:]
	c.first += uint64(drop)
}
