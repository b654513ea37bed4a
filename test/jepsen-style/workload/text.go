package workload

import (
	"fmt"
	"strconv"
	"strings"
)

// identity is the text of a record that says which one it is, as "producer-position".
func identity(producer string, position uint64) string {
	return producer + "-" + strconv.FormatUint(position, 10)
}

// identified reads what identity has written.
func identified(record string) (producer string, position uint64, err error) {
	at := strings.LastIndexByte(record, '-')
	if at > 0 {
		position, err = strconv.ParseUint(record[at+1:], 10, 64)
	}
	if at <= 0 || err != nil || position == 0 {
		return "", 0, fmt.Errorf("record %q is not of this workload, expected producer-position", record)
	}
	return record[:at], position, nil
}
