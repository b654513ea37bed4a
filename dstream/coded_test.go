package dstream_test

import (
	"errors"
	"math/big"
	"path/filepath"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

type decimal struct{}

func (decimal) Append(dst []byte, v *big.Int) ([]byte, error) {
	if v == nil {
		return dst, errors.New("no number")
	}
	return v.Append(dst, 10), nil
}

func (decimal) Read(src []byte) (*big.Int, error) {
	v, ok := new(big.Int).SetString(string(src), 10)
	if !ok {
		return nil, errors.New("no number")
	}
	return v, nil
}

func TestValuesOfForeignTypesAreEncodedByTheirCodec(t *testing.T) {
	type number = connector.Coded[*big.Int, decimal]
	prefix := filepath.Join(t.TempDir(), "out")
	all := []number{{Value: big.NewInt(12)}, {Value: new(big.Int).Lsh(big.NewInt(1), 100)}}
	if err := runOutput(t, savingObjects[number](t, prefix), dataset.Batch{App: 9, Time: 1000}, blocksOf(t, 1000, all)); err != nil {
		t.Fatal(err)
	}
	got, err := objects[number](prefix + "-1000")
	if err != nil || len(got) != 2 || got[0].Value.Cmp(all[0].Value) != 0 || got[1].Value.Cmp(all[1].Value) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	c, err := codec.For[number]()
	if err != nil {
		t.Fatal(err)
	}
	own := all[0]
	if c.Own(&own); own.Value == all[0].Value || !c.Same(&own, &all[0]) {
		t.Error("an owned value shares memory with the original, or is another one")
	}
	var damaged number
	if _, err := c.Read([]byte{1, 'x'}, &damaged); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("damaged bytes: %v", err)
	}
	_, err = build(t, func(c *dstream.Context) error {
		dstream.CountByValue(stream[number](c)).Print()
		return nil
	})
	says(t, err, "countByValue: type", "Value is a ptr, whose equality is not that of the encoding")
}
