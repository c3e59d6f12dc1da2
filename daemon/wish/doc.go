// Package wish keeps what operators asked for by command and what the configuration
// does not say: first copies that a job would not begin by itself, jobs that are paused,
// rates. A wish is durable before it is in force, so that a restart neither forgets one
// nor sets going what somebody gave up. It must not know what a job, a peer or a driver does, nor when
// a wish is carried out: who asks and who acts is the daemon's.
package wish
