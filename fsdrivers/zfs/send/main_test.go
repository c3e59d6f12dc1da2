package send

import (
	"testing"

	"antipode/fsdrivers/zfs/zfstest"
)

func TestMain(m *testing.M) { zfstest.Main(m) }
