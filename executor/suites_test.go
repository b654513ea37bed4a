package executor_test

import "testing"

// Spark: ReceiverTrackerSuite.
func TestReceiverTrackerSuite(t *testing.T) {
	t.Run("send rate update to receivers", TestRateOfAReceiverIsSetByOrders)
}

// Spark: StreamingContextSuite.
func TestStreamingContextSuite(t *testing.T) {
	t.Run("SPARK-18560 Receiver data should be deserialized properly.", TestWordCountThroughAShuffleOnTwoExecutors)
	t.Run("awaitTermination with error in task", TestUserPanicFailsTheBatchAfterFourTriesWithItsPlace)
}
