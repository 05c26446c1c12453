//go:build tools

// Package pebble makes Let's Encrypt's test server a dependency of this module, so that `go build`
// can name it.
package pebble

import _ "github.com/letsencrypt/pebble/v2/cmd/pebble"
