package reader

import "sync"

// Cache keeps decoded answers between readings of one BMC: for a 304, and for a 200 with the same
// body, which is what BMCs without ETags send. Use one Cache for each BMC, which is more than its
// address: see Read. It is safe for concurrent use. What it holds is the size of the BMC's tree,
// about 1 MB.
type Cache struct {
	mu      sync.Mutex
	entries map[string]*cached // by path with query
	machine string             // whose answers they are
}

// belongs tells whether the answers in the cache are this machine's, and empties it when not.
func (c *Cache) belongs(machine string) bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.machine
	c.machine = machine
	if before == "" || before == machine {
		return true
	}
	clear(c.entries)
	return false
}

type cached struct {
	etag  string
	body  string
	v     value
	links []link
	bad   []badLink
}

// NewCache gives an empty cache.
func NewCache() *Cache { return &Cache{entries: map[string]*cached{}} }

func (c *Cache) get(path string) *cached {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[path]
}

func (c *Cache) put(path string, e *cached) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[path] = e
}

// keep drops every answer that the last reading did not use, so that a BMC with ever new paths
// does not fill the memory.
func (c *Cache) keep(used map[string]bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for path := range c.entries {
		if !used[path] {
			delete(c.entries, path)
		}
	}
}
