package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// completePatience bounds what a shell waits for.
const completePatience = time.Second

// completeJobs offers the names of the daemon's jobs to a shell; without a
// daemon there is nothing to offer.
func (a *app) completeJobs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	s, err := call[control.Nothing, status.Status](ctx, a, control.Status, control.Nothing{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []string
	for _, j := range s.Jobs {
		all = append(all, j.ID)
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// names asks the daemon for those that begin with the word.
func (a *app) names(cmd *cobra.Command, of dataset.Path, word string) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	r, err := call[control.NamesRequest, control.NamesResponse](ctx, a, control.Names, control.NamesRequest{Dataset: of})
	if err != nil {
		return nil
	}
	var all []string
	for _, name := range r.Names {
		if strings.HasPrefix(name, word) {
			all = append(all, name)
		}
	}
	return all
}

// completeSnapshots offers DATASET@NAME for the first argument: first the datasets,
// then, of a site with millions of snapshots, those of one.
func (a *app) completeSnapshots(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	of, name, cut := strings.Cut(word, "@")
	if !cut {
		all := a.names(cmd, "", word)
		for i := range all {
			all[i] += "@"
		}
		return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	all := a.names(cmd, dataset.Path(of), name)
	for i := range all {
		all[i] = of + "@" + all[i]
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// completeDatasets offers datasets for the argument that is the n-th.
func (a *app) completeDatasets(n int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) != n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.names(cmd, "", word), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag offers the snapshots of the dataset that is the first argument.
func (a *app) completeFlag(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.names(cmd, dataset.Path(args[0]), word), cobra.ShellCompDirectiveNoFileComp
	}) // an error says that there is no such flag
}
