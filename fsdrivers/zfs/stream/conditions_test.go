package stream

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/nvlist"
)

// made is a record of a test's own, with as much payload as it announces.
type made struct {
	t      Type
	fields []Field
}

func (m made) with(fields ...Field) made {
	return made{m.t, append(slices.Clip(m.fields), fields...)}
}

// object numbers of the records below: each is about this one.
const (
	plainObject = 7
	rawObject   = 33 // in the range of 32 to 63
)

func about(t Type, object uint64, fields ...Field) made {
	return made{t, append([]Field{{toGUID[t], 8, to}, {atObject, 8, object}}, fields...)}
}

func anObject(number uint64, fields ...Field) made {
	return about(Object, number, Field{objType, 4, 19}, Field{objBonusType, 4, 44}, Field{objBlock, 4, 512}, Field{objBonus, 4, 168}).with(fields...)
}

func aRawObject(number uint64, fields ...Field) made {
	return anObject(number, Field{objRawBonus, 4, 320}, Field{objIndirect, 1, 17}, Field{objLevels, 1, 1}, Field{objBlockPtrs, 1, 1}).with(fields...)
}

func aRange(first uint64, fields ...Field) made {
	return about(ObjectRange, first, Field{rangeSlots, 8, 32}).with(fields...)
}

func aWrite(object, offset uint64, fields ...Field) made {
	return about(Write, object, Field{writeType, 4, 19}, Field{writeOffset, 8, offset}, Field{writeSize, 8, 512}).with(fields...)
}

func aRawWrite(object, offset uint64, fields ...Field) made {
	return aWrite(object, offset, Field{writeCompress, 1, 2}, Field{writePacked, 8, 512}).with(fields...)
}

// sample is a stream without its opening.
type sample struct {
	raw     bool
	records []made
}

// accepted are streams whose last record is what TestEachConditionOfTheGate changes. All
// of them pass.
var accepted = map[string]sample{
	"object":               {false, []made{anObject(plainObject)}},
	"object after another": {false, []made{anObject(5), anObject(plainObject)}},
	"object after a write": {false, []made{aWrite(5, 0), anObject(plainObject)}},
	"object of 2 slots":    {false, []made{anObject(plainObject, Field{objSlots, 1, 2}, Field{objBonus, 4, 832})}},
	"object of 32 slots":   {false, []made{anObject(plainObject, Field{objSlots, 1, 32})}},
	"spilled object":       {false, []made{anObject(plainObject, Field{objFlags, 1, objectSpill})}},
	"zap":                  {false, []made{anObject(plainObject, Field{objType, 4, 0xc4}, Field{objBonusType, 4, 0}, Field{objBonus, 4, 0}, Field{objBlock, 4, 16 << 20})}},
	"raw object":           {true, []made{aRange(32), aRawObject(rawObject)}},
	"raw object of 4096":   {true, []made{aRange(32), aRawObject(rawObject, Field{objBlock, 4, 4096})}},
	"raw tree": {true, []made{aRange(32), aRawObject(rawObject, Field{objIndirect, 1, 12}, Field{objLevels, 1, 12}, // 2^55 blocks of 512 bytes
		Field{objLastBlock, 8, 1<<55 - 1})}},
	"raw zvol":                  {true, []made{aRange(32), aRawObject(rawObject, Field{objBonusType, 4, 0}, Field{objBonus, 4, 64}, Field{objBlockPtrs, 1, 3}, Field{objLastBlock, 8, 2})}},
	"raw big bonus":             {true, []made{aRange(32), aRawObject(rawObject, Field{objBonusType, 4, 17}, Field{objBonus, 4, 192}, Field{objLevels, 1, 2}, Field{objLastBlock, 8, 2<<10 - 1})}},
	"raw, first of range":       {true, []made{aRange(32), aRawObject(32)}},
	"raw, last of range":        {true, []made{aRange(32), aRawObject(63)}},
	"raw, all bonus":            {true, []made{aRange(32), aRawObject(rawObject, Field{objBonus, 4, 320})}},
	"range":                     {true, []made{aRange(32)}},
	"write":                     {false, []made{anObject(plainObject), aWrite(plainObject, 512)}},
	"write after another":       {false, []made{aWrite(plainObject, 0), aWrite(plainObject, 512)}},
	"write to the next object":  {false, []made{aWrite(plainObject, 512), aWrite(plainObject+1, 0)}},
	"write of 1 MiB":            {false, []made{aWrite(plainObject, 0, Field{writeSize, 8, 1 << 20})}},
	"packed write":              {false, []made{aWrite(plainObject, 0, Field{writeSize, 8, 4096}, Field{writeCompress, 1, 15}, Field{writePacked, 8, 1024})}},
	"rounded write":             {false, []made{aWrite(plainObject, 0, Field{writeCompress, 1, 15}, Field{writePacked, 8, 512})}},
	"raw write":                 {true, []made{aRange(32), aRawObject(rawObject), aRawWrite(rawObject, 0)}},
	"raw write, first of range": {true, []made{aRange(32), aRawObject(32), aRawWrite(32, 0)}},
	"packed raw write":          {true, []made{aRange(32), aRawObject(rawObject, Field{objBlock, 4, 4096}), aRawWrite(rawObject, 0, Field{writeSize, 8, 4096}, Field{writeCompress, 1, 16})}},
	"raw write, second":         {true, []made{aRange(32), aRawObject(rawObject), aRawObject(rawObject+1, Field{objBlock, 4, 4096}), aRawWrite(rawObject, 512)}},
	"raw write, old range":      {true, []made{aRange(32), aRawObject(rawObject), aRange(64), aRawObject(rawObject + 32), aRawWrite(rawObject+32, 0)}},
	"spill":                     {false, []made{about(Spill, plainObject, Field{spillSize, 8, 512}, Field{spillFlags, 1, 4})}},
	"raw spill":                 {true, []made{about(Spill, rawObject, Field{spillSize, 8, 4096}, Field{spillCompress, 1, 15}, Field{spillPacked, 8, 512})}},
	"embedded": {false, []made{about(WriteEmbedded, plainObject, Field{embOffset, 8, 512}, Field{embLength, 8, 512}, Field{embSize, 4, 512},
		Field{embPacked, 4, 112}, Field{embCompress, 1, 15})}},
	"free":                       {false, []made{aWrite(plainObject, 0), about(Free, plainObject, Field{freeOffset, 8, 512}, Field{freeLength, 8, 1<<64 - 1})}},
	"free objects":               {false, []made{about(FreeObjects, 0, Field{freeObjectsCount, 8, 1})}},
	"free objects after a write": {false, []made{aWrite(5, 0), about(FreeObjects, 6, Field{freeObjectsCount, 8, 1 << 60})}},
	"no free objects":            {false, []made{about(FreeObjects, 8)}},
	"free objects behind all":    {false, []made{about(FreeObjects, MaxObject, Field{freeObjectsCount, 8, 32})}},
}

