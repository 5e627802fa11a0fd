package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWaitAloneIsTrustedOnlyWhereThePolicySaysSo(t *testing.T) {
	const head = "cluster \"c\" { schema = 1 }\n"
	p, q := parse(t, head), parse(t, head+`fencing { mode = "best_effort" }`)
	if p.TrustsWait() || parse(t, head+`fencing {}`).TrustsWait() || !q.TrustsWait() {
		t.Errorf("trusts the wait: %t by default, %t with best_effort", p.TrustsWait(), q.TrustsWait())
	}
	if d := cmp.Diff([]Change{{"fencing.mode", "required", "best_effort"}}, DiffPolicies(p, q)); d != "" {
		t.Errorf("the changes differ (-want +got):\n%s", d)
	}
	if w := q.Warnings(); len(w) != 1 || !strings.Contains(w[0], "runs twice") {
		t.Errorf("it is not loud: %q", w)
	}
	if text := string(q.HCL()); !strings.Contains(text, `mode = "best_effort"`) || strings.Contains(string(p.HCL()), "fencing") {
		t.Errorf("printed as\n%s\nand by default as\n%s", text, p.HCL())
	}
}
