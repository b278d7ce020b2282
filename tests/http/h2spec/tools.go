//go:build tools

// Package tools says what the tests of HTTP/2 run, so that go.mod and go.sum have its version and
// those of all that it needs.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
