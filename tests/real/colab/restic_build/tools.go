//go:build tools

// Package restic makes restic's program a dependency of this module, so that `go build` can name it.
package restic

import _ "github.com/restic/restic/cmd/restic"
