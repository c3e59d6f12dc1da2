// Command antipode replicates ZFS datasets and Btrfs subvolumes between two
// machines.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"antipode/daemon/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
