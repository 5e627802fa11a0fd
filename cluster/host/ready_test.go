package host

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

func TestAsk(t *testing.T) {
	serve := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if status == http.StatusFound {
				w.Header().Set("Location", "/elsewhere")
			}
			if r.URL.Path == "/elsewhere" {
				t.Error("a redirection was followed")
			}
			w.WriteHeader(status)
		}
	}
	well, found, ill, secret := httptest.NewServer(serve(200)), httptest.NewServer(serve(302)), httptest.NewServer(serve(503)), httptest.NewTLSServer(serve(204))
	for _, s := range []*httptest.Server{well, found, ill, secret} {
		defer s.Close()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().String()
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	deaf := func(ctx context.Context, network, address string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: context.DeadlineExceeded}
	}
	for _, tt := range []struct {
		name  string
		asked config.Ready
		guest error
		dial  func(ctx context.Context, network, address string) (net.Conn, error)
		want  string
	}{
		{"everything is as it should be", config.Ready{GuestAgent: true, TCP: []string{open}, HTTP: []string{well.URL, found.URL, secret.URL}}, nil, nil, ""},
		{"the guest agent is not there", config.Ready{GuestAgent: true, TCP: []string{closed}}, errors.New("no agent"), nil, "its guest agent does not answer: no agent"},
		{"nobody listens", config.Ready{TCP: []string{open, closed}}, nil, nil, closed + " takes no connection: connect: connection refused"},
		{"no answer in time", config.Ready{TCP: []string{open}}, nil, deaf, open + " takes no connection: no answer in time"},
		{"a service in trouble", config.Ready{HTTP: []string{well.URL, ill.URL}}, nil, nil, ill.URL + ": the answer is 503 Service Unavailable"},
		{"no service", config.Ready{HTTP: []string{"http://" + closed + "/x"}}, nil, nil, "http://" + closed + "/x: connect: connection refused"},
		{"another protocol", config.Ready{HTTP: []string{strings.Replace(secret.URL, "https", "http", 1)}}, nil, nil, strings.Replace(secret.URL, "https", "http", 1) + ": the answer is 400 Bad Request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := prober{guest: func(context.Context) error { return tt.guest }, dial: tt.dial}
			if p.dial == nil {
				p.dial = (&net.Dialer{}).DialContext
			}
			if got := p.ask(t.Context(), tt.asked); got != tt.want {
				t.Errorf("not ready because %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		asked config.Ready
		up    time.Duration
		why   string
		done  bool
	}{
		{"nothing is asked", config.Ready{}, 0, "", true},
		{"too young", config.Ready{Uptime: time.Minute, GuestAgent: true}, 59 * time.Second, "it has not run for 1m0s yet", true},
		{"old enough", config.Ready{Uptime: time.Minute}, time.Minute, "", true},
		{"old enough, and there is more to ask", config.Ready{Uptime: time.Minute, TCP: []string{"10.0.0.1:1"}}, time.Minute, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if why, done := atOnce(tt.asked, tt.up); why != tt.why || done != tt.done {
				t.Errorf("said %q (%v), want %q (%v)", why, done, tt.why, tt.done)
			}
		})
	}
}
