package main

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// inSeconds is a value of which JSON has durations as all other answers have them: as seconds, in
// fields whose names say so. encoding/json would write bare nanoseconds. Fields keep their order;
// types that write themselves are left to do so.
func inSeconds(v any) any {
	from := reflect.ValueOf(v)
	to := reflect.New(secondsType(from.Type())).Elem()
	secondsCopy(to, from)
	return to.Interface()
}

// writesItself reports whether a type has its own form in JSON.
func writesItself(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// secondsType is a type like t with api.Seconds for each time.Duration.
func secondsType(t reflect.Type) reflect.Type {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return reflect.TypeFor[api.Seconds]()
	case writesItself(t):
		return t
	}
	switch t.Kind() {
	case reflect.Pointer:
		return reflect.PointerTo(secondsType(t.Elem()))
	case reflect.Slice:
		return reflect.SliceOf(secondsType(t.Elem()))
	case reflect.Map:
		return reflect.MapOf(t.Key(), secondsType(t.Elem()))
	case reflect.Struct:
		var fields []reflect.StructField
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				continue
			}
			is := secondsType(f.Type)
			tag := f.Tag.Get("json")
			if last := innermost(f.Type); last == reflect.TypeFor[time.Duration]() {
				name, options, _ := strings.Cut(tag, ",")
				tag = name + "_seconds"
				if options != "" {
					tag += "," + options
				}
			}
			fields = append(fields, reflect.StructField{Name: f.Name, Type: is, Tag: reflect.StructTag(`json:"` + tag + `"`)})
		}
		return reflect.StructOf(fields)
	}
	return t
}

// innermost is what a pointer, a list or a map is made of in the end.
func innermost(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

// secondsCopy copies a value into one of its secondsType.
func secondsCopy(to, from reflect.Value) {
	switch {
	case to.Type() == from.Type():
		to.Set(from)
		return
	case from.Type() == reflect.TypeFor[time.Duration]():
		to.SetInt(from.Int()) // api.Seconds is a time.Duration that writes itself
		return
	}
	switch from.Kind() {
	case reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(to.Type().Elem()))
			secondsCopy(to.Elem(), from.Elem())
		}
	case reflect.Slice:
		if !from.IsNil() {
			to.Set(reflect.MakeSlice(to.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				secondsCopy(to.Index(i), from.Index(i))
			}
		}
	case reflect.Map:
		if !from.IsNil() {
			to.Set(reflect.MakeMapWithSize(to.Type(), from.Len()))
			for _, k := range from.MapKeys() {
				x := reflect.New(to.Type().Elem()).Elem()
				secondsCopy(x, from.MapIndex(k))
				to.SetMapIndex(k, x)
			}
		}
	case reflect.Struct:
		for i := range to.NumField() {
			secondsCopy(to.Field(i), from.FieldByName(to.Type().Field(i).Name))
		}
	}
}
