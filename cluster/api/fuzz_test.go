package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// hypervisor answers the hook: it admits one VM. Nothing else of it is used.
type hypervisor struct {
	Backend
	asked []AdmitRequest
}

func (h *hypervisor) AdmitStart(_ context.Context, r AdmitRequest) error {
	h.asked = append(h.asked, r)
	if r.UUID != admitted {
		return fmt.Errorf("%w: %s is protected and owned by kvm2 (generation 3): it may run there alone", ErrRefused, r.Name)
	}
	return nil
}

const admitted = "3b1c2a44-0d6f-4a58-9f0e-7a1d2c3b4e5f"

// FuzzAdmitRequest holds the answer to libvirt's hook to this: whatever is sent, a
// VM is let start only when the agent was asked about exactly that one and said so.
func FuzzAdmitRequest(f *testing.F) {
	for _, body := range []string{
		`{"uuid":"` + admitted + `","name":"web1","operation":"prepare"}`,
		`{"uuid":"00000000-0000-0000-0000-000000000001","name":"web2","operation":"migrate"}`,
		`{"uuid":"` + admitted + `","uuid":"","name":"\ud800\u0000"}`,
		`{"UUID":null,"name":1}`, `{"uuid":"x","more":true}`, `{} {}`, `[]`, `null`, ``, `{"uuid":`, "\xff\xfe",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h := &hypervisor{}
		s := NewServer(h, Options{})
		defer s.Close()
		root := func(r *http.Request) (*call, error) { return &call{Request: r, actor: "root"}, nil }
		handler := s.serve(root, bodySmall, admitTimeout, s.here(s.admitStart))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/local/admit", bytes.NewReader(body)))
		var answer struct {
			Done  string `json:"done"`
			Error *Error `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("answered %q: %v", w.Body.String(), err)
		}
		yes := len(h.asked) == 1 && h.asked[0].UUID == admitted
		switch {
		case len(h.asked) > 1:
			t.Fatalf("asked %d times for one request", len(h.asked))
		case (w.Code == http.StatusOK) != yes || yes == (answer.Error != nil):
			t.Fatalf("answered %d %q after asking about %+v", w.Code, w.Body.String(), h.asked)
		case w.Code >= http.StatusInternalServerError:
			t.Fatalf("a fault of ours: %d %q", w.Code, w.Body.String())
		}
		if want := (map[bool]int{true: http.StatusConflict, false: http.StatusBadRequest})[len(h.asked) == 1]; !yes && w.Code != want && w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("answered %d, want %d: %q", w.Code, want, w.Body.String())
		}
	})
}
