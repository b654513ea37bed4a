package coordinator_test

import "testing"

// Spark: StreamingListenerSuite. The batch's report is what a listener is told there.
func TestStreamingListenerSuite(t *testing.T) {
	t.Run("onBatchCompleted with successful batch", TestTriesAreCountedPerTaskAndSucceed)
	t.Run("onBatchCompleted with failed batch and one failed job", TestUserErrorIsTriedFourTimes)
}
