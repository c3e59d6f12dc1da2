// Package prop is what Antipode writes on a pool beside the data: the names of its
// properties and of its holds, and how values are written as text. What stands where is
// in the comment of package zfs. It is pure, and runs nothing.
package prop

import (
	"strings"
	"time"
)

// Namespace begins the names of our properties and the tags of our holds.
const Namespace = "org.antipode:"

// Our properties. None travels: streams carry no properties.
const (
	Created     = Namespace + "created"
	Received    = Namespace + "received"
	Retain      = Namespace + "retain"
	Mark        = Namespace + "mark"
	Placeholder = Namespace + "placeholder"
	Into        = Namespace + "into"
	Strip       = Namespace + "strip"
	Path        = Namespace + "path"
	Source      = Namespace + "source"
	Incoming    = Namespace + "incoming"
	Key         = Namespace + "key"
	Rewind      = Namespace + "rewind"
	Activation  = Namespace + "activation"
	Live        = Namespace + "live"
	Move        = Namespace + "move"
)

// AnyKey is the value of Key with which the next wrapped key is taken, and pinned.
const AnyKey = "any"

// On is the value of properties that are.
const On = "on"

// List joins names of properties, as zfs takes them.
func List(names ...string) string { return strings.Join(names, ",") }

// TimeOf is zero for what TextOf did not write.
func TimeOf(s string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// TextOf writes a time as the value of a property.
func TextOf(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
