package config

import (
	"strings"
	"testing"
)

func TestGoesBack(t *testing.T) {
	words := []string{FailbackNever, FailbackPreferred, FailbackMaintenance, FailbackAlways}
	for i, word := range words {
		for j, reason := range words[1:] {
			if got, want := GoesBack(word, reason), i > j; got != want {
				t.Errorf("GoesBack(%q, %q) = %v, want %v", word, reason, got, want)
			}
		}
	}
}

func TestBalanceAndPackExcludeOneAnother(t *testing.T) {
	src := "cluster \"c\" {}\nplacement { strategy = \"pack\" }\nbalance { mode = \"MODE\" }\n"
	for mode, refused := range map[string]bool{BalanceOff: false, BalanceOnStart: false, BalanceAutomatic: true} {
		_, err := ParsePolicy(map[string][]byte{"c.hcl": []byte(strings.Replace(src, "MODE", mode, 1))})
		if (err != nil) != refused {
			t.Errorf("strategy pack with mode %q: %v, want refused: %v", mode, err, refused)
		}
	}
}
