package config_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/config"
)

// TestDocumented holds that docs/configuration.md lists every key once, with the default that the
// code has.
func TestDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	values(reflect.ValueOf(*config.Default()), "", want)
	values(reflect.ValueOf(config.Site{}), "sites.<slug>", want)
	values(reflect.ValueOf(config.Webhook{}), "notify[]", want)
	got := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.<>\\[\\]]+)` \\| (?:`([^`]*)`)? ?\\|").FindAllStringSubmatch(string(raw), -1) {
		if _, twice := got[row[1]]; twice {
			t.Errorf("%s stands twice", row[1])
		}
		got[row[1]] = row[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys and defaults (-code +docs):\n%s", diff)
	}
	for _, k := range config.Keys() {
		if _, ok := want[k]; !ok {
			t.Errorf("key %s was not looked for", k)
		}
	}
}

// values collects the keys below v with what they hold: empty for the zero value of text and lists.
func values(v reflect.Value, path string, into map[string]string) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("yaml")
		key := strings.TrimPrefix(path+"."+tag, ".")
		switch f := v.Field(i); {
		case tag == "" || tag == "sites":
		case f.Kind() == reflect.Map && f.Type().Elem().Kind() == reflect.Struct:
			values(reflect.Zero(f.Type().Elem()), key+".<name>", into)
		case f.Kind() == reflect.Map:
			into[key+".<name>"] = ""
		case f.Kind() == reflect.Struct:
			values(f, key, into)
		case f.Kind() == reflect.Slice:
			into[key] = ""
		default:
			into[key] = fmt.Sprint(f.Interface())
		}
	}
}
