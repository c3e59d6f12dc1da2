package peer

import "testing"

// Two first starts at the same time: the slower one finds the key there.
func TestCreateKeepsTheKeyOfTheFaster(t *testing.T) {
	dir := t.TempDir()
	var got [2]Fingerprint
	for i := range got {
		if err := create(dir); err != nil {
			t.Fatalf("create %d: %v", i+1, err)
		}
		id, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		got[i] = id.Fingerprint()
	}
	if got[0] != got[1] {
		t.Errorf("got %s and then %s, want the first to stay", got[0], got[1])
	}
}
