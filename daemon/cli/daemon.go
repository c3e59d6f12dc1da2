package cli

import (
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"antipode/daemon/config"
	"antipode/daemon/process"
)

func (a *app) daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use: "daemon", Short: "Run the daemon, in the foreground; SIGHUP reloads its configuration, SIGTERM stops it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return process.Run(cmd.Context(), process.Options{
				ConfigPath: a.configPath,
				Version:    Version(),
				NewLog:     func(c config.Log) zerolog.Logger { return Logger(cmd.ErrOrStderr(), c) },
			})
		},
	}
}
