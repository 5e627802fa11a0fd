package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// tokenPrefix begins every join token; the version follows.
const tokenPrefix = "hfjoin"

// tokenVersion is the version this program writes and reads.
const tokenVersion = 1

// ErrToken is wrapped by every error about a join token that cannot be read.
var ErrToken = errors.New("join token")

// Token is an invitation to join a cluster, as handed to a person. It holds the
// secret in the clear; the replicated state keeps only SecretHash of it.
type Token struct {
	ID          string   `json:"i"`
	Secret      string   `json:"s"` // 256 bits, base64url
	Cluster     string   `json:"c"` // cluster id
	Fingerprint string   `json:"f"` // SHA-256 of the CA certificate, hex
	Addresses   []string `json:"a"` // IP:port of members
}

// NewToken makes an invitation with a fresh id and secret. addresses are IP:port
// of members, best first.
func NewToken(clusterID string, fingerprint [sha256.Size]byte, addresses []string) (Token, error) {
	var id [8]byte
	var secret [32]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Token{}, fmt.Errorf("make token id: %w", err)
	}
	if _, err := rand.Read(secret[:]); err != nil {
		return Token{}, fmt.Errorf("make token secret: %w", err)
	}
	t := Token{ID: hex.EncodeToString(id[:]), Secret: base64.RawURLEncoding.EncodeToString(secret[:]), Cluster: clusterID,
		Fingerprint: hex.EncodeToString(fingerprint[:]), Addresses: addresses}
	return t, t.check()
}

// SecretHash is what is kept of a token's secret. A plain hash is enough: 256
// random bits cannot be guessed from it.
func SecretHash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// SecretMatches compares a secret with a kept hash in constant time.
func SecretMatches(secret string, hash []byte) bool {
	return subtle.ConstantTimeCompare(SecretHash(secret), hash) == 1
}

// String is the token as handed out: hfjoin1.LENGTH.BODY.CHECK. Length and check
// are there to tell a person what went wrong when it was copied.
func (t Token) String() string {
	body, err := json.Marshal(t)
	if err != nil {
		// Strings always encode.
		panic(err)
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return fmt.Sprintf("%s%d.%d.%s.%08x", tokenPrefix, tokenVersion, len(text), text, crc32.ChecksumIEEE([]byte(text)))
}

// ParseToken reads a token as String made it. White space around and line
// breaks within it are accepted. Errors wrap ErrToken, say what is wrong and
// never repeat the secret.
func ParseToken(s string) (Token, error) {
	s = strings.Join(strings.Fields(s), "")
	if s == "" {
		return Token{}, fmt.Errorf("%w is empty; make one on a member with: haadm cluster token create", ErrToken)
	}
	parts := strings.Split(s, ".")
	number, ours := strings.CutPrefix(parts[0], tokenPrefix)
	if !ours {
		return Token{}, fmt.Errorf("%w: this is not one of Holdfast's, they begin with %q", ErrToken, tokenPrefix)
	}
	version, err := strconv.Atoi(number)
	if err != nil && len(parts) > 1 {
		return Token{}, fmt.Errorf("%w: cannot read the version %.16q", ErrToken, number)
	}
	if err == nil && version != tokenVersion {
		return Token{}, fmt.Errorf("%w is of version %d, this program reads version %d; use the same release on every host", ErrToken, version, tokenVersion)
	}
	if len(parts) < 3 {
		return Token{}, fmt.Errorf("%w is cut short: only %d characters are left; copy all of it", ErrToken, len(s))
	}
	want, err := strconv.Atoi(parts[1])
	if err != nil {
		return Token{}, fmt.Errorf("%w: cannot read its length; copy it again", ErrToken)
	}
	body := parts[2]
	switch {
	case len(body) < want || len(parts) == 3 || len(parts[3]) < 8:
		return Token{}, fmt.Errorf("%w is cut short: %d of %d characters are there; copy all of it", ErrToken, len(body), want)
	case len(body) > want || len(parts) > 4 || len(parts[3]) > 8:
		return Token{}, fmt.Errorf("%w has something behind its end; copy it again", ErrToken)
	case fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) != parts[3]:
		return Token{}, fmt.Errorf("%w was altered: its check sum does not fit; copy it again", ErrToken)
	}
	data, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return Token{}, fmt.Errorf("%w: its body is not base64url", ErrToken)
	}
	var t Token
	if err := json.Unmarshal(data, &t); err != nil {
		return Token{}, fmt.Errorf("%w: its body cannot be read", ErrToken)
	}
	return t, t.check()
}

// check refuses a token that nobody could join with.
func (t Token) check() error {
	if t.ID == "" || t.Secret == "" {
		return fmt.Errorf("%w: it carries no secret", ErrToken)
	}
	if err := checkPart("cluster id", t.Cluster); err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	if sum, err := hex.DecodeString(t.Fingerprint); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("%w: the CA fingerprint is not a SHA-256", ErrToken)
	}
	if len(t.Addresses) == 0 {
		return fmt.Errorf("%w: it carries no address of a member", ErrToken)
	}
	for _, a := range t.Addresses {
		if _, err := netip.ParseAddrPort(a); err != nil {
			return fmt.Errorf("%w: address %.64q is not IP:port", ErrToken, a)
		}
	}
	return nil
}
