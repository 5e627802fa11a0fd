package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

var errEnough = errors.New("enough")

// next collects the texts of events until it has want of them.
func next(ctx context.Context, c *api.Client, f api.EventFilter, want int, began chan<- struct{}) (got []string, err error) {
	err = c.Follow(ctx, f, func(l api.StreamLine) error {
		if began != nil {
			close(began)
			began = nil
		}
		if l.Event != nil {
			got = append(got, l.Event.Text)
		}
		if len(got) == want {
			return errEnough
		}
		return nil
	})
	return got, err
}

func TestFollowTellsWhatIsKeptAndWhatHappens(t *testing.T) {
	b := apitest.Healthy()
	c := cluster(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began, done := make(chan struct{}), make(chan struct{})
	var got []string
	var err error
	go func() {
		defer close(done)
		got, err = next(ctx, c["kvm2"].client, api.EventFilter{Limit: 1}, 3, began)
	}()
	<-began
	b.Emit(fsm.Event{Type: "x", Text: "one"})
	b.Emit(fsm.Event{Type: "x", Text: "two"})
	<-done
	if !errors.Is(err, errEnough) || strings.Join(got, ", ") != "mail is protected, by policy, one, two" {
		t.Errorf("followed %q, %v", got, err)
	}
}

func TestFollowFilters(t *testing.T) {
	b := apitest.Healthy()
	c := cluster(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b.Emit(fsm.Event{Type: "x", VM: "db1", Text: "about db1"})
	b.Emit(fsm.Event{Type: "x", VM: "db2", Text: "about db2"})
	b.Emit(fsm.Event{Type: "x", VM: "db1", Text: "again"})
	got, err := next(ctx, c["kvm2"].client, api.EventFilter{VM: "db1", After: 104}, 2, nil)
	if !errors.Is(err, errEnough) || strings.Join(got, ", ") != "about db1, again" {
		t.Errorf("followed %q, %v", got, err)
	}
}

func TestFollowSaysWhatWasLost(t *testing.T) {
	c := cluster(t, apitest.Healthy()) // keeps 101 to 104
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var lost uint64
	err := c["kvm2"].client.Follow(ctx, api.EventFilter{After: 90}, func(l api.StreamLine) error {
		lost += l.Lost
		if l.Event != nil && l.Event.ID == 104 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || lost != 10 {
		t.Errorf("after event 90, with 101 the oldest kept: %d lost, %v, want 10", lost, err)
	}
}

func TestFollowIsPassedOnToTheMaster(t *testing.T) {
	master := apitest.Healthy()
	c := cluster(t, follower("kvm1"), master)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// What a caller of the API can ask for and the typed client does not.
	peer := api.NewPeerClient(&network{from: "kvm3", servers: c["kvm1"].net.servers, broken: func(r *http.Request) error {
		r.URL.RawQuery += "&fresh=1"
		return nil
	}}, "kvm1")
	began, done := make(chan struct{}), make(chan struct{})
	var got []string
	var err error
	go func() {
		defer close(done)
		got, err = next(ctx, peer, api.EventFilter{After: 104}, 1, began)
	}()
	<-began
	master.Emit(fsm.Event{Type: "x", Text: "only the master has this"})
	<-done
	if !errors.Is(err, errEnough) || len(got) != 1 {
		t.Errorf("followed %q, %v", got, err)
	}
}

func TestFollowEndsWithTheServer(t *testing.T) {
	b := apitest.Healthy()
	s := api.NewServer(b, api.Options{})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	srv := s.HTTPServer(s.Local())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	client := api.NewClient(socket)
	const followers = 5
	ends := make(chan error, followers)
	for range followers {
		began := make(chan struct{})
		go func() {
			_, err := next(t.Context(), client, api.EventFilter{After: 104}, 1, began)
			ends <- err
		}()
		<-began
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatalf("shutdown with %d followers: %v", followers, err)
	}
	<-served
	for range followers {
		if err := <-ends; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a follow ended with %v, want the end of the stream", err)
		}
	}
	client.Close()
	// Goroutines of connections end a moment after the connections.
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}

func TestFollowEndsWithItsCaller(t *testing.T) {
	c := cluster(t, apitest.Healthy())
	ctx, cancel := context.WithCancel(t.Context())
	began, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := next(ctx, c["kvm2"].client, api.EventFilter{After: 104}, 1, began)
		done <- err
	}()
	<-began
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a follow whose caller left ends with %v", err)
	}
}
