// Package cli owns commands, flags, configuration and the wiring of one node; it is also the main function of a user's
// own binary. It promises the command line contract of docs/cli.md: names, exit statuses and JSON stay as they are. It
// must not know applications, and holds no logic of the engine: commands talk through package client, a node is put
// together from parts that are complete in themselves.
package cli
