// Command show says, for each byte of its input, what its clocks are: the wall clock, and the time since its start.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	began := time.Now()
	fmt.Println(began.UnixNano(), 0)
	var b [1]byte
	for {
		if n, err := os.Stdin.Read(b[:]); n == 0 || err != nil {
			return
		}
		now := time.Now()
		fmt.Println(now.UnixNano(), int64(now.Sub(began)))
	}
}
