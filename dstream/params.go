package dstream

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// params is a struct of parameters, by the names of its fields.
type params struct {
	typ    reflect.Type
	fields []param
}

type param struct {
	name     string
	index    []int // of the field, through embedded structs
	typ      reflect.Type
	required bool
}

var (
	durationType        = reflect.TypeFor[time.Duration]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// paramsOf describes the fields of t.
func paramsOf(t reflect.Type) (*params, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("parameters are a %v, expected a struct", t)
	}
	ps := &params{typ: t}
	if err := ps.add(t, nil); err != nil {
		return nil, err
	}
	return ps, nil
}

// add takes the fields that encoding/json takes: exported ones, and those of embedded structs as if they were the outer
// one's. Two of one name are refused.
func (ps *params) add(t reflect.Type, index []int) error {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		tag := f.Tag.Get("json")
		name, rest, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			if err := ps.add(f.Type, at); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if ps.field(name) != nil {
			return fmt.Errorf("field %v.%s: the name %q is taken", t, f.Name, name)
		}
		optional := f.Type.Kind() == reflect.Pointer
		for _, o := range strings.Split(rest, ",") {
			optional = optional || o == "omitempty" || o == "omitzero"
		}
		ps.fields = append(ps.fields, param{name: name, index: at, typ: f.Type, required: !optional})
	}
	return nil
}

func (ps *params) field(name string) *param {
	for i := range ps.fields {
		if ps.fields[i].name == name {
			return &ps.fields[i]
		}
	}
	return nil
}

func (ps *params) unknown(name string) error {
	if len(ps.fields) == 0 {
		return fmt.Errorf("unknown parameter %q, it takes none", name)
	}
	names := make([]string, len(ps.fields))
	for i, f := range ps.fields {
		names[i] = f.name
	}
	return fmt.Errorf("unknown parameter %q, it takes: %s", name, strings.Join(names, ", "))
}

// fromJSON decodes an object, strictly. All that is wrong with it is reported together.
func (ps *params) fromJSON(b []byte) (reflect.Value, error) {
	v := reflect.New(ps.typ).Elem()
	given, err := object(b)
	if err != nil {
		return v, err
	}
	var errs []error
	for _, g := range given {
		f := ps.field(g.name)
		if f == nil {
			errs = append(errs, ps.unknown(g.name))
		} else if err := f.decode(g.value, v.FieldByIndex(f.index)); err != nil {
			errs = append(errs, err)
		}
	}
	for _, f := range ps.fields {
		if f.required && !slices.ContainsFunc(given, func(m member) bool { return m.name == f.name }) {
			errs = append(errs, fmt.Errorf("parameter %q is missing, expected %s", f.name, f.expected()))
		}
	}
	return v, errors.Join(errs...)
}

// fromText makes the object of values given as text.
func (ps *params) fromText(values map[string]string) ([]byte, error) {
	out := map[string]json.RawMessage{}
	var errs []error
	names := make([]string, 0, len(values))
	for n := range values {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		f := ps.field(n)
		if f == nil {
			errs = append(errs, ps.unknown(n))
			continue
		}
		raw := f.raw(values[n])
		if err := f.decode(raw, reflect.New(f.typ).Elem()); err != nil {
			errs = append(errs, err)
			continue
		}
		out[n] = raw
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return json.Marshal(out) // in order of name
}

type member struct {
	name  string
	value json.RawMessage
}

// object reads the members of a JSON object in their order. No bytes are an empty object.
func object(b []byte) ([]member, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("parameters are %s, expected a JSON object", short(b))
	}
	var members []member
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("parameters are no JSON object: %w", err)
		}
		m := member{name: t.(string)} // the decoder allows nothing else here
		if err := d.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("parameters are no JSON object: value of %q: %w", m.name, err)
		}
		if slices.ContainsFunc(members, func(o member) bool { return o.name == m.name }) {
			return nil, fmt.Errorf("parameter %q is given twice", m.name)
		}
		members = append(members, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("parameters are no JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("parameters: something follows the JSON object")
	}
	return members, nil
}

// decode sets v from JSON.
func (f *param) decode(raw json.RawMessage, v reflect.Value) error {
	wrong := func() error {
		return fmt.Errorf("parameter %q is %s, expected %s", f.name, short(raw), f.expected())
	}
	if bytes.Equal(raw, []byte("null")) {
		if k := f.typ.Kind(); k == reflect.Pointer || k == reflect.Slice || k == reflect.Map {
			return nil // as nil is written
		}
		return wrong()
	}
	if f.typ == durationType { // a number says no unit
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return wrong()
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return wrong()
		}
		v.SetInt(int64(d))
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v.Addr().Interface()); err != nil {
		switch f.typ.Kind() {
		case reflect.Struct, reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
			return fmt.Errorf("%w (%w)", wrong(), err) // says where in it
		}
		return wrong()
	}
	return nil
}

// raw makes JSON of text as the field's type has it. Text that does not fit is passed on as a JSON string, which decode
// refuses with the value as given.
func (f *param) raw(text string) json.RawMessage {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic("dstream: a string has no JSON: " + err.Error())
	}
	ptr := reflect.PointerTo(f.typ)
	if f.typ == durationType || f.typ.Kind() == reflect.String && !ptr.Implements(jsonUnmarshalerType) ||
		ptr.Implements(textUnmarshalerType) && !ptr.Implements(jsonUnmarshalerType) {
		return quoted
	}
	if f.typ.Kind() == reflect.Bool {
		if b, err := strconv.ParseBool(text); err == nil {
			return json.RawMessage(strconv.FormatBool(b))
		}
		return quoted
	}
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return quoted
}

// expected says what the field takes, for people.
func (f *param) expected() string {
	switch k := f.typ.Kind(); {
	case f.typ == durationType:
		return "a duration such as 1m30s"
	case reflect.PointerTo(f.typ).Implements(textUnmarshalerType):
		return "a " + f.typ.String() + " as text"
	case k == reflect.String:
		return "a string"
	case k == reflect.Bool:
		return "a bool: true or false"
	case k >= reflect.Int && k <= reflect.Int64:
		return "an integer (" + k.String() + ")"
	case k >= reflect.Uint && k <= reflect.Uint64:
		return "an integer from 0 (" + k.String() + ")"
	case k == reflect.Float32 || k == reflect.Float64:
		return "a number"
	case k == reflect.Slice || k == reflect.Array:
		return "a JSON array for " + f.typ.String()
	}
	return "JSON for " + f.typ.String()
}

// short gives a value for a message, cut to a line.
func short(b []byte) string {
	const most = 100
	if len(b) > most {
		return string(b[:most]) + "..."
	}
	return string(b)
}
