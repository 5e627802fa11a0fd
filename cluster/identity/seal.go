package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// SealKeySize is the length of a cluster's seal key in bytes (AES-256).
const SealKeySize = 32

// sealVersion is the first byte of everything sealed.
const sealVersion = 1

// ErrUnsealed: what was to be opened was not sealed with this key for this
// purpose, or has been altered.
var ErrUnsealed = errors.New("the seal does not fit: another key, another purpose, or altered data")

// NewSealKey makes a cluster's seal key. Every host gets a copy when it joins;
// it never enters the replicated state.
func NewSealKey() ([]byte, error) {
	key := make([]byte, SealKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make seal key: %w", err)
	}
	return key, nil
}

// Seal encrypts secret with AES-256-GCM. label says what the secret is for; the
// same label must be given to Open, so that one sealed value cannot be passed
// off as another.
func Seal(key []byte, label string, secret []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 1+gcm.NonceSize(), 1+gcm.NonceSize()+len(secret)+gcm.Overhead())
	out[0] = sealVersion
	if _, err := rand.Read(out[1:]); err != nil {
		return nil, fmt.Errorf("make nonce: %w", err)
	}
	return gcm.Seal(out, out[1:], secret, []byte(label)), nil
}

// Open decrypts what Seal made with the same key and label.
func Open(key []byte, label string, sealed []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < 1+gcm.NonceSize()+gcm.Overhead() {
		return nil, fmt.Errorf("%w (%d bytes are too few)", ErrUnsealed, len(sealed))
	}
	if sealed[0] != sealVersion {
		return nil, fmt.Errorf("sealed in format %d, this program knows format %d", sealed[0], sealVersion)
	}
	nonce, text := sealed[1:1+gcm.NonceSize()], sealed[1+gcm.NonceSize():]
	secret, err := gcm.Open(nil, nonce, text, []byte(label))
	if err != nil {
		return nil, ErrUnsealed
	}
	return secret, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != SealKeySize {
		return nil, fmt.Errorf("the seal key has %d bytes, %d are wanted", len(key), SealKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use seal key: %w", err)
	}
	return cipher.NewGCM(block)
}
