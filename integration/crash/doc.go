// Package crash stops a receive at every failpoint there is and lets the next one
// go on: by SIGKILL on this host (build tag failpoints), and by cutting the power of
// the target's disk in the test machine (build tag machine). What was published is
// right at once, and the copy is complete and identical after one more run that
// nobody helps. A failpoint that is never hit fails the tests.
//
// It must not know what lies between the two sides.
package crash