func (s sample) opening() Opening {
	if s.raw {
		return rawOpening()
	}
	o := opening()
	o.Features |= EmbedData
	return o
}

// pass gives the gate a stream with that opening and these records, the last of
// them changed.
func (s sample) pass(o Opening, change ...Field) error {
	build := func(e *Encoder) {
		for i, m := range s.records {
			if i == len(s.records)-1 {
				m = m.with(change...)
			}
			raw := make([]byte, recordBytes)
			for _, f := range m.fields {
				put(raw, f)
			}
			size := Record{Type: m.t, Raw: raw}.payloadSize()
			e.Record(m.t, make([]byte, min(size, 2*MaxPayload)), m.fields...)
		}
	}
	var key []nvlist.Entry
	if o.IsRaw() {
		key = append(key, keydata(nil))
	}
	_, _, err := pass(streamOf(o, build, key...), Plan{ToGUID: to, Raw: o.IsRaw(), Features: Allowed | EmbedData})
	return err
}

func TestTheGateLetsThroughWhatSendersMake(t *testing.T) {
	for name, s := range accepted {
		if err := s.pass(s.opening()); err != nil {
			t.Errorf("%s: got error %v, want none", name, err)
		}
	}
}

// conditions are records that are wrong in one thing only, so that each is let
// through if its condition is missing.
var conditions = map[string]struct {
	of     string // accepted
	change []Field
	want   string
}{
	"a record of another snapshot":       {"write", []Field{{toGUID[Write], 8, from}}, "belongs to snapshot"},
	"an object beyond all":               {"object", []Field{{atObject, 8, MaxObject}}, "no object has that number"},
	"the object that holds all":          {"object", []Field{{atObject, 8, 0}}, "holds all others"},
	"the same object again":              {"object after another", []Field{{atObject, 8, 5}}, "after object 5"},
	"an object after its write":          {"object after a write", []Field{{atObject, 8, 5}}, "after object 5"},
	"33 slots":                           {"object", []Field{{objSlots, 1, 33}}, "33 slots"},
	"an object of no type":               {"object", []Field{{objType, 4, 0}}, "type is unknown"},
	"an object of type 54":               {"object", []Field{{objType, 4, 54}}, "type is unknown"},
	"an object of bits and 10":           {"object", []Field{{objType, 4, 0x8a}}, "type is unknown"},
	"a bonus of type 54":                 {"object", []Field{{objBonusType, 4, 54}}, "type is unknown"},
	"an intent log":                      {"object", []Field{{objType, 4, 9}}, "own structure"},
	"a block of objects as content":      {"object", []Field{{objType, 4, 10}}, "own structure"},
	"an object set as content":           {"object", []Field{{objType, 4, 11}}, "own structure"},
	"a block of objects as spill":        {"object", []Field{{objBonusType, 4, 10}}, "own structure"},
	"checksum 15":                        {"object", []Field{{objChecksum, 1, 15}}, "checksum or compression"},
	"compression 17":                     {"object", []Field{{objCompress, 1, 17}}, "checksum or compression"},
	"the checksum of a label":            {"object", []Field{{objChecksum, 1, 3}}, "ZFS's own blocks"},
	"the checksum of a gang":             {"object", []Field{{objChecksum, 1, 4}}, "ZFS's own blocks"},
	"the checksum of the old intent log": {"object", []Field{{objChecksum, 1, 5}}, "ZFS's own blocks"},
	"the checksum of the intent log":     {"object", []Field{{objChecksum, 1, 9}}, "ZFS's own blocks"},
	"blocks of nothing":                  {"object", []Field{{objBlock, 4, 0}}, "blocks have 0 bytes"},
	"blocks of 513 bytes":                {"object", []Field{{objBlock, 4, 513}}, "blocks have 513 bytes"},
	"blocks above 16 MiB":                {"object", []Field{{objBlock, 4, 16<<20 + 512}}, "blocks have 16777728 bytes"},
	"a bonus beyond its slot":            {"object", []Field{{objBonus, 4, 328}}, "328 bytes does not fit into 1 slots"},
	"a bonus beyond its slots":           {"object of 2 slots", []Field{{objBonus, 4, 840}}, "840 bytes does not fit into 2 slots"},
	"a raw bonus beyond its slot":        {"raw object", []Field{{objRawBonus, 4, 328}}, "328 bytes does not fit into 1 slots"},
	"a raw bonus and not raw":            {"object", []Field{{objRawBonus, 4, 168}}, "only raw streams"},
	"indirect blocks and not raw":        {"object", []Field{{objIndirect, 1, 17}}, "only raw streams"},
	"levels and not raw":                 {"object", []Field{{objLevels, 1, 1}}, "only raw streams"},
	"block pointers and not raw":         {"object", []Field{{objBlockPtrs, 1, 1}}, "only raw streams"},
	"a flag beside spill":                {"spilled object", []Field{{objFlags, 1, objectSpill | 2}}, "flags are unknown"},

	"an object before its range":         {"raw object", []Field{{atObject, 8, 31}}, "no OBJECT_RANGE"},
	"an object behind its range":         {"raw object", []Field{{atObject, 8, 64}}, "no OBJECT_RANGE"},
	"a raw bonus shorter than its bonus": {"raw object", []Field{{objRawBonus, 4, 160}}, "shorter than its bonus"},
	"indirect blocks of 128 bytes":       {"raw object", []Field{{objIndirect, 1, 7}}, "out of bounds"},
	"indirect blocks of 2 KiB":           {"raw object", []Field{{objIndirect, 1, 11}}, "out of bounds"},
	"indirect blocks of 256 KiB":         {"raw object", []Field{{objIndirect, 1, 18}}, "out of bounds"},
	"no level":                           {"raw object", []Field{{objLevels, 1, 0}}, "out of bounds"},
	"13 levels":                          {"raw tree", []Field{{objLevels, 1, 13}}, "out of bounds"},
	"no block pointer":                   {"raw object", []Field{{objBlockPtrs, 1, 0}}, "out of bounds"},
	"4 block pointers":                   {"raw object", []Field{{objBlockPtrs, 1, 4}}, "out of bounds"},
	"9 levels of 32 KiB":                 {"raw object", []Field{{objIndirect, 1, 15}, {objLevels, 1, 9}}, "deeper than any object"},
	"8 levels of 128 KiB":                {"raw object", []Field{{objLevels, 1, 8}}, "deeper than any object"},
	"a block behind 2^64 bytes":          {"raw tree", []Field{{objLastBlock, 8, 1 << 55}}, "no block 36028797018963968"},
	"two blocks, and one pointer":        {"raw object", []Field{{objLastBlock, 8, 1}}, "no room for block 1"},
	"two blocks, and one that counts":    {"raw object", []Field{{objLastBlock, 8, 1}, {objBlockPtrs, 1, 3}}, "no room for block 1"},
	"four blocks, and three pointers":    {"raw zvol", []Field{{objLastBlock, 8, 3}}, "no room for block 3"},
	"a bonus that leaves two pointers":   {"raw zvol", []Field{{objBonus, 4, 72}}, "no room for block 2"},
	"more than two levels hold":          {"raw big bonus", []Field{{objLastBlock, 8, 2 << 10}}, "no room for block 2048"},

	"half a block of objects": {"range", []Field{{atObject, 8, 48}}, "not one block"},
	"31 objects":              {"range", []Field{{rangeSlots, 8, 31}}, "not one block"},

	"a write of unknown type":       {"write", []Field{{writeType, 4, 54}}, "type is unknown"},
	"a write of nothing":            {"write", []Field{{writeSize, 8, 0}}, "writes 0 bytes"},
	"a write of 516 bytes":          {"write", []Field{{writeSize, 8, 516}}, "writes 516 bytes"},
	"a write past the end":          {"write", []Field{{writeOffset, 8, 1<<64 - 512}, {writeSize, 8, 1024}}, "no end"},
	"a write with unknown flags":    {"write", []Field{{writeFlags, 1, 4}}, "flags are unknown"},
	"a write to an earlier object":  {"write after another", []Field{{atObject, 8, 6}}, "after offset 512 of object 7"},
	"a block twice":                 {"write after another", []Field{{writeOffset, 8, 0}}, "after offset 512 of object 7"},
	"a write of unknown kind":       {"packed write", []Field{{writeCompress, 1, 17}}, "compression is unknown"},
	"a write of kind on":            {"packed write", []Field{{writeCompress, 1, 1}}, "compression is unknown"},
	"a write of kind off":           {"packed write", []Field{{writeCompress, 1, 2}}, "compression is unknown"},
	"a whole write of kind off":     {"rounded write", []Field{{writeCompress, 1, 2}}, "compression is unknown"},
	"a write of kind empty":         {"packed write", []Field{{writeCompress, 1, 4}}, "compression is unknown"},
	"a packed write of no kind":     {"packed write", []Field{{writeCompress, 1, 0}}, "compression is unknown"},
	"packed to nothing":             {"packed write", []Field{{writePacked, 8, 0}}, "compressed to 0"},
	"packed to more":                {"packed write", []Field{{writePacked, 8, 4608}}, "compressed to 4608"},
	"packed to 4 bytes":             {"packed write", []Field{{writePacked, 8, 4}}, "compressed to 4"},
	"raw, not packed, and shorter":  {"packed raw write", []Field{{writeCompress, 1, 2}}, "compressed to 512"},
	"raw, packed to nothing":        {"packed raw write", []Field{{writePacked, 8, 0}}, "compressed to 0"},
	"raw of no kind":                {"raw write", []Field{{writeCompress, 1, 0}}, "compression is unknown"},
	"raw as if plain":               {"raw write", []Field{{writeCompress, 1, 0}, {writePacked, 8, 0}}, "compression is unknown"},
	"raw of kind on":                {"packed raw write", []Field{{writeCompress, 1, 1}}, "compression is unknown"},
	"raw of kind empty":             {"packed raw write", []Field{{writeCompress, 1, 4}}, "compression is unknown"},
	"raw, smaller than its block":   {"packed raw write", []Field{{writeSize, 8, 2048}}, "blocks of its object have 4096"},
	"raw, bigger than its block":    {"raw write", []Field{{writeSize, 8, 4096}, {writePacked, 8, 4096}}, "blocks of its object have 512"},
	"raw, of another object's size": {"raw write, second", []Field{{atObject, 8, rawObject + 1}}, "blocks of its object have 4096"},
	"raw, of no object":             {"raw write, second", []Field{{atObject, 8, rawObject + 2}}, "blocks of its object have 0"},
	"raw, before its range":         {"raw write, old range", []Field{{atObject, 8, rawObject}}, "blocks of its object have 0"},
	"raw, right behind its range":   {"raw write, first of range", []Field{{atObject, 8, 64}}, "blocks of its object have 0"},
	"raw, behind its range":         {"raw write, old range", []Field{{atObject, 8, rawObject + 64}}, "blocks of its object have 0"},

	"a spill of nothing":          {"spill", []Field{{spillSize, 8, 0}}, "it has 0 bytes"},
	"a spill of some kind":        {"spill", []Field{{spillCompress, 1, 15}}, "only raw streams"},
	"a packed spill":              {"spill", []Field{{spillPacked, 8, 512}}, "only raw streams"},
	"a spill of unknown type":     {"spill", []Field{{spillType, 4, 54}}, "type is unknown"},
	"a raw spill of unknown type": {"raw spill", []Field{{spillType, 4, 54}}, "type is unknown"},
	"a raw spill of no kind":      {"raw spill", []Field{{spillCompress, 1, 0}}, "compression is unknown"},
	"a raw spill that grows":      {"raw spill", []Field{{spillPacked, 8, 1 << 20}}, "compressed to 1048576"},

	"embedded without an end":      {"embedded", []Field{{embOffset, 8, 1<<64 - 256}}, "range is out of bounds"},
	"embedded over 16 MiB":         {"embedded", []Field{{embLength, 8, 16<<20 + 512}}, "range is out of bounds"},
	"embedded nothing":             {"embedded", []Field{{embSize, 4, 0}}, "range is out of bounds"},
	"embedded more than its block": {"embedded", []Field{{embSize, 4, 1024}}, "range is out of bounds"},
	"embedded 113 bytes":           {"embedded", []Field{{embPacked, 4, 113}}, "content is out of bounds"},
	"embedded of another kind":     {"embedded", []Field{{embKind, 1, 1}}, "content is out of bounds"},
	"embedded and not packed":      {"embedded", []Field{{embCompress, 1, 2}}, "content is out of bounds"},
	"embedded, packed unknown":     {"embedded", []Field{{embCompress, 1, 17}}, "content is out of bounds"},

	"a range without an end":         {"free", []Field{{freeLength, 8, 1<<64 - 2}}, "range has no end"},
	"objects without an end":         {"free objects", []Field{{atObject, 8, 1 << 63}, {freeObjectsCount, 8, 1 << 63}}, "objects has no end"},
	"free objects that were written": {"free objects after a write", []Field{{atObject, 8, 5}}, "after what object 5 has"},
}

