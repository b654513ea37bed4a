package fsm

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// text makes what other people's code wrote fit for a command: valid UTF-8 of MaxText bytes at most. A failure must be
// reportable whatever it says.
func text(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxText {
		return s
	}
	end := MaxText
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// checkName says what is wrong with a name or id, "" for nothing.
func checkName(what, s string) string {
	switch {
	case s == "":
		return what + " is empty"
	case len(s) > MaxName:
		return fmt.Sprintf("%s has %d bytes, expected at most %d", what, len(s), MaxName)
	}
	return ""
}

func checkRange(what string, v, low, high int64) string {
	if v < low || v > high {
		return fmt.Sprintf("%s is %d, expected %d to %d", what, v, low, high)
	}
	return ""
}
