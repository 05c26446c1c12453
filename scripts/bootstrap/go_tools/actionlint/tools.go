//go:build tools

// Package tools makes actionlint a dependency of this module, so that go.sum pins it.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