func TestEachConditionOfTheGate(t *testing.T) {
	for name, c := range conditions {
		s := accepted[c.of]
		if err := s.pass(s.opening(), c.change...); !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want refused with %q", name, err, c.want)
		}
	}
}

// TestConditionsThatTheOpeningMakes are those that depend on what BEGIN announced,
// or on what came before.
func TestConditionsThatTheOpeningMakes(t *testing.T) {
	without := func(f Features) func(o *Opening) { return func(o *Opening) { o.Features &^= f } }
	for name, c := range map[string]struct {
		of     sample
		change func(o *Opening)
		want   string
	}{
		"a big object, and no large blocks":  {accepted["zap"], without(LargeBlocks), "blocks have 16777216 bytes"},
		"a big write, and no large blocks":   {accepted["write of 1 MiB"], without(LargeBlocks), "writes 1048576 bytes"},
		"a packed write, and no compression": {accepted["packed write"], without(Compressed), "the stream is not"},
		"raw, which needs no compression":    {accepted["raw write"], without(Compressed), ""},
		"raw and big, and no large blocks":   {sample{true, []made{aRange(32), aRawObject(rawObject, Field{objBlock, 4, 1 << 20})}}, without(LargeBlocks), ""},
		"embedded in a big block":            {sample{false, []made{accepted["embedded"].records[0].with(Field{embLength, 8, MaxPayload})}}, nil, ""},
		"embedded, and no such feature":      {accepted["embedded"], without(EmbedData), "no embedded data"},
		"embedded, and raw":                  {accepted["embedded"], func(o *Opening) { o.Features |= Raw }, "no embedded data"},
		"a range of objects, and not raw":    {accepted["range"], without(Raw), "only raw streams"},
		"a spill, and no such flag":          {accepted["spilled object"], func(o *Opening) { o.Flags &^= FlagSpillBlock }, "flags are unknown"},
		"no spill, and no such flag":         {accepted["object"], func(o *Opening) { o.Flags &^= FlagSpillBlock }, ""},
		"neither filesystem nor volume":      {accepted["object"], func(o *Opening) { o.Kind = 1 }, "objset type 1"},
		"a raw object before any range":      {sample{true, []made{aRawObject(plainObject)}}, nil, "no OBJECT_RANGE"},
	} {
		o := c.of.opening()
		if c.change != nil {
			c.change(&o)
		}
		err := c.of.pass(o)
		if c.want == "" { // the counter-example beside one
			if err != nil {
				t.Errorf("%s: got error %v, want none", name, err)
			}
			continue
		}
		if !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want refused with %q", name, err, c.want)
		}
	}
}
