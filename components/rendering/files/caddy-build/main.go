// Package main is the stock Caddy: its own command, with its standard modules and no others.
package main

import (
	_ "time/tzdata" // Time zones where the system has none, as in the published binary.

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
