package connector_test

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/raftstream/raftstream/connector"
)

// decimal writes numbers of package big as text.
type decimal struct{}

func (decimal) Append(dst []byte, v *big.Int) ([]byte, error) { return v.Append(dst, 10), nil }

func (decimal) Read(src []byte) (*big.Int, error) {
	v, ok := new(big.Int).SetString(string(src), 10)
	if !ok {
		return nil, errors.New("no number")
	}
	return v, nil
}

// number is what streams of such numbers hold.
type number = connector.Coded[*big.Int, decimal]

// A codec belongs to the type of the records: a dstream.DStream[number] can be shuffled, kept and saved.
func ExampleCodec() {
	v := number{Value: new(big.Int).Exp(big.NewInt(2), big.NewInt(100), nil)}
	b, err := v.AppendBinary(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var read number
	if err := read.UnmarshalBinary(b); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(read, len(b))
	// Output: 1267650600228229401496703205376 31
}
