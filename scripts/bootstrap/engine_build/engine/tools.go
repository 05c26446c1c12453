//go:build tools

// Package engine makes the Pulumi CLI a dependency of this module, so that
// `go build` can name it: `go install` refuses its replace directives.
package engine

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
