package daemon_test

import "strings"

// verdictOn says what becomes of a name in one place.
type verdictOn int

const (
	malformed verdictOn = iota // no name at all: the message is refused
	foreign                    // a name, and not one of ours: the step is refused
	fine                       // a strange name that harms nobody
)

// hostileName is a text that a peer may send where a name belongs, with what must
// become of it as the path of a dataset and as the name of a snapshot. The
// verdicts are written by hand: computed, they would repeat what they test.
type hostileName struct {
	text           string
	path, snapshot verdictOn
}

func hostileNames() []hostileName {
	long := func(n int) string { return strings.Repeat("x", n) }
	return []hostileName{
		{"", malformed, malformed},
		{".", malformed, malformed},
		{"..", malformed, malformed},
		{"../x", malformed, malformed},
		{"/../x", malformed, malformed},
		{"/data/../../etc", malformed, malformed},
		{"/data/db/..", malformed, malformed},
		{"/data/./db", malformed, malformed},
		{"a//b", malformed, malformed},
		{"//data", malformed, malformed},
		{"/data/db/", malformed, malformed},
		{"a\x00b", malformed, malformed},
		{"a\nb", malformed, malformed},
		{"a\tb", malformed, malformed},
		{"a\x7fb", malformed, malformed},
		{"a\u0085b", malformed, malformed},
		{"\x1b[31mred", malformed, malformed},
		{"\xff\xfe", malformed, malformed},
		{"antipode_\xc3(", malformed, malformed},
		{".antipode", malformed, malformed},
		{"/data/.antipode", malformed, malformed},
		{"/.antipode/incoming/x", malformed, malformed},
		{"/data/db/.antipode/mark", malformed, malformed},
		{"/" + long(256), malformed, malformed},
		{"/" + strings.Repeat("d/", 1536) + "d", malformed, malformed},
		{".ANTIPODE", fine, malformed},
		{".antipode_db", fine, malformed},
		{"/" + long(255), fine, malformed},
		{"antipode_" + long(192), fine, malformed},
		{"antipode_" + long(191), fine, fine},
		{"/", fine, malformed},
		{"/data/db", fine, malformed},
		{"/data/d", fine, malformed},
		{"/data/db2", fine, malformed},
		{"/data/dbx/y", fine, malformed},
		{"/DATA/DB", fine, malformed},
		{"data/db", fine, malformed},
		{"/backup/fra1/data/db", fine, malformed},
		{"a@b@c", fine, malformed},
		{"antipode_db@x", fine, malformed},
		{"a#b", fine, malformed},
		{"antipode_../x", fine, malformed},
		{"/data/d b", fine, malformed},
		{"/-rf", fine, malformed},
		{"%recv", fine, foreign},
		{"a%b", fine, foreign},
		{"a%2fb", fine, foreign},
		{"%2e%2e%2fx", fine, foreign},
		{" ", fine, foreign},
		{"-R", fine, foreign},
		{"--help", fine, foreign},
		{"*", fine, foreign},
		{"$(reboot)", fine, foreign},
		{`..\x`, fine, malformed},
		{`x\..\y`, fine, foreign},
		{"caf\u00e9", fine, foreign},
		{"cafe\u0301", fine, foreign},
		{"a\u202eb", fine, foreign},
		{"a\u2028b", fine, foreign},
		{"live", fine, foreign},
		{"antipode", fine, foreign},
		{"antipodedb", fine, foreign},
		{"Antipode_db", fine, foreign},
		{"ANTIPODE_db", fine, foreign},
		{"autosnap_2026-01-01", fine, foreign},
		{"antipode_", fine, fine},
		{"antipode_-R", fine, fine},
		{"antipode_caf\u00e9", fine, fine},
		{"antipode_cafe\u0301", fine, fine},
		{"antipode_;rm -rf ~", fine, fine},
	}
}
