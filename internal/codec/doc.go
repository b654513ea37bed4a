// Package codec owns how records are written as bytes and hashed. A codec is resolved once per type, when a graph is
// built: what has none is refused there, with the field that is at fault, and never falls back to something slow.
//
// It promises that what was appended is read back equal (see Codec.Own for what "equal" means), that damaged bytes give
// an error and neither a panic nor a huge allocation, and that encodings and hashes are the same in every process and
// on every machine. It must not know what records are used for.
//
// Encodings, all without padding or framing of their own:
//
//	bool, int8, uint8       one byte
//	other integers          varint (zigzag if signed)
//	float32, float64        4 and 8 bytes, little endian
//	string, []byte          length as varint, bytes
//	arrays                  the elements
//	slices                  length as varint, the elements (each one byte at least)
//	structs                 the fields in order, all of them exported
//	time.Time               Unix seconds and nanoseconds as varints; the location is dropped
//	AppendBinary types      length as varint, what AppendBinary (or MarshalBinary) gives
//	*protobuf messages      0 if nil, else length plus one as varint and the deterministic wire format
package codec
