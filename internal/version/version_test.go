package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "4a646f3c0ffee0123"}, {Key: "vcs.modified", Value: "true"}}
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.0":                   {Main: debug.Module{Version: "v1.2.0"}, Settings: vcs},
		"devel-4a646f3c0ffe+dirty": {Main: debug.Module{Version: "(devel)"}, Settings: vcs},
		"devel-4a646f3c0ffe":       {Settings: vcs[:1]},
		"devel":                    {},
	} {
		if got := of(&info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if String() == "" || Go() == "" {
		t.Error("empty")
	}
}
