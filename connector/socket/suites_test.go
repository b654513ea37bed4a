package socket_test

import "testing"

// Spark: InputStreamsSuite.
func TestInputStreamsSuite(t *testing.T) {
	t.Run("socket input stream", TestLinesAreStoredAsTheyComeAndTheEndIsAnError)
}
