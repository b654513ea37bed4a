package blocks_test

import "testing"

// Spark: ReceivedBlockHandlerSuite and WriteAheadLogBackedBlockRDDSuite.
func TestReceivedBlockHandlerSuite(t *testing.T) {
	t.Run("BlockManager / WriteAheadLog handler - store blocks", TestBlocksSurviveARestart)
	t.Run("WriteAheadLogBasedBlockHandler - clean old blocks", TestProgressDropsOnlyWhatTheLedgerDoesNotNeed)
	t.Run("Read data available ... (7 tests)", TestMemoryIsABoundedCacheOfTheLog)
}
