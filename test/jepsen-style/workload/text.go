package workload

import (
	"fmt"
	"hash/fnv"
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

// words makes texts of 1 to 4 words out of keys different ones. A record's text is a function of seed, producer and
// position, so that an oracle knows it without having seen it.
func words(seed uint64, keys int) func(producer string, position uint64) string {
	return func(producer string, position uint64) string {
		h := fnv.New64a()
		_, _ = h.Write([]byte(producer)) // never fails
		x := mix(h.Sum64() ^ mix(seed) ^ position*0x9e3779b97f4a7c15)
		var text []byte
		for n := x%4 + 1; n > 0; n-- {
			x = mix(x)
			if len(text) > 0 {
				text = append(text, ' ')
			}
			a, b := x%uint64(keys), x>>32%uint64(keys)
			text = strconv.AppendUint(append(text, 'k'), min(a, b), 10) // low keys are frequent, high ones rare
		}
		return string(text)
	}
}

// mix spreads x over all 64 bits, one to one.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
