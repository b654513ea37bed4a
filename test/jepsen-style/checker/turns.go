package checker

// Turn is a failure of an application, or its resumption, by the ledger.
type Turn struct {
	Index  uint64 // of the entry
	Failed bool   // else it was resumed
	Error  string // of a failure
	After  uint64 // index of the resumption before this one, 0 for none
}

// Turns gives the turns of an application, in order.
func Turns(run *Run, app uint64) ([]Turn, error) {
	log, err := wholeLog(run)
	if err != nil {
		return nil, err
	}
	var all []Turn
	for i := range log {
		l := &log[i]
		if l.Kind != "BatchFailed" && l.Kind != "ApplicationResumed" || !l.now() {
			continue
		}
		c := commandOf[struct {
			App   uint64 `json:"app"`
			Error string `json:"error"`
			Prev  uint64 `json:"prev"`
		}](l)
		if c.App == app {
			all = append(all, Turn{Index: l.Index, Failed: l.Kind == "BatchFailed", Error: c.Error, After: c.Prev})
		}
	}
	return all, nil
}
