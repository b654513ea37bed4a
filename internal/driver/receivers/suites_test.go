package receivers

import "testing"

// Spark: ReceiverTrackerSuite.
func TestReceiverTrackerSuite(t *testing.T) {
	t.Run("get allocated executors", TestReceiversAreSpreadOverExecutors)
	t.Run("SPARK-11063: TaskSetManager should use Receiver RDD's preferredLocations", TestReceiversAreSpreadOverExecutors)
}
