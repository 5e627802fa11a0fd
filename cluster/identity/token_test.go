package identity_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/identity"
)

func newToken(t testing.TB) identity.Token {
	t.Helper()
	token, err := identity.NewToken("0b7e4c1a-5a0c-4b55-9d26-6a3f0b1f4c11", [32]byte{1, 2, 3}, []string{"192.0.2.1:7400", "[2001:db8::1]:7400"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestToken(t *testing.T) {
	token := newToken(t)
	text := token.String()
	for _, form := range []string{text, " " + text + "\n", text[:40] + "\n  " + text[40:]} {
		got, err := identity.ParseToken(form)
		if err != nil || got.String() != text {
			t.Errorf("ParseToken(%q): %+v, %v", form, got, err)
		}
	}
	if hash := identity.SecretHash(token.Secret); !identity.SecretMatches(token.Secret, hash) || identity.SecretMatches(newToken(t).Secret, hash) || identity.SecretMatches("", nil) {
		t.Error("the hash of a secret must fit that secret alone")
	}
	if _, err := identity.NewToken("c1", [32]byte{}, []string{"kvm1:7400"}); !errors.Is(err, identity.ErrToken) {
		t.Errorf("a token with a name for an address: %v, want it refused", err)
	}
}

func TestParseTokenRefuses(t *testing.T) {
	token := newToken(t)
	text := token.String()
	empty := token
	empty.Addresses = nil
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "empty"},
		{"another product", "K10c4f1::server:8d9e", "not one of Holdfast's"},
		{"a newer version", strings.Replace(text, "hfjoin1.", "hfjoin2.", 1), "version 2, this program reads version 1"},
		{"only the prefix", "hfjo", "not one of Holdfast's"},
		{"cut in the head", text[:9], "cut short"},
		{"cut in the body", text[:60], "cut short"},
		{"cut in the check", text[:len(text)-3], "cut short"},
		{"the end doubled", text + "00", "behind its end"},
		{"two tokens", text + "." + text, "behind its end"},
		{"a letter in the body doubled", text[:50] + text[49:], "behind its end"},
		{"a letter altered", text[:50] + flip(text[50:51]) + text[51:], "altered"},
		{"no address", empty.String(), "no address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := identity.ParseToken(tt.text)
			if !errors.Is(err, identity.ErrToken) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want ErrToken and %q", err, tt.want)
			}
			if strings.Contains(err.Error(), token.Secret) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
	for i := range text {
		if _, err := identity.ParseToken(text[:i]); !errors.Is(err, identity.ErrToken) {
			t.Errorf("the first %d characters: %v, want ErrToken", i, err)
		}
	}
}

func flip(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

func FuzzParseToken(f *testing.F) {
	f.Add(newToken(f).String())
	f.Add("hfjoin1.3.abc.00000000")
	f.Add("hfjoin1.-1..")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := identity.ParseToken(text)
		if err == nil && (token.ID == "" || token.Secret == "" || len(token.Addresses) == 0) {
			t.Errorf("%q was read as %+v", text, token)
		}
		if err != nil && !errors.Is(err, identity.ErrToken) {
			t.Errorf("%q: %v does not wrap ErrToken", text, err)
		}
	})
}
