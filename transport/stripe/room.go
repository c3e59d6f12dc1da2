package stripe

// firstWindow is how many bytes a stream may hold at first: a path with more on its
// way, or a reorder buffer that slow lanes fill, shows that it needs more.
const firstWindow = 16 << 20

// room is how many chunks one side of a stream may hold. It grows, as the buffers of
// TCP do, when room is all that is missing: by a quarter, up to what memory allows.
// So it follows bandwidth x delay without knowing either, and what waits for a slow
// disk or a slow link stays in little memory.
type room int

func newRoom(chunkBytes int) room { return room(max(firstWindow/chunkBytes, 1)) }

// chunks is how many may be held now, of at most most.
func (r room) chunks(most int) int { return min(int(r), most) }

// grow reports whether there is more room now.
func (r *room) grow(most int) bool {
	before := r.chunks(most)
	*r = room(min(before+max(before/4, 1), most))
	return r.chunks(most) > before
}
