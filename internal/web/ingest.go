package web

import (
	"net/http"
	"sync"
)

// Ingest is the paths of the door at which sources take items. They have no token of the process's: who may send is the source's to say.
// The zero value has none. Its methods may be called from several goroutines.
type Ingest struct {
	mu sync.RWMutex
	at map[string]http.Handler
}

// Handle has h answer at a path, exactly that one, in the place of whoever did; nil takes the path away.
func (i *Ingest) Handle(path string, h http.Handler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at == nil {
		i.at = map[string]http.Handler{}
	}
	i.at[path] = h
	if h == nil {
		delete(i.at, path)
	}
}

// ServeHTTP implements http.Handler.
func (i *Ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.RLock()
	h := i.at[r.URL.Path]
	i.mu.RUnlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}
