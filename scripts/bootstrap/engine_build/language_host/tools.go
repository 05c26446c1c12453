//go:build tools

// Package languagehost makes Pulumi's Python language host a dependency of this module.
// v3.79.0 is the last release of the SDK's Go module that carries it.
package languagehost

import _ "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
